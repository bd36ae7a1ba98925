"""The memory that something takes beside what the process had before."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

_PAUSE_SECONDS = 0.03


class ExtraMemory:
    """How much more memory this process and its children take.

    Attributes:
        bytes: The most that it was; `None` if it was not measured.
    """

    def __init__(self) -> None:
        """Has measured nothing."""
        self.bytes: int | None = None

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Measures during the block; pages that several processes share count once."""
        before, is_over = _used(), threading.Event()
        self.bytes = 0

        def watch() -> None:
            while not is_over.wait(_PAUSE_SECONDS):
                self.bytes = max(self.bytes or 0, _used() - before)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def _used() -> int:
    own = psutil.Process()
    return sum(map(_share_of, [own, *own.children(recursive=True)]))


def _share_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
