"""Opens and closes sessions of our own, which never block the end of the program.

TensorFlow's `Session.close` waits without a limit for a master that is gone, and a session that is
collected closes itself. So a session of ours is closed in a thread that does not keep the process
from ending:

    the user's session is closed, or collected    ours is closed before, or then
    the owner of our session is collected         likewise
    the program ends                              all are closed, for at most so many seconds
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import sys
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import task_calls, task_names
from autodist.private_apis import tf_sessions

# How long a program waits at its end, or a session's `close`, for sessions of ours to close.
_CLOSE_SECONDS = 2.0

_OPEN: set[weakref.finalize[..., Any]] = set()
_OPEN_LOCK = threading.Lock()

# By the user's session: the functions that end the sessions which belong to it.
_BESIDE: weakref.WeakKeyDictionary[Any, list[weakref.finalize[..., Any]]] = (
    weakref.WeakKeyDictionary()
)


def open_session(
    owner: Any, target: task_names.SessionTarget, graph: Any, filters: list[str]
) -> tuple[Any, weakref.finalize[..., Any]]:
    """Opens a session.

    Args:
        owner: What uses it; when it is collected, the session is closed.
        target: The target of the user's session.
        graph: The graph of the session.
        filters: Its device filters.

    Returns:
        The session, and a function that begins to close it. That returns a future, or `None` if it
        was called before.
    """
    config = target.config_for(filters)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    session = tf.compat.v1.Session(target.address, graph=graph, config=config)
    end = weakref.finalize(owner, _end, session)
    # At the end of the program `_end_all` calls it, and waits.
    end.atexit = False
    with _OPEN_LOCK:
        _OPEN.difference_update([each for each in _OPEN if not each.alive])
        _OPEN.add(end)
    return session, end


def end_with(session: Any, ends: Iterable[weakref.finalize[..., Any]]) -> None:
    """Closes sessions of our own when the user's session is closed.

    Args:
        session: The user's session.
        ends: What `open_session` returned.
    """
    if session not in _BESIDE:
        _BESIDE[session] = []
        tf_sessions.call_before_close(session, _Ending(_BESIDE[session]))
    beside = _BESIDE[session]
    beside[:] = [end for end in beside if end.alive]
    beside.extend(ends)


def close(ends: Iterable[weakref.finalize[..., Any]]) -> None:
    """Closes sessions of our own; waits at most two seconds for that."""
    closing = [future for end in ends if (future := end()) is not None]
    concurrent.futures.wait(closing, _CLOSE_SECONDS)


class _Ending:
    """Closes the sessions that belong to one of the user's."""

    def __init__(self, ends: list[weakref.finalize[..., Any]]) -> None:
        self._ends = ends

    def __call__(self) -> None:
        close(self._ends)


def _end(session: Any) -> concurrent.futures.Future[Any] | None:
    if sys.is_finalizing():
        # A thread that is started now never runs. What the session holds ends with the process.
        tf_sessions.leave_to_process_end(session)
        return None

    def close_quietly() -> None:
        with contextlib.suppress(tf.errors.OpError):
            session.close()

    return task_calls.start_call(close_quietly, or_call=True)


@atexit.register
def _end_all() -> None:
    with _OPEN_LOCK:
        ends = list(_OPEN)
    close(ends)
