"""Saves in the background: a thread writes while the program trains on.

The thread runs an ordinary save. Whoever asked for it waits until the save has all values that it
writes. A saver has one save in the background at a time.
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

# How often the one who waits for the values looks whether the save has failed before.
_POLL_SECONDS = 0.02

# Writes the checkpoint; is called with a function that it tells how far it is.
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
        """The prefix of the checkpoint. There is none under it before the save is done."""
        return self._prefix

    @property
    def global_step(self) -> int | None:
        """The step that was read when the save began; `None` if it was asked for none."""
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
            TimeoutError: It is not done by then; it goes on.
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
            TimeoutError: It is not done by then; it goes on.
        """
        error = self._future.exception(timeout)
        _untold.discard(self)
        return error

    def done(self) -> bool:
        """Tells whether the checkpoint is committed, or the save has failed."""
        return self._future.done()

    def cancel(self) -> bool:
        """Asks the save to stop; tells whether it was still going on.

        It does not wait. `result` then raises `tf.errors.CancelledError`, and nothing is left of
        the checkpoint. Or it returns: the save was past its commit.
        """
        self._is_cancelled = True
        transfer = self._transfer
        if transfer is not None:
            transfer.cancel()
        return not self.done()

    def add_done_callback(self, callback: Callable[[SaveHandle], object]) -> None:
        """Has a function called once the save is done, in the thread that saved.

        If it is done already, the function is called at once. What it raises is logged.

        Args:
            callback: Is called with this handle.
        """

        def call(_: object) -> None:
            try:
                callback(self)
            except Exception:
                _LOGGER.exception("a callback of the save of %s failed", self._prefix)

        self._future.add_done_callback(call)

    def is_of_this_process(self) -> bool:
        """Tells whether its thread is in this process, which a fork does not copy."""
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


# Those that failed, while nobody has asked for their error.
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
        """Has none."""
        self._last: SaveHandle | None = None
        # Held while one starts.
        self._starting = threading.Lock()

    def await_last(self) -> None:
        """Waits until none goes on.

        Raises:
            Exception: That of the last one, if nobody was told.
        """
        last = self._last
        if last is None or not last.is_of_this_process():
            return
        with contextlib.suppress(Exception):
            # Its own error stays for whoever waits for `result` at the same time.
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
            Exception: That of the last one, as in `await_last`; or that of this one, if it failed
                before it had all values.
        """
        with self._starting:
            self.await_last()
            handle = SaveHandle(prefix, global_step)
            # The interpreter waits for it.
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
                    # Interrupted: nobody gets the handle.
                    handle.cancel()
                    handle.add_done_callback(_untold.discard)
        if handle.done():
            handle.result()
        return handle
