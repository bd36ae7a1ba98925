"""Shows how far a save or restore is, if it takes longer than some seconds.

A thread reads how many bytes are done. The save never waits for this thread, and goes on without it
if no thread can be started. The thread is no `threading.Thread`: its `start()` waits until the
thread runs, and would wait for ever if the first allocation in the thread failed.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import time
from collections.abc import Callable

from autodist import _log
from autodist.checkpoint.reports import display

_LOGGER = _log.get_logger()

# A save or restore that is done within this time shows no progress.
_QUIET_SECONDS = 3.0
# How long the end of a save waits for a line of progress that is being written, so that this line
# comes before the last line of the save.
_LINE_SECONDS = 1.0

# Held while a thread writes progress.
_showing = _thread.allocate_lock()


def _renew_lock() -> None:
    global _showing  # noqa: PLW0603 the thread that held it is not in a forked child
    _showing = _thread.allocate_lock()


os.register_at_fork(after_in_child=_renew_lock)
# At its end the interpreter stops threads. It could crash if it stopped one that writes to stderr.
# So the end of the program takes the lock and keeps it.
atexit.register(lambda: _showing.acquire(timeout=_LINE_SECONDS))


class Progress:
    """The thread that shows the progress of one save or restore."""

    def __init__(
        self, prefix: str, byte_counts: Callable[[], tuple[int, int]], *, is_save: bool
    ) -> None:
        self._prefix = prefix
        self._byte_counts = byte_counts
        self._is_save = is_save
        self._start = time.monotonic()
        self._display: display.Display | None = None
        self._has_ended = False
        # `end` releases it, which ends the thread.
        self._running = _thread.allocate_lock()
        self._running.acquire()

    def start(self) -> None:
        """Starts the thread.

        Raises:
            RuntimeError: None can be started.
        """
        _thread.start_new_thread(self._watch, ())

    def end(self) -> None:
        """Makes the thread end, does not wait for it, and removes the bar."""
        self._has_ended = True
        self._running.release()
        if self._display is not None and _showing.acquire(timeout=_LINE_SECONDS):
            try:
                self._display.close()
            except Exception as error:  # noqa: BLE001 stderr may be closed; the save goes on
                self._log(error)
            finally:
                _showing.release()

    def _watch(self) -> None:
        try:
            seconds = _QUIET_SECONDS
            while not self._running.acquire(timeout=seconds):
                seconds = self._show()
        except Exception as error:  # noqa: BLE001 the save goes on
            self._log(error)

    def _log(self, error: Exception) -> None:
        _LOGGER.debug("the progress of %s cannot be shown: %s", self._prefix, error)

    def _show(self) -> float:
        """Shows the progress, and returns after how many seconds to do that again."""
        with _showing:
            if self._display is None:
                self._display = display.make(self._prefix, is_save=self._is_save)
            if not self._has_ended:
                self._display.show(*self._byte_counts(), time.monotonic() - self._start)
            if self._has_ended:
                self._display.close()
            return self._display.interval


def show(
    prefix: str, byte_counts: Callable[[], tuple[int, int]], *, is_save: bool
) -> Progress | None:
    """Begins to show the progress of a save or restore.

    Args:
        prefix: The checkpoint's prefix.
        byte_counts: Returns how many bytes are done, and how many there are in all; 0 if that is
            not known yet.
        is_save: Whether it is a save, or a restore.

    Returns:
        The object whose `end` ends it. None if the log hides such lines, or if there is no thread
        or memory for it.
    """
    if not _log.is_shown(logging.INFO):
        return None
    try:
        progress = Progress(prefix, byte_counts, is_save=is_save)
        progress.start()
    except (MemoryError, RuntimeError):
        return None
    return progress
