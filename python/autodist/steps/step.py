"""What a training step is: a run of a session, or several that the program declares to be one.

This module also keeps, in a context variable, which steps the running code is part of. A thread
that `background` starts works for the thread that started it, and has the same context.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import threading
import time
from collections.abc import Hashable, Iterator
from typing import Any

from autodist.private_apis import tf_session_runs, tf_sessions

# The key of sessions on servers: any of them may update the variables that another sees.
REMOTE = "remote"


@dataclasses.dataclass(eq=False)
class Step:
    """A run, or several that are one step, on its way.

    Attributes:
        key: The key of the session; sessions with different keys share no variables.
        session: The session. It is kept alive, so that no other session gets its key; of a partial
            run, a weak reference.
        kind: `'run'`, `'step'`, `'partial run'`, or `'earlier run'`: one that began before runs
            were observed.
        thread: The identifier of the thread.
        thread_name: The name of the thread.
        began: When the step began, as `time.monotonic()`.
        run_context: For a step inside a monitored session, a weak reference to its
            `SessionRunContext`.
        is_resting: Whether its thread saves. Then the step does not count as on its way.
    """

    key: Hashable
    session: Any
    kind: str = "run"
    thread: int = dataclasses.field(default_factory=threading.get_ident)
    thread_name: str = dataclasses.field(default_factory=lambda: threading.current_thread().name)
    began: float = dataclasses.field(default_factory=time.monotonic)
    run_context: Any = None
    is_resting: bool = False

    def has_ended(self) -> bool:
        """Tells whether the step has ended, although nobody reported its end."""
        if self.kind == "run":
            # The thread may have been interrupted after the run, before it reported the end.
            return not tf_session_runs.is_running(self.thread)
        if self.kind == "earlier run":
            return all(thread != self.thread for thread, _ in tf_session_runs.unobserved_runs())
        if self.kind == "partial run":
            session = self.session()
            return session is None or tf_sessions.is_closed(session)
        if self.run_context is None:
            return False
        # A monitored session does not tell its hooks that its run has failed.
        context = self.run_context()
        return context is None or not tf_session_runs.is_inside(self.thread, "run_context", context)

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        line = tf_session_runs.where(self.thread)
        at = f", at {line}" if line and self.kind != "partial run" else ""
        return f"a {self.kind} of thread {self.thread_name!r}{at}, for {seconds:.1f} s"


@dataclasses.dataclass(frozen=True)
class Context:
    """What the running code is part of.

    Attributes:
        is_exempt: Whether its runs neither wait at the gate nor count.
        steps: The steps of several runs that the code is inside of.
    """

    is_exempt: bool = False
    steps: tuple[Step, ...] = ()


_NOTHING = Context()
CURRENT: contextvars.ContextVar[Context] = contextvars.ContextVar("step", default=_NOTHING)


def key_of(session: Any) -> Hashable:
    """Returns the key of a session: sessions with different keys share no variables.

    Args:
        session: A session of TensorFlow's, a monitored one, or a distributed one of AutoDist.
    """
    session = tf_sessions.innermost(session)
    if getattr(session, "target", ""):
        return REMOTE
    return key_of_running(getattr(session, "inner_session", session))


def key_of_running(session: Any) -> Hashable:
    """Returns the key of a session that does not wrap another one.

    Args:
        session: A session of TensorFlow's.
    """
    return REMOTE if session.sess_str else id(session)


@contextlib.contextmanager
def exempt() -> Iterator[None]:
    """Lets all runs of the block pass the gate, and counts none of them.

    The runs must not update variables.
    """
    token = CURRENT.set(dataclasses.replace(CURRENT.get(), is_exempt=True))
    try:
        yield
    finally:
        CURRENT.reset(token)
