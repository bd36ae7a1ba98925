"""The memory that something takes beside what the process had before."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

_PAUSE_SECONDS = 0.03

# Memory that is moved to huge pages grows by one of them in much less.
_STILL_SECONDS = 1.0
_PATIENCE_SECONDS = 180.0


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


def await_huge_pages() -> None:
    """Waits until no more memory of this process is moved to huge pages."""
    end, before = time.monotonic() + _PATIENCE_SECONDS, -1
    while time.monotonic() < end and (now := _huge_kibibytes()) != before:
        before = now
        time.sleep(_STILL_SECONDS)


def _huge_kibibytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("AnonHugePages:"):
            return int(line.split()[1])
    return 0
