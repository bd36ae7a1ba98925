"""Work that goes on in threads beside a test."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf


@contextlib.contextmanager
def running(work: Callable[[], None]) -> Iterator[None]:
    """Calls a function in a thread, and waits for it at the end of the block."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextlib.contextmanager
def training(session: Any, step: Any) -> Iterator[None]:
    """Runs a step over and over in a thread, which must not fail."""
    is_over = threading.Event()
    failures: list[Exception] = []

    def train() -> None:
        try:
            while not is_over.is_set():
                session.run(step)
        except tf.errors.OpError as error:
            failures.append(error)

    with running(train):
        try:
            yield
        finally:
            is_over.set()
    assert not failures


@contextlib.contextmanager
def forgiving_repeats() -> Iterator[None]:
    """Goes on after the error by which a server refuses a request that TensorFlow sent to it again.

    It does so when a connection breaks, or takes long on a busy machine.
    """
    try:
        yield
    except tf.errors.AbortedError as error:
        if "received twice" not in error.message:
            raise


def call_at_once(work: Callable[[int], None], numbers: Iterable[int]) -> list[BaseException]:
    """Calls a function in a thread a number, all at once; returns their errors."""
    errors: list[BaseException] = []

    def call(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 shown by the test
            errors.append(error)

    threads = [threading.Thread(target=call, args=[number]) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
