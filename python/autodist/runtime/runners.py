"""What runs the transformed graph: a session of this process, or one of a cluster that is watched.

A session over gRPC waits for a server that hangs for as long as it takes. While something runs, the servers are asked
who they are; when one has not answered for the time of silence, or is another process than before, the session is
closed, which ends the run, and the error says which. The next run opens a session anew: what lies on the servers
stays there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import tensorflow as tf

from autodist import _log
from autodist.errors import GraphStateError
from autodist.runtime.cluster import Cluster, Failure

_logger = _log.get_logger()
_MOST_SECONDS_BETWEEN_QUESTIONS = 5.0
_SECONDS_BEFORE_SECOND_QUESTION = 1.0
_CLOSE_SECONDS = 5.0

# What TensorFlow raises when a server dies in the middle of a run.
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
    """Lends the session that runs the transformed graph."""

    def running(self, *, has_collectives: bool = False) -> contextlib.AbstractContextManager[Any]:
        """The `tf.compat.v1.Session`, for one run.

        Args:
          has_collectives: whether the run has ops that all tasks must run together.
        """

    def close(self) -> None:
        """Closes the session and frees its variables."""


class LocalRunner:
    """A session of this process."""

    def __init__(self, graph: Any, config: Any) -> None:
        self._session = tf.compat.v1.Session(graph=graph, config=config)

    @contextlib.contextmanager
    def running(self, *, has_collectives: bool = False) -> Iterator[Any]:
        """See `Runner.running`."""
        del has_collectives
        yield self._session

    def close(self) -> None:
        """See `Runner.close`."""
        self._session.close()


class ClusterRunner:
    """A session on the chief's server.

    Args:
      cluster: the servers.
      graph: the transformed graph.
      config: of the session.
      container: where the session's state lies on the servers.
      start_timeout_seconds: for nodes to come back.
      silence_timeout_seconds: for an answer of a server while something runs.
    """

    def __init__(  # noqa: PLR0917 - there is one call
        self,
        cluster: Cluster,
        graph: Any,
        config: Any,
        container: str,
        start_timeout_seconds: float,
        silence_timeout_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._graph = graph
        self._config = config
        self._container = container
        self._start_timeout_seconds = start_timeout_seconds
        self._silence_timeout_seconds = silence_timeout_seconds
        self._session: Any = None
        self._failures: list[Failure] = []
        self._active = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._collectives = threading.Lock()
        self._watch = threading.Thread(target=self._keep_watch, name="autodist-watch", daemon=True)

    @contextlib.contextmanager
    def running(self, *, has_collectives: bool = False) -> Iterator[Any]:
        """See `Runner.running`; two runs with collectives never overlap.

        Raises:
          NodeUnavailableError: if a node is not there, or ceases to be while the session runs.
        """
        with self._collectives if has_collectives else contextlib.nullcontext():
            session = self._begin()
            try:
                yield session
            except _SYMPTOMS as error:
                failures = self._failures_behind()
                if failures:
                    raise self._cluster.error(failures, "while the session ran") from error
                raise
            finally:
                with self._changed:
                    self._active -= 1

    def close(self) -> None:
        """See `Runner.close`."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            session, self._session = self._session, None
            self._changed.notify_all()
        if session is not None:
            session.close()
        self._cluster.drop_container(self._container, _CLOSE_SECONDS)

    def _begin(self) -> Any:
        with self._changed:
            if self._is_closed:
                raise GraphStateError("Attempted to use a closed Session.")
            if self._session is None or self._failures:
                self._open()
            self._active += 1
            if not self._watch.is_alive():
                self._watch.start()
            self._changed.notify_all()
            return self._session

    def _open(self) -> None:
        """Opens a session, after a failure on servers that are all there again."""
        if self._failures:
            for node in self._cluster.bring_up(self._start_timeout_seconds):
                _logger.warning(
                    "%s (%s) is another process now: what lay there is lost; restore a checkpoint",
                    node.address,
                    node.task_device,
                )
            self._cluster.claims.take(self._start_timeout_seconds)
            self._failures = []
        self._session = tf.compat.v1.Session(
            self._cluster.target, graph=self._graph, config=self._config
        )

    def _failures_behind(self) -> list[Failure]:
        """The nodes that are to blame for an error; none if all are there."""
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
            if self._cluster.survey(self._silence_timeout_seconds):
                self._end_run()

    def _end_run(self) -> None:
        """Ends what runs, if the nodes that failed still fail."""
        with self._changed:
            self._changed.wait(_SECONDS_BEFORE_SECOND_QUESTION)
        failures = self._cluster.survey(self._silence_timeout_seconds)
        with self._changed:
            if not failures or self._is_closed or self._session is None:
                return
            self._failures = failures
            session = self._session
        session.close()
