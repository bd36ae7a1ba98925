"""Sessions of our own on the user's servers, whose runs end when a server is lost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import liveness, own_sessions, task_calls, task_names
from autodist.checkpoint.distributed.tasks.transport import (
    PROGRESS_SECONDS,
    RENEWALS_PER_LEASE,
)
from autodist.checkpoint.errors import run_errors

# How long a run may take before it is asked whether all tasks are there; a share of the timeout.
_PATIENCE = 0.25

# How long `notify` waits for tasks other than the one that has the files; a share of the timeout.
_COURTESY = 0.5

LOST = run_errors.LOST


class ControlSession:
    """Runs ops on some tasks of a cluster; an error names the tasks that do not answer.

    Attributes:
        graph: Its graph.
        broken: Whether a task was lost, or its session there; then another session is needed.
        lost: The tasks that do not answer, or that restarted since `begin`.
    """

    def __init__(
        self,
        target: task_names.SessionTarget,
        master: str,
        involved: Iterable[str],
        timeout_seconds: float,
    ) -> None:
        """Opens a session.

        Args:
            target: The target of the user's session.
            master: The task of its master.
            involved: The tasks that are needed, and no others.
            timeout_seconds: For how long a task may not answer.
        """
        self.graph = tf.Graph()
        self.broken = False
        self._target = target
        self._master = master
        self._tasks = sorted({master, *involved})
        self._timeout = timeout_seconds
        self.lost: list[str] = []
        self._noted: Callable[[], dict[str, int]] = dict
        self._session, self._end = own_sessions.open_session(
            self, target, self.graph, task_names.filters_of(self._tasks)
        )
        self._find()

    def begin(self) -> None:
        """Notes which processes serve the tasks now: at the beginning of each save or restore.

        If others do before its end, the save or restore raises `UnavailableError`. Waits only until
        the addresses of the tasks are known.
        """
        self._await_addresses()
        self._noted = liveness.begin_to_note(self._target, self._tasks, self._timeout)

    def run(self, fetches: Any, feeds: dict[Any, Any]) -> Any:
        """Runs ops of the graph.

        Args:
            fetches: As for `tf.compat.v1.Session.run`.
            feeds: Likewise.

        Raises:
            tf.errors.UnavailableError: Tasks do not answer; names them.
            tf.errors.OpError: An op failed.
        """
        return self.wait(self.start(fetches, feeds))

    def start(self, fetches: Any, feeds: dict[Any, Any]) -> concurrent.futures.Future[Any]:
        """Begins a run, for `wait`."""
        self._await_addresses()
        return task_calls.start_call(lambda: self._session.run(fetches, feeds))

    def _find(self) -> None:
        self._found = liveness.begin_to_find(self._target, self._master, self._tasks)
        self._found_until = time.monotonic() + liveness.FIND_SECONDS

    def _await_addresses(self) -> None:
        """Waits until the addresses of the servers are known: a busy server cannot tell its own."""
        left = self._found_until - time.monotonic()
        if left > 0:
            concurrent.futures.wait([self._found], left)
        elif self._found.done() and (self._found.exception() or not self._found.result()):
            self._find()

    def wait(self, running: concurrent.futures.Future[Any]) -> Any:
        """Returns the result of a run; raises as `run` does."""
        while not concurrent.futures.wait([running], max(1.0, self._timeout * _PATIENCE)).done:
            self._check_tasks(None)
        with self.naming_lost_tasks():
            try:
                return running.result()
            except tf.errors.OpError as error:
                # An error of an op has the op; that of a lost task does not.
                if isinstance(error, LOST) and error.op is not None:
                    raise
                raise run_errors.without_stacks(error) from None

    def map(
        self,
        calls: Iterable[Callable[[], tuple[Any, dict[Any, Any]]]],
        width: int,
        *,
        fails_at_once: bool = False,
    ) -> Iterator[Any]:
        """Yields the results of runs, in order; some of them run at a time.

        Args:
            calls: Make the fetches and feeds of a run, when it is begun.
            width: How many are under way at most.
            fails_at_once: Whether the first error is raised at once, while other runs are under
                way. The caller ends these. Else runs are awaited in order, and all of them.
        """
        running: list[concurrent.futures.Future[Any]] = []

        def next_result() -> Any:
            if fails_at_once:
                self._await_first(running)
            return self.wait(running.pop(0))

        try:
            for call in calls:
                if len(running) == width:
                    yield next_result()
                running.append(self.start(*call()))
            while running:
                yield next_result()
        finally:
            if not self.broken and not fails_at_once:
                concurrent.futures.wait(running, timeout=self._timeout)

    def _await_first(self, running: list[concurrent.futures.Future[Any]]) -> None:
        """Returns once the first of some runs has ended; raises if any has failed."""
        while True:
            under_way = [each for each in running if not each.done()]
            for each in running:
                if each not in under_way and each.exception() is not None:
                    self.wait(each)
            if running[0] not in under_way:
                return
            patience = max(1.0, self._timeout * _PATIENCE)
            if not concurrent.futures.wait(
                under_way, patience, concurrent.futures.FIRST_COMPLETED
            ).done:
                self._check_tasks(None)

    @contextlib.contextmanager
    def repeating(
        self,
        fetches: Collection[Any],
        feeds: dict[Any, Any],
        seconds: float,
        tell: Callable[[Any], bool | None] | None = None,
    ) -> Iterator[None]:
        """Runs ops at intervals while the block lasts; ignores their failures.

        Args:
            fetches: The ops. One that a busy task does not get to does not keep the others waiting.
            feeds: For all of them.
            seconds: How often.
            tell: Called with each result; once it returns true, the ops are not run again. With
                it, the block runs without the ops where no thread can be started.
        """
        ended = threading.Event()

        def repeat() -> None:
            running: dict[int, concurrent.futures.Future[Any]] = {}
            while not ended.wait(seconds):
                for number, fetch in enumerate(fetches):
                    if number in running and not running[number].done():
                        continue
                    # Without a thread now, the next time.
                    with contextlib.suppress(tf.errors.ResourceExhaustedError):
                        running[number] = task_calls.start_call(functools.partial(run, fetch))

        def run(fetch: Any) -> None:
            result = self._session.run(fetch, feeds)
            if tell is not None and tell(result):
                ended.set()

        try:
            task_calls.start_call(repeat)
        except tf.errors.ResourceExhaustedError:
            if tell is None:
                raise
        try:
            yield
        finally:
            ended.set()

    @contextlib.contextmanager
    def keeping_alive(
        self,
        renewals: list[Any],
        feeds: dict[Any, Any],
        lease_seconds: float,
        tell: Callable[[Any], None],
    ) -> Iterator[None]:
        """Renews the lease of each task while the block lasts, and tells how far the tasks are.

        Args:
            renewals: Of each task an op that renews its lease and returns what it has done.
            feeds: For all of them.
            lease_seconds: How long a lease lasts.
            tell: Called from time to time with the results of all.
        """
        with (
            self.repeating(renewals, feeds, lease_seconds / RENEWALS_PER_LEASE),
            self.repeating([renewals], feeds, PROGRESS_SECONDS, tell),
        ):
            yield

    def notify(self, ops: Mapping[str, Callable[[], Any]]) -> None:
        """Runs ops on every task that answers; ignores lost ones.

        Args:
            ops: By task a function that makes them, in a graph of its own. The first task is the
                one that has the files: it is waited for.
        """
        present = {task: op for task, op in ops.items() if task not in self.lost}
        notified = task_calls.notify(self._target, self._master, present)
        concurrent.futures.wait(notified[:1], self._timeout)
        concurrent.futures.wait(notified, self._timeout * _COURTESY)

    def close(self) -> None:
        """Closes the session, unless it was given up."""
        self.broken = True
        own_sessions.close([self._end])

    def end_with(self, session: Any) -> None:
        """Closes the session when the user's session is closed."""
        own_sessions.end_with(session, [self._end])

    @property
    def is_closed(self) -> bool:
        """Whether the session was closed, or closes."""
        return not self._end.alive

    def _give_up(self) -> None:
        """Closes the session in the background: closing waits until lost tasks are back."""
        self.broken = True
        self._end()

    @contextlib.contextmanager
    def naming_lost_tasks(self) -> Iterator[None]:
        """Has errors of runs in the block name tasks that are lost or restarted."""
        try:
            yield
        except LOST as error:
            self._give_up()
            self._check_tasks(error)
            raise
        except tf.errors.FailedPreconditionError as error:
            # A new process knows nothing of the save or restore, and its variables have no values.
            self._check_restarts(error)
            raise

    def _check_tasks(self, error: Any) -> None:
        """Raises if tasks do not answer, or if others answer in their place."""
        unreachable = liveness.unreachable(self._target, self._master, self._tasks, self._timeout)
        if unreachable:
            self._give_up()
            self.lost = unreachable
            raise task_calls.lost_error(unreachable, self._timeout, error) from error
        self._check_restarts(error)

    def _check_restarts(self, error: Any) -> None:
        """Raises if other processes serve tasks than when the save or restore began."""
        noted = self._noted()
        # Their answers are awaited once.
        self._noted = lambda: noted
        restarted = liveness.restarted(self._target, noted, self._timeout)
        if not restarted:
            return
        self._give_up()
        self.lost = restarted
        raise task_calls.restarted_error(restarted, error) from error
