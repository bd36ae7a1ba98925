"""The benchmark runs, checks what was written, and reports it. How fast it is depends on the machine."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run_benchmark(tmp_path: Path) -> None:
    size = ["--mib", "2", "--rounds", "1"]
    places = ["--directory", str(tmp_path), "--results", str(tmp_path / "results")]
    subprocess.run(
        [sys.executable, str(BENCHMARKS / "save_sharded.py"), *size, *places, "--keep"],
        check=True,
        capture_output=True,
        timeout=300,
    )


def test_a_small_run_reports_every_contestant_and_leaves_only_the_report(tmp_path: Path) -> None:
    run_benchmark(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    report = json.loads((tmp_path / "results/save_sharded.json").read_text())
    assert {"shards", "session shards", "session replicas", "limit"} < set(report["contestants"])
    for contestant in report["contestants"].values():
        assert len(contestant["seconds"]) == 1
    assert "extra memory" in (tmp_path / "results/save_sharded.md").read_text()
