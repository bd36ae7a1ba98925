"""The benchmarks of the transformation and of a step run, check losses and report. How fast depends on the machine."""

import json
from pathlib import Path
from typing import Any

from support.python_programs import ROOT, run_python

BENCHMARKS = ROOT / "benchmarks"


def run_benchmark(name: str, arguments: list[str], results: Path, report: str | None = None) -> Any:
    run_python(BENCHMARKS / f"{name}.py", *arguments, "--results", results, "--keep")
    report = report or name
    assert (results / f"{report}.md").read_text().startswith("# ")
    return json.loads((results / f"{report}.json").read_text())


def test_a_step_is_compared_with_its_rival_and_the_control(tmp_path: Path) -> None:
    report = run_benchmark("step_benchmark", ["--models", "mlp", "--rounds", "1"], tmp_path)
    assert set(report["ratios"]["mlp"]) == {"AllReduce", "PS", "PartitionedPS", "rival again"}


def test_a_transformation_is_measured_by_part(tmp_path: Path) -> None:
    arguments = ["--models", "wide", "--nodes", "500", "--strategies", "PartitionedPS"]
    (row,) = run_benchmark("transform_benchmark", arguments, tmp_path)["rows"]
    assert set(row["seconds"]) == {"build", "in scope", "transform", "save"}
    assert row["made"] > row["nodes"]


def test_saves_beside_a_training_are_compared(tmp_path: Path) -> None:
    contestants = ("no save", "save, instant", "pages, small pool")
    arguments = ["--gib", "0.05", "--rounds", "1", "--memory-rounds", "1", "--beside", "0.2"]
    arguments += ["--directory", str(tmp_path), "--contestants", *contestants]
    rows = run_benchmark("async_benchmark", arguments, tmp_path / "results")["rows"]
    found = {row["contestant"]: row for row in rows}
    assert tuple(found) == contestants
    for contestant in ("save, instant", "pages, small pool"):
        assert found[contestant]["instants"] == "2 of 2"
        assert found[contestant]["extra_bytes"] is not None
        assert found[contestant]["first"]["is_instant"]
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_cluster_is_compared_with_stock_and_the_limit(tmp_path: Path) -> None:
    arguments = ["--mib", "2", "--rounds", "1", "--memory-rounds", "0", "--tmpfs", str(tmp_path)]
    report = run_benchmark(
        "cluster_benchmark", arguments, tmp_path / "results", "cluster_benchmark.tmpfs"
    )
    ways = {"autodist shared", "autodist stream", "stock sharded=False", "stock sharded=True"}
    ways |= {"limit", "limit again", "limit of sockets"}
    assert set(report["operations"]["save"]) == ways
    assert set(report["operations"]["restore"]) == ways | {"autodist stream, swap"}
    assert len(report["targets"]) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_save_with_evidence_is_compared_with_one_without(tmp_path: Path) -> None:
    arguments = ["--mib", "8", "--rounds", "1", "--directory", str(tmp_path)]
    report = run_benchmark("evidence_benchmark", arguments, tmp_path / "results")
    assert set(report["cases"]) >= {"float32", "bfloat16", "replicas"}
    assert all(case["check_of_plain"] > 0 for case in report["cases"].values())
