"""Makes the sessions that a program creates in a scope distributed sessions.

`tf.compat.v1.Session` and `InteractiveSession` on the scope's graph are distributed sessions. As in
TensorFlow, such a session has state of its own, and nothing in it is initialised before the program
does it. What TensorFlow builds on sessions works on them: `SessionManager`, `Supervisor`,
`MonitoredTrainingSession` and the other monitored sessions. A manager or monitored session that was
made in the scope makes distributed sessions after it too: it recovers with them.

Refused, with what to write instead: a session with a target, a worker that waits for a chief's
session, and a subclass of `Session`. A session on another graph is TensorFlow's own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from autodist.errors import GraphStateError
from autodist.graph.transformer import Transformer
from autodist.private_apis import tf_sessions
from autodist.private_apis.patches import replaced
from autodist.session.distributed_session import DistributedSession
from autodist.session.runner.runners import Runner


class InteractiveDistributedSession(DistributedSession, tf.compat.v1.InteractiveSession):
    """A distributed session that is the default one until it is closed."""


class ScopeSessions:
    """The sessions on one graph.

    Args:
      graph: the original graph.
      parts: returns the transformer and the runner of a new distributed session. Takes the
        session's `ConfigProto`, or None.
    """

    def __init__(self, graph: Any, parts: Callable[[Any], tuple[Transformer, Runner]]) -> None:
        self._graph = graph
        self._parts = parts

    @contextlib.contextmanager
    def distributed(self) -> Iterator[None]:
        """Makes sessions on the graph distributed until the context is left.

        A `SessionManager` or monitored session that is made meanwhile makes distributed sessions
        afterwards, too.
        """
        with (
            self._sessions_replaced(),
            replaced(tf.compat.v1.train.SessionManager, "__init__", self._bind_manager),
            replaced(tf_sessions.MonitoredSessionBase, "__init__", self._bind_monitored),
        ):
            yield

    @contextlib.contextmanager
    def _sessions_replaced(self) -> Iterator[None]:
        with (
            replaced(tf.compat.v1.Session, "__init__", self._distribute),
            replaced(tf.compat.v1.InteractiveSession, "__init__", self._distribute),
        ):
            yield

    def _distribute(self, stock: Callable[..., None]) -> Callable[..., None]:
        """Wraps a session class's constructor: on the graph it makes a distributed session."""

        @functools.wraps(stock)
        def construct(
            session: Any, target: Any = "", graph: Any = None, config: Any = None
        ) -> None:
            is_ours = (tf.compat.v1.get_default_graph() if graph is None else graph) is self._graph
            if not is_ours or isinstance(session, DistributedSession):
                stock(session, target, graph, config)
                return
            tf_sessions.leave_to_process_end(session)  # Nothing to close yet.
            kinds = {
                tf.compat.v1.Session: DistributedSession,
                tf.compat.v1.InteractiveSession: InteractiveDistributedSession,
            }
            if type(session) not in kinds:
                raise GraphStateError(
                    f"{type(session).__name__}, a subclass of tf.compat.v1.Session, would run the "
                    "graph of this AutoDist scope on one node. Use "
                    "autodist.create_distributed_session() or tf.compat.v1.Session()."
                )
            if target:
                raise GraphStateError(
                    f"a session with the target (or master) {target!r} would run the graph of this "
                    "AutoDist scope on that server alone. Leave the target out: the resource spec "
                    "says which servers the graph runs on."
                )
            transformer, runner = self._parts(config)
            session.__class__ = kinds[type(session)]
            session.__init__(transformer, runner)

        return construct

    def _bind_manager(self, stock: Callable[..., None]) -> Callable[..., None]:
        """Wraps the constructor of `SessionManager`: on the graph it makes distributed sessions."""

        @functools.wraps(stock)
        def construct(manager: Any, *args: Any, **kwargs: Any) -> None:
            stock(manager, *args, **kwargs)
            if tf_sessions.graph_of_manager(manager) is self._graph:
                manager.prepare_session = self._while_replaced(manager.prepare_session)
                manager.recover_session = self._while_replaced(manager.recover_session)
                manager.wait_for_session = _refuse_to_wait

        return construct

    def _bind_monitored(self, stock: Callable[..., None]) -> Callable[..., None]:
        """Wraps the constructor of monitored sessions, whose creators then work as in the scope."""

        @functools.wraps(stock)
        def construct(monitored: Any, session_creator: Any, *args: Any, **kwargs: Any) -> None:
            if session_creator is not None and tf.compat.v1.get_default_graph() is self._graph:
                create = session_creator.create_session
                session_creator = _Creator(self._while_replaced(create))
            stock(monitored, session_creator, *args, **kwargs)

        return construct

    def _while_replaced(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._sessions_replaced():
                return function(*args, **kwargs)

        return call


class _Creator(tf.compat.v1.train.SessionCreator):
    """A `SessionCreator` whose sessions a function creates."""

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create

    def create_session(self) -> Any:
        """Creates a session."""
        return self._create()


def _refuse_to_wait(*_: Any, **__: Any) -> Any:
    raise GraphStateError(
        "a worker's session (is_chief=False, WorkerSessionCreator, wait_for_session) waits until "
        "another process has initialised the variables. The program of an AutoDist scope is the "
        "only one, and initialises them itself: leave is_chief out, use ChiefSessionCreator or "
        "prepare_session. Other nodes run `autodist serve`."
    )
