"""Progress of a save or restore that takes longer than some seconds, in the log or on a terminal.

The total is known: a save allots its data file before it writes, and a restore reads files that are
there. How much is done is read from the counters of this process, which count what other threads
write or read as well. So the figures are about right. A restore may read its files twice.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from autodist import _log, background

AFTER_SECONDS = 5.0
EVERY_SECONDS = 30.0
EVERY_SHARE = 0.1
_LOOK_SECONDS = 0.5

_LOGGER = _log.get_logger()


@contextlib.contextmanager
def shown(what: str, total: Callable[[], int], counter: str) -> Iterator[None]:
    """Shows how far the block is, if it takes longer than `AFTER_SECONDS`.

    Args:
        what: What is done, as `saving model.ckpt-100`.
        total: Returns the number of bytes that are written or read in all; 0 if it is not known.
        counter: The counter of `/proc/self/io`: `wchar` for bytes written, `rchar` for bytes read.
    """
    if not _LOGGER.isEnabledFor(logging.INFO):
        yield
        return
    watch = _Watch(what, total, counter)
    is_watched = background.can_start(watch.run, "autodist-progress")
    try:
        yield
    finally:
        if is_watched:
            watch.ended.set()


class _Watch:
    """Looks at the counters until the block has ended."""

    def __init__(self, what: str, total: Callable[[], int], counter: str) -> None:
        self.ended = threading.Event()
        self._what = what
        self._total = total
        self._counter = counter
        self._start = _read_counter(counter)

    def run(self) -> None:
        if self.ended.wait(AFTER_SECONDS):
            return
        on_terminal = sys.stderr.isatty() and not logging.getLogger().handlers
        (self._draw if on_terminal else self._log)()

    def _state(self) -> tuple[int, int]:
        """Returns the bytes done, and those in all; 0 of what is not known."""
        total = self._total()
        now = _read_counter(self._counter)
        return (0 if now is None or self._start is None else now - self._start), total

    def _log(self) -> None:
        begun = time.monotonic() - AFTER_SECONDS
        done, total = self._state()
        _LOGGER.info("%s: %s so far; this may take a while", self._what, _share(done, total))
        said_at, said_share = time.monotonic(), done / total if total else 0.0
        while not self.ended.wait(_LOOK_SECONDS):
            done, total = self._state()
            share = done / total if total else 0.0
            now = time.monotonic()
            if share - said_share >= EVERY_SHARE or now - said_at >= EVERY_SECONDS:
                _LOGGER.info("%s: %s after %.0f s", self._what, _share(done, total), now - begun)
                said_at, said_share = now, share

    def _draw(self) -> None:
        from rich import console, progress

        columns = (
            progress.TextColumn("autodist: {task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TimeElapsedColumn(),
        )
        done, total = self._state()
        stderr = console.Console(stderr=True)
        with progress.Progress(*columns, console=stderr, transient=True) as bar:
            task = bar.add_task(_log.printable(self._what), total=total or None, completed=done)
            while not self.ended.wait(_LOOK_SECONDS):
                done, total = self._state()
                bar.update(task, completed=done, total=max(total, done) if total else None)


def of_save(prefix: str) -> contextlib.AbstractContextManager[None]:
    """Shows how far a save is that is made in the block; see `shown`.

    Args:
        prefix: The checkpoint's prefix.
    """
    # A data file that is being written has a temporary name, and its size from the start.
    return shown(f"saving {prefix}", lambda: _size_of_data(prefix, "*.autodist*"), "wchar")


def of_restore(prefix: str) -> contextlib.AbstractContextManager[None]:
    """Shows how far a restore is that is made in the block; see `shown`.

    Args:
        prefix: The checkpoint's prefix.
    """
    return shown(f"restoring {prefix}", lambda: _size_of_data(prefix, "*-of-*[0-9]"), "rchar")


def _size_of_data(prefix: str, ending: str) -> int:
    """Returns the bytes of the data files of a prefix; 0 where this machine cannot tell."""
    place = Path(prefix)
    try:
        data = place.parent.glob(f"{glob.escape(place.name)}.data-{ending}")
        return sum(path.stat().st_size for path in data)
    except OSError:
        return 0


def _share(done: int, total: int) -> str:
    return f"about {_log.size(done)} of {_log.size(total)}" if total else f"about {_log.size(done)}"


def _read_counter(name: str) -> int | None:
    try:
        text = Path("/proc/self/io").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        if key == name:
            return int(value)
    return None
