"""The benchmarks of the transformation and of a step run, check losses and report. How fast depends on the machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run_benchmark(name: str, arguments: list[str], results: Path) -> Any:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments]
    subprocess.run(
        [*command, "--results", str(results), "--keep"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    assert (results / f"{name}.md").read_text().startswith("# ")
    return json.loads((results / f"{name}.json").read_text())


def test_a_step_is_compared_with_its_rival_and_the_control(tmp_path: Path) -> None:
    report = run_benchmark("step_benchmark", ["--models", "mlp", "--rounds", "1"], tmp_path)
    assert set(report["ratios"]["mlp"]) == {"AllReduce", "PS", "PartitionedPS", "rival again"}


def test_a_transformation_is_measured_by_part(tmp_path: Path) -> None:
    arguments = ["--models", "wide", "--nodes", "500", "--strategies", "PartitionedPS"]
    (row,) = run_benchmark("transform_benchmark", arguments, tmp_path)["rows"]
    assert set(row["seconds"]) == {"build", "in scope", "transform", "save"}
    assert row["made"] > row["nodes"]
