"""TensorFlow's private Python API of sessions: their classes, their runs and how they end.

Each name is imported with the reason why no public one would do. Read in TensorFlow 2.21.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

# Public code gets this from a session only; a server's answer to `GetStatus` is a list of them.
from tensorflow.core.framework.device_attributes_pb2 import DeviceAttributes

# Turns the fetches of a run into lists of tensors and ops, and raises the same errors as a run.
from tensorflow.python.client import session as session_module

# `Saver.save` accepts a `SessionInterface`; all of TensorFlow's own sessions are a `BaseSession`.
from tensorflow.python.client.session import BaseSession, SessionInterface

# The base class of all monitored sessions; `tf.compat.v1.train` exports its subclasses only.
from tensorflow.python.training.monitored_session import _MonitoredSession as MonitoredSessionBase

__all__ = [
    "BaseSession",
    "DeviceAttributes",
    "MonitoredSessionBase",
    "PreparedRun",
    "SessionInterface",
    "call_before_close",
    "fetch_handler",
    "flatten_fetches",
    "graph_of_manager",
    "innermost",
    "is_closed",
    "leave_to_process_end",
    "make_callable_from_options",
    "run_tensors",
    "session_config",
]


def run_tensors(session: Any, *arguments: Any) -> Any:
    """Runs lists of ops and tensors, as `tf.compat.v1.Session.run` does after all its checks.

    Args:
        session: The `tf.compat.v1.Session`.
        *arguments: `handle, targets, fetches, feeds, options, run_metadata`.
    """
    return session._do_run(*arguments)


class PreparedRun:
    """A run of lists of tensors and ops that is run again and again.

    It does what `run_tensors` does, but prepares ops and tensors only once.

    Args:
        targets: The ops to run.
        fetches: The tensors to fetch.
        feeds: The tensors to feed.
    """

    def __init__(
        self, targets: Sequence[Any], fetches: Sequence[Any], feeds: Sequence[Any]
    ) -> None:
        self._targets = [op._c_op for op in targets]
        self._fetches = [tensor._as_tf_output() for tensor in fetches]
        self._feeds = [tensor._as_tf_output() for tensor in feeds]

    def __call__(
        self, session: Any, arrays: Sequence[Any], options: Any, run_metadata: Any
    ) -> list[Any]:
        """Runs it in a `tf.compat.v1.Session`.

        Args:
            session: The session, on the graph of the ops and tensors.
            arrays: One for each fed tensor.
            options: Serialized `RunOptions`, or None.
            run_metadata: Where metadata go; or None.

        Returns:
            One value per fetched tensor.
        """
        feeds = dict(zip(self._feeds, arrays, strict=True))

        def run() -> list[Any]:
            session._extend_graph()
            values: list[Any] = session._call_tf_sessionrun(
                options, feeds, self._fetches, self._targets, run_metadata
            )
            return values

        values: list[Any] = session._do_call(run)
        return values


def fetch_handler(graph: Any, fetches: Any) -> Any:
    """Returns the object that `tf.compat.v1.Session.run` makes of its fetches.

    Returns:
      An object with `fetches()`, the tensors to fetch, each once, and `targets()`, the ops to run.
      Its `build_results(session, values)` puts the values of the tensors together.

    Raises:
      TypeError, ValueError: as `run` would.
    """
    return session_module._FetchHandler(graph, fetches, {})


def flatten_fetches(graph: Any, fetches: Any) -> tuple[list[Any], list[Any]]:
    """Returns what fetches of `run` stand for: the tensors to fetch, each once, and the ops to run.

    Raises:
      TypeError, ValueError: as `run` would.
    """
    handler = fetch_handler(graph, fetches)
    return handler.fetches(), handler.targets()


def leave_to_process_end(session: Any) -> None:
    """Keeps a session from being closed by garbage collection, which may wait for dead servers.

    Public code cannot: `tf.compat.v1.Session.__del__` closes.
    """
    session._session = None


def session_config(session: Any) -> Any:
    """The `ConfigProto` of a session; None if it is not of TensorFlow's own classes."""
    return getattr(session, "_config", None)


def innermost(session: Any) -> Any:
    """The session inside of monitored sessions and other wrappers, such as the debugger's."""
    while not isinstance(session, BaseSession):
        if isinstance(session, MonitoredSessionBase):
            session = session._tf_sess()
        elif hasattr(session, "session"):
            session = session.session
        else:
            return session
    return session


def is_closed(session: Any) -> bool:
    """Whether a session was closed."""
    return bool(getattr(session, "_closed", False))


def call_before_close(session: Any, action: Callable[[], None]) -> None:
    """Calls a function when a session is closed, before it is.

    TensorFlow has no callback for the end of a session. So this changes the class of the session to
    a subclass of it. A `close` that the program has set on the session itself is wrapped.

    Args:
        session: A session of TensorFlow's own classes, once.
        action: The function. It must not refer to the session, which would delay its collection.
    """
    session._autodist_before_close = action
    set_by_program = vars(session).get("close")
    if set_by_program is None:
        session_class: Any = type(session)
        session.__class__ = _closing_class(session_class)
        return

    def close() -> None:
        action()
        set_by_program()

    session.close = close


@functools.cache
def _closing_class(base: Any) -> Any:
    """Returns a subclass of `base` whose sessions call a function before they are closed.

    `close` stays an ordinary method, so a bound `close` keeps its session alive, as before.
    """

    class Closing(base):
        def close(self) -> None:
            self._autodist_before_close()
            super().close()

    Closing.__name__, Closing.__qualname__ = base.__name__, base.__qualname__
    Closing.__module__, Closing.__doc__ = base.__module__, base.__doc__
    return Closing


def graph_of_manager(manager: Any) -> Any:
    """The graph of a `tf.compat.v1.train.SessionManager`."""
    return manager._graph


def make_callable_from_options(session: Any, options: Any) -> Any:
    """Makes a callable of a session from a `CallableOptions` message, as Keras does."""
    return session._make_callable_from_options(options)
