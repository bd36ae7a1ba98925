"""Work for several threads, whose results come in order and of which little waits at a time."""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
# Tasks that wait for each thread.
_AHEAD = 2


def thread_count(threads: int) -> int:
    """Returns how many threads work: those that were asked for, or one for each processor."""
    return threads or len(os.sched_getaffinity(0))


def in_order(
    tasks: Iterable[_Task], work: Callable[[_Task], _Result], threads: int
) -> Iterator[tuple[_Task, _Result]]:
    """Gives each task with its result, in the order of the tasks. Raises what a task raises.

    Args:
        tasks: Taken when there is room for them.
        work: Called in a thread.
        threads: How many there are.
    """
    waiting: collections.deque[tuple[_Task, concurrent.futures.Future[_Result]]]
    waiting = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        for task in tasks:
            waiting.append((task, pool.submit(work, task)))
            if len(waiting) > threads * _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
