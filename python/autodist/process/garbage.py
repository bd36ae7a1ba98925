"""Pauses Python's garbage collector while a graph is built."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_pauses = 0
_was_enabled = False


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """A context in which Python collects no cycles of objects.

    A graph is many objects that all stay. While it grows, the collector looks through all of them
    repeatedly. That takes a quarter of the time of building the graph. Contexts of several threads
    may overlap; the collector goes on after the last of them, unless the program had switched it
    off before the first.
    """
    global _pauses, _was_enabled  # noqa: PLW0603 - the collector is one for the process
    with _lock:
        if _pauses == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _pauses += 1
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if _pauses == 0 and _was_enabled:
                gc.enable()
