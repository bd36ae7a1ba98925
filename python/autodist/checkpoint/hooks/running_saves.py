"""The saves in the background of one hook or callback: one at a time, and no error is lost.

::

    request    raises the error of the former save, once; if one still runs: skip, wait or queue
    begin      takes the values
    commit     makes the checkpoint durable, and names it in the state file
    committed  calls the hook with the step that was saved, unless the checkpoint was refused with a
               warning; then the next save may begin
"""

from __future__ import annotations

import atexit
import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from autodist import _log, errors
from autodist.checkpoint.errors import final_errors
from autodist.checkpoint.saving.asynchronous import SaveHandle
from autodist.steps import closing

_LOGGER = _log.get_logger()

# How long a training thread that asks for a save waits for the steps of others before it trains on.
_STEP_SECONDS = 1.0

WHEN_BUSY = ("skip", "wait", "queue")


@dataclasses.dataclass(frozen=True)
class Request:
    """A save that is asked for.

    Attributes:
        session: The session.
        path: Prefix of the files, without the step.
        global_step: The step, as a tensor: the save reads it when it takes the values.
        consistency: As in `SaveOptions`.
        write_meta_graph: Whether to write the graph.
    """

    session: Any
    path: str
    global_step: Any
    consistency: str
    write_meta_graph: bool


class RunningSaves:
    """The saves of one hook or callback."""

    def __init__(self, when_busy: str, committed: Callable[[Request, int], None]) -> None:
        """Begins without a save.

        Args:
            when_busy: What a request does while a save runs: `'skip'`, `'wait'` or `'queue'`.
            committed: The thread that saves calls it after each commit, with the request and step.

        Raises:
            ArgumentError: `when_busy` has another value.
        """
        if when_busy not in WHEN_BUSY:
            raise errors.ArgumentError(f"when_busy must be one of {WHEN_BUSY}, not {when_busy!r}")
        self._when_busy = when_busy
        self._committed = committed
        self._is_idle = threading.Event()
        self._is_idle.set()
        self._has_values = False
        self._begins_in_thread = False
        self._error: BaseException | None = None
        self._is_queued = False
        self._saved_step: int | None = None

    @property
    def saved_step(self) -> int | None:
        """The step of the last checkpoint that was committed; `None` before the first."""
        return self._saved_step

    @property
    def is_due(self) -> bool:
        """Whether a request was queued, and `may_begin` would now accept it."""
        waits = self._when_busy == "wait" and self._has_values
        return self._is_queued and (waits or self._is_idle.is_set())

    def may_begin(self) -> bool:
        """Tells whether a save is to begin now. May wait for the one that runs.

        Raises:
            Exception: The error of the former save, if it was not raised before.
        """
        # Until the save that runs has its values, it may wait for the next step of this thread.
        can_wait = self._when_busy == "wait" and self._has_values
        if not self._is_idle.is_set() and not can_wait:
            self._is_queued = self._when_busy != "skip"
            how = "begins after it" if self._is_queued else "is skipped"
            _LOGGER.info("a save in the background still runs, so the next one %s", how)
            return False
        self.wait()
        self.raise_error()
        return True

    def begin(self, saver: Any, request: Request) -> None:
        """Saves in the background, after `may_begin`.

        Returns once the values are taken. With synchronous workers, a save of one step may wait for
        the next step of this thread. If that seems so, this returns earlier, and the thread that
        saves takes the values.

        Args:
            saver: The saver.
            request: What to save.

        Raises:
            Exception: The values cannot be taken.
        """
        self._is_queued = False
        handle = self._begin_here(saver, request)
        self._has_values = handle is not None
        self._is_idle.clear()
        _running.add(self)

        def save() -> None:
            try:
                with request.session.graph.as_default():
                    begun = _start(saver, request) if handle is None else handle
                    self._has_values = True
                    begun.result()
                step = begun.global_step
                self._saved_step = step
                report = begun.report
                if report is None or not report.is_refused:
                    self._committed(request, -1 if step is None else step)
            except BaseException as error:  # noqa: BLE001 raised by whoever asks next
                self._error = error
                _untold.add(self)
            finally:
                _running.discard(self)
                self._is_idle.set()

        try:
            # Not a daemon, so the interpreter waits for it. It does not get the context of this
            # thread, so it is not part of a step of this thread.
            threading.Thread(target=save, name=f"save of {request.path}").start()
        except RuntimeError:
            # The program is at its limit of threads, so this thread saves.
            save()

    def _begin_here(self, saver: Any, request: Request) -> SaveHandle | None:
        """Takes the values; returns `None` if the thread that saves has to take them."""
        if self._begins_in_thread:
            return None
        limit = _STEP_SECONDS if request.consistency == "step" else math.inf
        try:
            with closing.waiting_at_most(limit):
                return _start(saver, request)
        except closing.StepsNotEndedError:
            self._begins_in_thread = True
            return None

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until no save runs; returns whether none runs.

        Args:
            seconds: How long to wait at most; `None`: as long as it takes.
        """
        return self._is_idle.wait(seconds)

    def take_error(self) -> BaseException | None:
        """Returns the error of the last save, once."""
        error, self._error = self._error, None
        _untold.discard(self)
        return error

    def forget(self) -> None:
        """Forgets the save that runs, in a forked child: the thread exists in the parent only."""
        self._error = None
        self._is_idle = threading.Event()
        self._is_idle.set()

    def raise_error(self) -> None:
        """Raises the error of the last save, once.

        Raises:
            Exception: That error.
        """
        raise_error(self.take_error())


def raise_error(error: BaseException | None) -> None:
    """Raises the error of a save in the background, if there is one.

    Args:
        error: From `RunningSaves.take_error`.

    Raises:
        Exception: That error.
    """
    if error is None:
        return
    if not isinstance(error, Exception):
        raise error
    message = f"a save in the background failed: {final_errors.text_of(error)}"
    raise final_errors.with_message(error, message) from error


def _start(saver: Any, request: Request) -> SaveHandle:
    handle: SaveHandle = saver.save_async(
        request.session,
        request.path,
        request.global_step,
        write_meta_graph=request.write_meta_graph,
        consistency=request.consistency,
    )
    return handle


# Those with a save that runs, and those with an error that was not raised or logged yet.
_running: set[RunningSaves] = set()
_untold: set[RunningSaves] = set()


def wait_for_all(seconds: float) -> bool:
    """Waits until no save of any hook runs; returns whether none runs.

    Args:
        seconds: How long to wait at most.
    """
    end = time.monotonic() + seconds
    return all(saves.wait(max(0.0, end - time.monotonic())) for saves in list(_running))


def _forget() -> None:
    for saves in [*_running, *_untold]:
        saves.forget()
    _running.clear()
    _untold.clear()


os.register_at_fork(after_in_child=_forget)


@atexit.register
def _tell_errors() -> None:
    # The interpreter has waited for the threads.
    for saves in list(_untold):
        error = saves.take_error()
        if error is not None:
            _LOGGER.error(
                "a save in the background failed: %s: %s",
                type(error).__name__,
                error,
                exc_info=error,
            )
