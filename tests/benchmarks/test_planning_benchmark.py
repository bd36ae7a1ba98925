"""Every case of the benchmark of planning is planned right, and its saves are balanced. How fast is not tested."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import planning_benchmark


@pytest.mark.parametrize("name", planning_benchmark._CASES)
def test_a_case_is_planned_right(name: str) -> None:
    _, _, balance = planning_benchmark._measure(name, 100_000)
    assert balance is None or balance <= 1.1
