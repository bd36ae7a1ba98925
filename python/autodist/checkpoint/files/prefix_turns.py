"""Has threads of one process that save to the same prefix take turns, as TensorFlow's `Saver` does.

A `Supervisor` saves in a thread of its own, beside the program's own saves and to the same prefix.
The second save waits for the first. Other processes are kept out by the lock of `prefix_lock`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import tensorflow as tf

from autodist.checkpoint.files import paths


class Turn:
    """A save to a prefix that is under way.

    Attributes:
        key: The prefix, spelled in one way.
        thread: The thread that saves.
        depth: How many saves of that thread are under way, one within another.
        has_saved_within: Whether the thread made another save to the prefix within this one.
    """

    def __init__(self, key: str) -> None:
        """Creates a turn of the calling thread."""
        self.key = key
        self.thread = threading.get_ident()
        self.depth = 0
        self.has_saved_within = False


class _Turns:
    """The turns of all prefixes; spellings of one prefix share a turn."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Ends all turns."""
        self._changed = threading.Condition()
        self._turns: dict[str, Turn] = {}

    def begin(self, prefix: str, timeout_seconds: float) -> Turn:
        """Returns a new turn, or the one that this thread has; raises as `taken` does."""
        key = _key(prefix)
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_open(key), timeout_seconds):
                raise tf.errors.AlreadyExistsError(
                    None,
                    None,
                    f"another thread of this process is saving to {prefix}, and did not end within "
                    f"{timeout_seconds:g} s, which Saver(timeout_seconds=...) sets; nothing was "
                    "written here. Save again",
                )
            return self._turns.setdefault(key, Turn(key))

    def end(self, turn: Turn) -> None:
        """Ends a turn."""
        with self._changed:
            # In a forked child the parent's turns are gone.
            if self._turns.get(turn.key) is turn:
                del self._turns[turn.key]
                self._changed.notify_all()

    def _is_open(self, key: str) -> bool:
        turn = self._turns.get(key)
        return turn is None or turn.thread == threading.get_ident()


_TURNS = _Turns()
# A forked child does not have the threads of its parent.
os.register_at_fork(after_in_child=_TURNS.forget)


@contextlib.contextmanager
def taken(prefix: str, timeout_seconds: float) -> Iterator[Turn]:
    """Takes the turn of a prefix: waits for other threads of this process that save to it.

    A thread that saves within its own save, as a session that wraps another may, does not wait for
    itself.

    Args:
        prefix: The prefix, however it is spelled.
        timeout_seconds: How long to wait.

    Raises:
        tf.errors.AlreadyExistsError: The other thread did not end in time.
    """
    turn = _TURNS.begin(prefix, timeout_seconds)
    turn.depth += 1
    try:
        yield turn
        turn.has_saved_within = turn.depth > 1
    finally:
        turn.depth -= 1
        if turn.depth == 0:
            _TURNS.end(turn)


def _key(prefix: str) -> str:
    return paths.join(*paths.place(prefix))
