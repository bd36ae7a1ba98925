"""Saves in the background: a thread writes while the program trains on.

The thread runs an ordinary save. The caller of `save_async` waits until the save has all values
that it writes. A saver has one save in the background at a time.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import functools
import os
import threading
from collections.abc import Callable

from autodist import _log
from autodist.checkpoint.errors import final_errors
from autodist.checkpoint.reports.report import SaveReport
from autodist.checkpoint.reports.transfer import Transfer
from autodist.process import background

_LOGGER = _log.get_logger()

# How often a caller that waits for the values checks whether the save has failed.
_POLL_SECONDS = 0.02

# Writes the checkpoint. It calls its argument, when it begins, with its `Transfer`.
Save = Callable[[Callable[[Transfer], None]], SaveReport]


class SaveHandle:
    """A save in the background; `Saver.save_async` returns it.

    Its methods may be called by any thread.
    """

    def __init__(self, prefix: str, global_step: int | None) -> None:
        """Describes a save that has not begun.

        Args:
            prefix: The checkpoint's prefix.
            global_step: The step in its name; `None` if it has none.
        """
        self._prefix = prefix
        self._global_step = global_step
        self._future: concurrent.futures.Future[SaveReport] = concurrent.futures.Future()
        self._has_begun = threading.Event()
        self._transfer: Transfer | None = None
        self._is_cancelled = False
        self._process = os.getpid()

    @property
    def prefix(self) -> str:
        """The prefix of the checkpoint, which exists once the save is done."""
        return self._prefix

    @property
    def global_step(self) -> int | None:
        """The step that `save_async` read; `None` if it was given none."""
        return self._global_step

    @property
    def report(self) -> SaveReport | None:
        """What the save did; `None` before it is done, and if it failed."""
        if not self._future.done() or self._future.exception() is not None:
            return None
        return self._future.result()

    def result(self, timeout: float | None = None) -> str | None:
        """Waits until the checkpoint is committed, and returns what `save` would return.

        Args:
            timeout: How long to wait, in seconds; `None`: as long as it takes.

        Raises:
            TimeoutError: The save is not done by then; it goes on.
            Exception: What `save` would raise.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._future.result().prefix

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Waits until the save is done, and returns its error; `None` if it has none.

        Args:
            timeout: How long to wait, in seconds; `None`: as long as it takes.

        Raises:
            TimeoutError: The save is not done by then; it goes on.
        """
        error = self._future.exception(timeout)
        _untold.discard(self)
        return error

    def done(self) -> bool:
        """Tells whether the checkpoint is committed, or the save has failed."""
        return self._future.done()

    def cancel(self) -> bool:
        """Asks the save to stop, and does not wait. Returns whether the save was still going on.

        After that, `result` raises `tf.errors.CancelledError`, and nothing of the checkpoint is
        left. If the save was past its commit, `result` returns the prefix.
        """
        self._is_cancelled = True
        transfer = self._transfer
        if transfer is not None:
            transfer.cancel()
        return not self.done()

    def add_done_callback(self, callback: Callable[[SaveHandle], object]) -> None:
        """Calls a function once the save is done, in the thread that saved.

        If the save is done already, this calls the function at once. An error of the function is
        logged.

        Args:
            callback: The function; its argument is this handle.
        """

        def call(_: object) -> None:
            try:
                callback(self)
            except Exception:
                _LOGGER.exception("a callback of the save of %s failed", self._prefix)

        self._future.add_done_callback(call)

    def is_of_this_process(self) -> bool:
        """Tells whether the thread of the save is in this process; a forked child has none."""
        return self._process == os.getpid()

    def run(self, save: Save) -> None:
        """Saves. This is what the thread in the background does.

        Args:
            save: Writes the checkpoint.
        """
        try:
            report = save(self._begin)
        except BaseException as error:  # noqa: BLE001 told to whoever asks
            _untold.add(self)
            self._future.set_exception(error)
        else:
            self._future.set_result(report)

    def _begin(self, transfer: Transfer) -> None:
        transfer.outlive_session()
        self._transfer = transfer
        if self._is_cancelled:
            transfer.cancel()
        self._has_begun.set()

    def wait_until_taken(self) -> None:
        """Waits until the save has all values that it writes, or has failed."""
        while not self.done():
            if not self._has_begun.wait(_POLL_SECONDS) or self._transfer is None:
                continue
            if self._transfer.wait_until_taken(_POLL_SECONDS):
                return


# Failed saves whose error nobody has asked for.
_untold: set[SaveHandle] = set()


@atexit.register
def _tell_errors() -> None:
    # The interpreter has waited for the threads.
    for handle in list(_untold):
        error = handle.exception()
        _LOGGER.error(
            "%s was not saved: %s: %s", handle.prefix, type(error).__name__, error, exc_info=error
        )


class BackgroundSaves:
    """The saves in the background of one saver: one at a time."""

    def __init__(self) -> None:
        """Begins without a save."""
        self._last: SaveHandle | None = None
        # Held while a save starts.
        self._starting = threading.Lock()

    def await_last(self) -> None:
        """Waits until no save of this saver goes on in the background.

        Raises:
            Exception: The error of the last save, if nobody has asked its handle for it.
        """
        last = self._last
        if last is None or not last.is_of_this_process():
            return
        with contextlib.suppress(Exception):
            # Not through the handle: that would count as if its owner had asked for the error.
            last._future.exception()  # noqa: SLF001 our own class
        if last in _untold:
            error = last.exception()
            if isinstance(error, Exception):
                raise final_errors.with_message(
                    error,
                    f"the former save, of {last.prefix} in the background, failed: "
                    f"{final_errors.text_of(error)}\n\nThis one was not begun. Save again",
                ) from error

    def start(self, prefix: str, global_step: int | None, save: Save) -> SaveHandle:
        """Saves in the background; returns once the save has all values that it writes.

        Args:
            prefix: The checkpoint's prefix.
            global_step: The step in its name; `None` if it has none.
            save: Writes the checkpoint.

        Raises:
            tf.errors.ResourceExhaustedError: No thread can be started; nothing was saved.
            Exception: The error of the last save, as in `await_last`; or the error of this one, if
                it failed before it had all values.
        """
        with self._starting:
            self.await_last()
            handle = SaveHandle(prefix, global_step)
            # Not a daemon, so the interpreter waits for it.
            background.start(
                functools.partial(handle.run, save), f"save of {prefix}", is_daemon=False
            )
            self._last = handle
            is_taken = False
            try:
                handle.wait_until_taken()
                is_taken = True
            finally:
                if not is_taken:
                    # This thread was interrupted, so nobody gets the handle.
                    handle.cancel()
                    handle.add_done_callback(_untold.discard)
        if handle.done():
            handle.result()
        return handle
