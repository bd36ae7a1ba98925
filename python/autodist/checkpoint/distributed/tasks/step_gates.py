"""Closes the step gates of all processes of a job, for a save of one step.

Each process of a cluster may have sessions that update the variables on the others. So the save
asks every task of the cluster, by an op that calls a function of the task's process
(`steps.service`)::

    find the tasks        this process, or that of the master, knows its cluster
    ask each task         in which process it is; a task that does not listen has ended
    close each gate       for some seconds; the save renews them while it needs the gate closed
    let the steps end     `steps.closing`
    the save takes its values
    open each gate        each process answers whether its gate was closed until now

The save cannot ask a process that is no task of the cluster, or one that starts in these
milliseconds.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from autodist import _log, errors
from autodist.checkpoint.distributed.tasks import (
    masters,
    own_sessions,
    sessions,
    task_calls,
    task_names,
)
from autodist.cluster.servers.server_status import NoAnswerError, ServerStub
from autodist.private_apis import tf_processes
from autodist.process import background
from autodist.steps import closing, clusters, gate, service, step

_LOGGER = _log.get_logger()

# After what time a gate opens by itself, and how often this time is renewed.
_LEASE_SECONDS = 10.0
_RENEWAL_SECONDS = 2.0

_POLL_SECONDS = 0.005
_FIND_SECONDS = 5.0
_MOST_THREADS = 16

# What TensorFlow says of a task that is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)

# TensorFlow's convention: parameter servers run no sessions of their own.
_WITHOUT_SESSIONS = frozenset({"ps"})


class _NoGateError(Exception):
    """A process has no step gate: it has not imported `Saver`, `StepGateHook` or `step_gate`."""


@contextlib.contextmanager
def at_rest(session: Any, timeout_seconds: float) -> Iterator[closing.Rest]:
    """Lets no step of a job be on its way during the block, or until `Rest.end`.

    Args:
        session: The session whose variables are saved.
        timeout_seconds: How long to wait for the steps on their way.

    Raises:
        tf.errors.DeadlineExceededError: Some steps did not end. The error names them.
        GraphStateError: A task of the cluster has no gate. The error names it.
    """
    own = gate.of_process()
    with contextlib.ExitStack() as stack:
        stack.enter_context(step.exempt())
        others: Sequence[_RemoteGate] = ()
        target = sessions.target_of(session)
        # The servers of an AutoDist scope run the sessions of this program only.
        if target is not None and not sessions.is_distributed(session):
            others = stack.enter_context(_gates_of_others(target, timeout_seconds))
        gates: list[closing.ClosedGate] = [closing.OwnGate(own, step.key_of(session))]
        stack.callback(gates[0].open)
        for other in others:
            stack.callback(other.open)
        gates += background.map_in_threads(_closed, others, _MOST_THREADS)
        if others:
            stack.enter_context(_kept_closed(others))
        yield stack.enter_context(closing.closed(gates, timeout_seconds))


@dataclasses.dataclass(frozen=True)
class _Task:
    """A task of a cluster.

    Attributes:
        name: As `/job:worker/replica:0/task:1`.
        address: Where it listens.
    """

    name: str
    address: str


class _RemoteGate:
    """The gate of another process; see `closing.ClosedGate`."""

    def __init__(
        self, target: task_names.SessionTarget, master: str, task: _Task, timeout_seconds: float
    ) -> None:
        self._task = task
        self._timeout_seconds = timeout_seconds
        # Whether the process has ended, and its steps with it.
        self._is_gone = False
        self._closure = ""
        self._asking = threading.Lock()
        with tf.Graph().as_default() as graph:
            self._message = tf.compat.v1.placeholder(tf.string, [])
            with tf.device(task_names.processor_of(task.name)):
                self._answer = tf_processes.call_on_device(service.NAME, self._message)
        self._session, self.end = own_sessions.open_session(
            self, target, graph, task_names.filters_of([master, task.name])
        )

    @property
    def task(self) -> str:
        """The name of its task."""
        return self._task.name

    def ask(self, do: str, **fields: Any) -> Any:
        """Sends a message, and returns the answer; `None` if the process has ended.

        Raises:
            _NoGateError: The process has no step gate.
            GraphStateError: The task does not answer.
        """
        if self._is_gone:
            return None
        message = json.dumps({"do": do, **fields})
        milliseconds = int(self._timeout_seconds * 1000)
        options = tf.compat.v1.RunOptions(timeout_in_ms=milliseconds)
        try:
            answer = self._session.run(self._answer, {self._message: message}, options)
        except tf.errors.OpError as error:
            if tf_processes.has_no_function(error):
                raise _NoGateError from error
            if isinstance(error, _LOST) and not _listens(self._task):
                self._is_gone = True
                return None
            raise _refused(f"{self._task.name} does not answer: {error.message}") from error
        return json.loads(answer)

    def close(self) -> None:
        """Closes the gate."""
        answer = self.ask("close", seconds=_LEASE_SECONDS)
        self._closure = answer["closure"] if answer else ""

    def renew(self) -> None:
        """Renews the time after which the gate opens by itself."""
        with self._asking:
            if self._closure:
                self.ask("traffic", closure=self._closure, seconds=_LEASE_SECONDS, slack=1)

    def traffic(self, slack: float, after: int | None, seconds: float) -> gate.Traffic:
        """See `ClosedGate.traffic`."""
        answer = self.ask("traffic", closure=self._closure, seconds=_LEASE_SECONDS, slack=slack)
        if not answer:
            return gate.Traffic(0, is_overdue=True, waiting=(), version=0)
        found = gate.Traffic(**answer)
        if found.version == after:
            time.sleep(min(seconds, _POLL_SECONDS))
        return found

    def admit(self, thread: int) -> None:
        """See `ClosedGate.admit`."""
        self.ask("admit", closure=self._closure, thread=thread)

    def describe(self) -> list[str]:
        """See `ClosedGate.describe`."""
        answer = self.ask("describe", closure=self._closure)
        return [f"{self._task.name}: {line}" for line in answer["lines"]] if answer else []

    def open(self) -> bool:
        """See `ClosedGate.open`."""
        with self._asking:
            closure, self._closure = self._closure, ""
            if not closure:
                return False
            try:
                answer = self.ask("open", closure=closure)
            except errors.GraphStateError as error:
                _LOGGER.warning(
                    "%s; its step gate opens by itself within %g s", error, _LEASE_SECONDS
                )
                return False
            return answer is None or answer["was_closed"] is True


def _closed(other: _RemoteGate) -> _RemoteGate:
    other.close()
    return other


@contextlib.contextmanager
def _kept_closed(others: Sequence[_RemoteGate]) -> Iterator[None]:
    """Renews, during the block, the time after which the gates open by themselves."""
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(_RENEWAL_SECONDS):
            for other in others:
                with contextlib.suppress(errors.GraphStateError):
                    other.renew()

    background.start(renew, "autodist-step-gates")
    try:
        yield
    finally:
        is_over.set()


@contextlib.contextmanager
def _gates_of_others(
    target: task_names.SessionTarget, timeout_seconds: float
) -> Iterator[list[_RemoteGate]]:
    """Yields the gates of the other processes of a cluster; they are still open."""
    if target.why_unreachable:
        raise _refused(f"{target.why_unreachable}, so the other tasks cannot be asked")
    master = masters.ask(target, timeout_seconds).task
    found: list[_RemoteGate] = []

    def ask(task: _Task) -> tuple[_RemoteGate, Any]:
        other = _RemoteGate(target, master, task, timeout_seconds)
        found.append(other)
        try:
            return other, other.ask("ask")
        except _NoGateError:
            return other, {}

    def answers(tasks: Sequence[_Task]) -> list[tuple[_RemoteGate, Any]]:
        asked = [task_calls.start_call(lambda task=task: ask(task)) for task in tasks]  # type: ignore[misc]
        concurrent.futures.wait(asked, timeout_seconds)
        for task, answer in zip(tasks, asked, strict=True):
            if not answer.done():
                raise _refused(
                    f"{task.name} did not answer within {timeout_seconds:g} s, and may train these "
                    "variables"
                )
        return [answer.result() for answer in asked]

    try:
        address = target.address.removeprefix("grpc://")
        found_tasks = clusters.of_master(clusters.servers_of_process(), master, address)
        if not found_tasks:
            ((_, answer),) = answers([_Task(master, address)])
            told = [
                clusters.ServerOfProcess(**server) for server in (answer or {}).get("servers", ())
            ]
            found_tasks = clusters.told_by_master(told, master, address)
        if not found_tasks:
            raise _refused(
                f"{master} at {target.address}, the session's master, does not say which tasks its "
                "cluster has. Import autodist's Saver in the process of that server, or save in a "
                f"process whose tf.distribute.Server knows {master} as {address}"
            )
        tasks = [_Task(name, address) for name, address in found_tasks.items()]
        yield _gates_in(answers(_listening(tasks)))
    finally:
        own_sessions.close(other.end for other in found)


def _gates_in(answers: Sequence[tuple[_RemoteGate, Any]]) -> list[_RemoteGate]:
    """Returns a gate for each process but this one.

    Raises:
        GraphStateError: A task that may train has no gate.
    """
    without = [
        other.task
        for other, answer in answers
        if answer == {} and tf.DeviceSpec.from_string(other.task).job not in _WITHOUT_SESSIONS
    ]
    if without:
        raise _refused(
            f"{', '.join(without)} may train these variables, and has no step gate. Add "
            "autodist.StepGateHook() to the hooks of each worker's monitored session, or call "
            "autodist.step_gate(session) there"
        )
    by_process = {answer["process"]: other for other, answer in answers if answer}
    by_process.pop(service.PROCESS, None)
    return list(by_process.values())


def _listening(tasks: Sequence[_Task]) -> list[_Task]:
    """Returns the tasks at whose addresses somebody listens."""
    listen = background.map_in_threads(_listens, tasks, _MOST_THREADS)
    gone = [task.name for task, listens in zip(tasks, listen, strict=True) if not listens]
    if gone:
        _LOGGER.info("no step is on its way in %s, where nobody listens", ", ".join(gone))
    return [task for task in tasks if task.name not in gone]


def _listens(task: _Task) -> bool:
    with contextlib.closing(ServerStub(task.address)) as stub:
        try:
            stub.status(_FIND_SECONDS)
        except NoAnswerError as error:
            # A task that is silent may train all the same.
            return error.is_silence or error.is_busy
        return True


def _refused(why: str) -> Exception:
    return errors.GraphStateError(
        f"consistency='step' is not possible: {why}. Nothing was saved. You can save "
        "with consistency='instant' instead"
    )
