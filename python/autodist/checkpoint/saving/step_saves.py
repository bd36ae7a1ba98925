"""Saves of one step: no training step is on its way while a save takes its values.

::

    close the gates, let the steps on their way end         `distributed.tasks.step_gates`
    read the step, take all values at one instant
    check that all gates were closed until now              else the save fails before its commit
    open the gates
    write

Some values cannot be taken at one instant: ref variables, and those that several tasks or stock ops
of TensorFlow write. The save reads them while it writes. Then the gates stay closed until all is
written.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.checkpoint.distributed.tasks import sessions, step_gates
from autodist.checkpoint.reports.transfer import Transfer
from autodist.process import background
from autodist.steps import closing

_POLL_SECONDS = 0.02

# What errors say of the checkpoint.
_NOTHING = "Nothing was saved"
_WRITTEN = (
    "What was written may hold a part of a step, and the state file does not name it: do not restore "
    "it"
)


class Rest:
    """The time in which no training step is on its way, for one save."""

    def __init__(self, session: Any, rest: closing.Rest) -> None:
        """Reads the step, with which `_end` compares.

        Args:
            session: The session whose variables are saved.
            rest: Opens the gates of all processes.
        """
        self._session = session
        self._rest = rest
        self._global_step = self._read_global_step()
        self._ends_early = False
        self._ending = threading.Lock()
        self._has_ended = threading.Event()
        self._error: Exception | None = None

    @contextlib.contextmanager
    def of(self, running: Transfer) -> Iterator[None]:
        """Ends the rest after the block, which writes the bundle.

        Args:
            running: The bytes of the save.

        Raises:
            GraphStateError: A step was on its way. Nothing is committed, unless ops of the user's
                session wrote it.
        """
        running.set_commit_check(lambda: self._end(running))
        try:
            yield
        except tf.errors.CancelledError:
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            # What ops of the user's session write, nobody can hold back.
            self._end(running, is_committed=True)
        if self._error is not None:
            raise self._error

    def end_once_taken(self, running: Transfer) -> None:
        """Ends the rest as soon as the save has all values.

        Args:
            running: The bytes of the save.
        """
        self._ends_early = True

        def wait() -> None:
            while self._ends_early and not self._has_ended.is_set():
                if running.wait_until_taken(_POLL_SECONDS):
                    self._end(running, is_early=True)

        # If no thread can be started, the rest ends with the save.
        background.can_start(wait, "autodist-step")

    def keep(self) -> bool:
        """Undoes `end_once_taken`; returns whether it came before the end of the rest."""
        with self._ending:
            self._ends_early = False
            return not self._has_ended.is_set()

    def wait_until_ended(self) -> None:
        """Waits until training goes on."""
        self._has_ended.wait()

    def _end(
        self, running: Transfer, *, is_early: bool = False, is_committed: bool = False
    ) -> None:
        with self._ending:
            if self._has_ended.is_set() or (is_early and not self._ends_early):
                return
            try:
                self._error = self._why_not_kept(_WRITTEN if is_committed else _NOTHING)
            # Of servers that are gone, or a session that was closed.
            except Exception as error:  # noqa: BLE001 whatever it is, it is not known that none ran
                self._error = error
            finally:
                if self._error is not None:
                    running.cancel()
                self._has_ended.set()

    def _why_not_kept(self, outcome: str) -> Exception | None:
        try:
            step = self._read_global_step()
        finally:
            was_kept = self._rest.end()
        if not was_kept:
            return errors.GraphStateError(
                "consistency='step': the step gate of a task opened by itself before the save had "
                f"all values, because this process did not answer in time. {outcome}. Save again"
            )
        if step != self._global_step:
            return errors.GraphStateError(
                f"consistency='step': global_step went from {self._global_step} to {step} while no "
                "step was on its way that autodist knows of. So a session trains in a process that "
                f"is no task of the cluster, or has no step gate. {outcome}. Call "
                "autodist.step_gate(session) in all processes that train, or save with "
                "consistency='instant'"
            )
        return None

    def _read_global_step(self) -> int | None:
        """Returns the step if sessions of other processes may change it, else `None`."""
        if not sessions.has_tasks(self._session) or sessions.is_distributed(self._session):
            return None
        graph = self._session.graph
        step = tf.compat.v1.train.get_global_step(graph)
        if step is None:
            return None
        # A thread of ours is in no graph, and there TensorFlow executes eagerly.
        with graph.as_default():
            return int(tf.compat.v1.train.global_step(self._session, step))


@contextlib.contextmanager
def at_rest(session: Any, timeout_seconds: float, *, is_step: bool) -> Iterator[Rest | None]:
    """Lets no training step be on its way during the block, or until its `Rest` ends.

    Args:
        session: The session whose variables are saved.
        timeout_seconds: How long to wait for the steps on their way.
        is_step: Whether the save is of one step; otherwise this only yields `None`.

    Raises:
        tf.errors.DeadlineExceededError: Some steps did not end. The error names them.
        GraphStateError: A task of the cluster has no gate. The error names it.
    """
    if not is_step or not hasattr(session, "graph"):
        # The base class refuses an object that is no session.
        yield None
        return
    with step_gates.at_rest(session, timeout_seconds) as rest:
        yield Rest(session, rest)
