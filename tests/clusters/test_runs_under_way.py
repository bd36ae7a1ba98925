"""Runs of one graph that are under way together: the order of results, and what an error ends."""

import concurrent.futures
import functools
import time
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.distributed.tasks import control_session

Run = concurrent.futures.Future[Any]


class Session(control_session.ControlSession):
    """Has no servers: a test says how each run ends."""

    def __init__(self, runs: list[Run]) -> None:
        """Takes the runs, in the order in which they begin."""
        self.broken = False
        self._timeout = 5.0
        self._runs = iter(runs)

    def start(self, fetches: Any, feeds: dict[Any, Any]) -> Run:
        """Begins the next one."""
        del fetches, feeds
        return next(self._runs)

    def _check_tasks(self, error: Any) -> None:
        """All answer."""


def mapped(runs: list[Run], *, fails_at_once: bool) -> Any:
    """The results of runs."""
    calls = [functools.partial(tuple, (None, {}))] * len(runs)
    return Session(runs).map(calls, 8, fails_at_once=fails_at_once)


def test_the_first_error_is_raised_while_other_runs_are_under_way() -> None:
    runs: list[Run] = [Run(), Run(), Run()]
    runs[1].set_exception(tf.errors.ResourceExhaustedError(None, None, "no space"))
    start = time.monotonic()
    with pytest.raises(tf.errors.ResourceExhaustedError, match="no space"):
        next(mapped(runs, fails_at_once=True))
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("fails_at_once", [False, True])
def test_results_come_in_order(fails_at_once: bool) -> None:
    runs: list[Run] = [Run() for _ in range(20)]
    for number, run in reversed(list(enumerate(runs))):
        run.set_result(number)
    assert list(mapped(runs, fails_at_once=fails_at_once)) == list(range(20))
