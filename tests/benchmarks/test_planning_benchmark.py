"""Every case of the benchmark of planning is planned right, and its saves are balanced. How fast is not tested."""

import pytest

import planning_benchmark


@pytest.mark.parametrize("name", planning_benchmark._CASES)
def test_a_case_is_planned_right(name: str) -> None:
    _, _, balance = planning_benchmark._measure(name, 100_000)
    assert balance is None or balance <= 1.1
