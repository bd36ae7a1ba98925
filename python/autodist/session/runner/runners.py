"""Runs the transformed graph, in this process or in a cluster whose servers are watched.

A session over gRPC waits without end for a server that hangs, and closing it waits too. So while
something runs, the chief asks the servers who they are. When one does not answer within the silence
timeout, or is another process than before, the chief closes the session. That ends the run, and the
error names the server. The next run opens a new session; the variables on the servers stay there.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import tensorflow as tf

from autodist import _log
from autodist.cluster.chief import Cluster, Failure
from autodist.errors import GraphStateError
from autodist.graph.transformer import Transformer
from autodist.private_apis import tf_sessions
from autodist.process import background

_logger = _log.get_logger()
_MOST_SECONDS_BETWEEN_QUESTIONS = 5.0
_SECONDS_BEFORE_SECOND_QUESTION = 1.0
_SECONDS_BETWEEN_LOOKS = 0.5
_CLOSE_SECONDS = 5.0

Result = TypeVar("Result")

# TensorFlow's messages about collectives of which one process has died.
_ABORTED = "Collective ops is aborted"

# The errors that TensorFlow raises if a server dies during a run.
_SYMPTOMS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
    tf.errors.NotFoundError,
    tf.errors.InvalidArgumentError,
    tf.errors.FailedPreconditionError,
)


class Runner(Protocol):
    """Runs calls of the session on the transformed graph."""

    @property
    def target(self) -> str:
        """Of that session; empty in this process."""

    @property
    def config(self) -> Any:
        """The `ConfigProto` of that session."""

    def run(self, call: Callable[[Any], Result], *, has_collectives: bool = False) -> Result:
        """Calls `call` with the `tf.compat.v1.Session` and returns what it returns.

        Args:
          call: runs something in the session.
          has_collectives: whether that has ops that all tasks must run together.
        """

    def close(self) -> None:
        """Closes the session and frees its variables."""


class LocalRunner:
    """A session of this process."""

    def __init__(self, graph: Any, config: Any) -> None:
        self.config = config
        self._session = tf.compat.v1.Session(graph=graph, config=config)

    @property
    def target(self) -> str:
        """See `Runner.target`."""
        return ""

    def run(self, call: Callable[[Any], Result], *, has_collectives: bool = False) -> Result:
        """See `Runner.run`."""
        del has_collectives
        return call(self._session)

    def close(self) -> None:
        """See `Runner.close`."""
        self._session.close()


class ClusterRunner:
    """A session on the chief's server.

    Args:
      cluster: the servers.
      transformer: has the transformed graph.
      config: of the session.
      start_timeout_seconds: for nodes to come back.
      silence_timeout_seconds: for an answer of a server while something runs.
    """

    def __init__(
        self,
        cluster: Cluster,
        transformer: Transformer,
        config: Any,
        start_timeout_seconds: float,
        silence_timeout_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._transformer = transformer
        self.config = config
        self._start_timeout_seconds = start_timeout_seconds
        self._silence_timeout_seconds = silence_timeout_seconds
        self._session: Any = None
        self._failures: list[Failure] = []
        self._active = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._collectives = threading.Lock()
        self._is_watched = False

    @property
    def target(self) -> str:
        """See `Runner.target`."""
        return self._cluster.target

    def run(self, call: Callable[[Any], Result], *, has_collectives: bool = False) -> Result:
        """See `Runner.run`; two calls with collectives never overlap.

        Raises:
          NodeUnavailableError: if a node is not there, or ceases to be while the session runs.
        """
        with self._collectives if has_collectives else contextlib.nullcontext():
            session = self._begin()
            try:
                return self._watched(_Call(call, session))
            except _SYMPTOMS as error:
                failures = self._failures_behind()
                if failures:
                    raise self._cluster.error(failures, "while the session ran") from error
                if _ABORTED in str(error):
                    raise GraphStateError(
                        "TensorFlow's collectives ended in all processes when a server did, until "
                        "they are restarted. What is left can be saved and read. Restart the "
                        "program, and restore its checkpoint."
                    ) from error
                raise
            finally:
                with self._changed:
                    self._active -= 1

    def _watched(self, call: _Call[Result]) -> Result:
        """The result of a call, unless a node fails before it is there."""
        if not background.can_start(call.make, "autodist-run"):
            # The watch closes the session when a node fails, which ends the call.
            call.make()
        while not call.is_done.wait(_SECONDS_BETWEEN_LOOKS):
            if self._failures:
                raise self._cluster.error(self._failures, "while the session ran")
        return call.result()

    def close(self) -> None:
        """See `Runner.close`."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            session, self._session = self._session, None
            self._changed.notify_all()
        if sys.is_finalizing():
            # A thread started now never runs; what the session holds ends with the process.
            if session is not None:
                tf_sessions.leave_to_process_end(session)
            return
        if session is not None:
            closing = _Call(tf.compat.v1.Session.close, session)
            if background.can_start(closing.make, "autodist-close"):
                closing.is_done.wait(_CLOSE_SECONDS)
            elif self._failures:
                # Closing it would wait until lost nodes are back.
                tf_sessions.leave_to_process_end(session)
            else:
                closing.make()
        self._cluster.drop_container(self._transformer.builder.container, _CLOSE_SECONDS)

    def _begin(self) -> Any:
        with self._changed:
            if self._is_closed:
                raise GraphStateError("Attempted to use a closed Session.")
            if self._session is None or self._failures:
                self._open()
            self._start_watch()
            self._active += 1
            self._changed.notify_all()
            return self._session

    def _start_watch(self) -> None:
        if self._is_watched:
            return
        background.start(self._keep_watch, "autodist-watch")
        self._is_watched = True

    def _open(self) -> None:
        """Opens a session; after a failure, once all servers answer again."""
        if self._failures:
            changed = self._cluster.bring_up(
                self._silence_timeout_seconds, self._start_timeout_seconds
            )
            for node in changed:
                _logger.warning(
                    "%s (%s) was restarted: its variables are lost. Restore a checkpoint.",
                    node.address,
                    node.task_device,
                )
            self._cluster.claims.take(self._start_timeout_seconds)
            self._failures = []
        self._session = tf.compat.v1.Session(
            self._cluster.target, graph=self._transformer.graph, config=self.config
        )

    def _failures_behind(self) -> list[Failure]:
        """The failures of nodes that explain an error; none if all nodes answer."""
        with self._changed:
            if not self._failures:
                self._failures = self._cluster.survey(self._silence_timeout_seconds)
            return self._failures

    def _keep_watch(self) -> None:
        pause = min(_MOST_SECONDS_BETWEEN_QUESTIONS, self._silence_timeout_seconds / 4)
        while True:
            with self._changed:
                while not (self._active or self._is_closed):
                    self._changed.wait()
                self._changed.wait(pause)
                if self._is_closed:
                    return
                if not self._active or self._failures:
                    continue
            failures = self._cluster.survey(self._silence_timeout_seconds * 3 / 4)
            if failures:
                self._give_up(failures)

    def _give_up(self, failures: list[Failure]) -> None:
        """Ends the runs, if the nodes that failed still fail."""
        if not all(f.is_silent for f in failures):
            # A connection may break for a moment; a silence has lasted long enough.
            with self._changed:
                self._changed.wait(_SECONDS_BEFORE_SECOND_QUESTION)
            failures = self._cluster.survey(self._silence_timeout_seconds / 2)
        with self._changed:
            if not failures or self._is_closed or self._session is None:
                return
            self._failures = failures
            session = self._session
        # Ends the run on the nodes that are there.
        closing = _Call(tf.compat.v1.Session.close, session)
        if not background.can_start(closing.make, "autodist-close"):
            closing.make()


class _Call(Generic[Result]):
    """A call that one thread makes while another waits for the result."""

    def __init__(self, call: Callable[[Any], Result], session: Any) -> None:
        self.is_done = threading.Event()
        self._call = call
        self._session = session
        self._results: list[Result] = []
        self._error: BaseException | None = None

    def make(self) -> None:
        """Makes the call, and records its result or error."""
        try:
            self._results.append(self._call(self._session))
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            self._error = error
        self.is_done.set()

    def result(self) -> Result:
        """Returns what the finished call returned, or raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]
