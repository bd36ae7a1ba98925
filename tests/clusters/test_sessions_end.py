"""Our sessions end with the user's: however its `close` is called, and with the program. No server is needed."""

import weakref
from typing import Any

import pytest
import tensorflow as tf

from autodist.private_apis import tf_sessions
from support.python_programs import run_python

tf1 = tf.compat.v1

# Its session closes slowly, in a thread that does not keep the process from ending.
PROGRAM = """
import time
import tensorflow as tf
from autodist.checkpoint.distributed.tasks import own_sessions, task_names

class Owner:
    pass

def close():
    time.sleep(0.5)
    print("closed", flush=True)

owner = Owner()
target = task_names.SessionTarget("", tf.compat.v1.ConfigProto())
session, _ = own_sessions.open_session(owner, target, tf.Graph(), [])
session.close = close
"""


@pytest.mark.parametrize("session_class", [tf1.Session, tf1.InteractiveSession])
def test_a_close_that_is_kept_keeps_its_session(session_class: Any) -> None:
    closed = []

    def make() -> Any:
        session = session_class(graph=tf.Graph())
        tf_sessions.call_before_close(session, lambda: closed.append(session_class))
        assert isinstance(session, session_class)
        return session.close, weakref.ref(session)

    close, session = make()
    assert session() is not None
    assert not closed
    close()
    assert closed
    del close
    assert session() is None


def test_a_close_that_the_program_has_set_is_called() -> None:
    calls = []
    with tf.Graph().as_default():
        session = tf1.Session()
        stock = session.close
        session.close = lambda: (calls.append("program"), stock())
        tf_sessions.call_before_close(session, lambda: calls.append("ours"))
        session.close()
    assert calls == ["ours", "program"]
    assert tf_sessions.is_closed(session)


def test_a_program_waits_at_its_end_until_they_are_closed() -> None:
    assert run_python("-c", PROGRAM, fresh=True).stdout == "closed\n"
