"""The benchmark runs, checks what was written and read, and reports it. How fast it is depends on the machine."""

import json
from pathlib import Path

from support.python_programs import ROOT, run_python

BENCHMARKS = ROOT / "benchmarks"


def run_benchmark(*arguments: str) -> str:
    return run_python(BENCHMARKS / "save_restore.py", *arguments).stdout


def test_a_small_run_reports_every_contestant_and_leaves_only_the_report(tmp_path: Path) -> None:
    size = ["--mebibytes", "1", "--rounds", "1", "--memory-rounds", "0"]
    places = ["--tmpfs", str(tmp_path), "--disk", str(tmp_path)]
    cells = ["--place", "tmpfs", "--layout", "axis0", "--layout", "replicas2"]
    shown = run_benchmark(*size, *places, *cells, "--results", str(tmp_path / "results"), "--keep")
    assert "stock Saver, 8 on axis 0" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert len(list((tmp_path / "results").glob("*.png"))) == 3
    report = json.loads((tmp_path / "results/save_restore.quick.json").read_text())
    save, restore, new = report["contests"]
    assert {"gather, SaveV2", "stock Saver", "stock sharded=True", "limit"} < ways_of(save)
    for each in (restore, new):
        assert {"autodist, verify=during", "stock Saver", "numpy.load", "limit"} < ways_of(each)
        assert {"autodist, verify=swap", "limit, new memory, huge pages"} < ways_of(each)
    assert {1} == {len(found["seconds"]) for found in save["contestants"]}
    ours = save["contestants"][0]
    assert ours["written_bytes"] >= 1 << 20
    assert set(ours["speed_to_rivals"]) == {"gather, SaveV2", "stock Saver", "stock sharded=True"}
    assert "extra MiB" in (tmp_path / "results/save_restore.quick.md").read_text()


def ways_of(contest: dict) -> set[str]:
    return {contestant["way"] for contestant in contest["contestants"]}


def test_the_full_profile_has_every_model_layout_and_place() -> None:
    lines = run_benchmark("--full", "--list").splitlines()
    saves = {line.partition(":")[2] for line in lines if line.startswith("save")}
    for model in ("one", "many", "small", "embedding"):
        for place in ("tmpfs", "disk", "disk, fsync"):
            of_cell = " ".join(s for s in saves if f" {model} (" in s and f", {place}:" in s)
            assert "whole, 8 on axis 0, 8 in a session" in of_cell
            assert "8 on axis 1, 2 x 4" in of_cell
            assert "2 replicas" in of_cell
            assert "4 replicas" in of_cell
