"""Threads in a process that may be at its limit of threads.

A thread has the context (`contextvars`) of the thread that starts it: it works for that one.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tensorflow as tf

Item = TypeVar("Item")
Result = TypeVar("Result")


def start(work: Callable[[], Any], name: str, *, is_daemon: bool = True) -> None:
    """Calls a function in a thread.

    Args:
        work: The function.
        name: The name of the thread.
        is_daemon: Whether the interpreter may end before the thread.

    Raises:
        tf.errors.ResourceExhaustedError: No thread can be started.
    """
    if not can_start(work, name, is_daemon=is_daemon):
        raise tf.errors.ResourceExhaustedError(
            None,
            None,
            f"autodist: cannot start a thread ({name}): the process is at its limit of threads, or "
            "has no memory for one. Raise the limit (ulimit -u, or the container's pids.max), or "
            "let fewer threads run",
        )


def can_start(work: Callable[[], Any], name: str, *, is_daemon: bool = True) -> bool:
    """Calls a function in a thread; the arguments are as of `start`.

    Returns False, and does nothing, where none can be started.
    """
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name=name, daemon=is_daemon)
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        return False
    return True


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], most_threads: int
) -> list[Result]:
    """Maps a function over items in threads: this one and as many more as can start.

    Args:
        function: The function.
        items: What it is called with, each once.
        most_threads: How many threads to use at most.

    Raises:
        BaseException: What a call raised, once all calls have ended.
    """
    results: dict[int, Result] = {}
    errors: list[BaseException] = []
    numbers = iter(range(len(items)))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results[number] = function(items[number])
            except BaseException as error:  # noqa: BLE001 it is for whoever waits
                errors.append(error)

    threads = []
    for _ in range(min(most_threads, len(items)) - 1):
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(work,), name="autodist-map", daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            break
        threads.append(thread)
    work()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(items))]
