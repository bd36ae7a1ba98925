"""Locks a prefix from the beginning of a save to its end.

Of two processes that save to it at once, one gets an error. Threads of one process wait for each
other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from autodist import _log, _native
from autodist.checkpoint.files import bundle, paths, prefix_turns

_LOGGER = _log.get_logger()


class HeldPrefix:
    """A prefix that no other save may write to."""

    def __init__(self, prefix: str, turn: prefix_turns.Turn | None = None) -> None:
        """Holds no lock yet.

        Args:
            prefix: The prefix.
            turn: The turn that this save takes among the threads of this process.
        """
        self._prefix = prefix
        self._turn = turn
        self._lock = _native.PrefixLock()
        self._made_directory = False

    def acquire(self, *, durable: bool, makes_directory: bool) -> None:
        """Locks the prefix.

        Where there is no directory and none is made, nothing is locked: the save will say so in its
        own words.

        Args:
            durable: Whether a new directory is made durable.
            makes_directory: Whether to make the directory if it is not there.

        Raises:
            tf.errors.AlreadyExistsError: Another save has the lock; names its process.
            tf.errors.OpError: The lock's file cannot be written.
        """
        directory = paths.parent(self._prefix) or "."
        was_there = tf.io.gfile.isdir(directory)
        if not was_there and not makes_directory:
            return
        try:
            excludes_processes = self._lock.acquire(self._prefix, durable=durable)
        except tf.errors.OpError:
            if tf.io.gfile.isdir(directory):
                raise
            return
        self._made_directory = not was_there
        if not excludes_processes:
            _LOGGER.info(
                "%s: its file system has no locks; nothing keeps other processes from saving to it "
                "at the same time",
                self._prefix,
            )

    @property
    def has_saved_within(self) -> bool:
        """Whether this thread ran another save to the prefix inside this one."""
        return self._turn is not None and self._turn.has_saved_within

    def take_back_directory(self) -> None:
        """Releases the lock and removes its new directory, if the bundle was written elsewhere.

        That is where the session's tasks have other files than this process.
        """
        if self._made_directory and not bundle.exists(self._prefix):
            self.release()

    def release(self) -> None:
        """Ends the lock, if it is held."""
        self._lock.release()


@contextlib.contextmanager
def held(
    prefix: str,
    *,
    durable: bool,
    timeout_seconds: float,
    makes_directory: bool = True,
    is_needed: bool = True,
) -> Iterator[HeldPrefix]:
    """Holds the lock on a prefix.

    Args:
        prefix: The prefix.
        durable: Whether a directory that is made for it is made durable.
        timeout_seconds: How long to wait for another thread of this process that saves to it.
        makes_directory: Whether to make its directory if it is not there.
        is_needed: Whether to lock at all.

    Raises:
        tf.errors.AlreadyExistsError: Another process has the lock, or another thread of this one
            for too long; it is named.
        tf.errors.OpError: The lock's file cannot be written.
    """
    if not is_needed:
        yield HeldPrefix(prefix)
        return
    with prefix_turns.taken(prefix, timeout_seconds) as turn:
        lock = HeldPrefix(prefix, turn)
        try:
            # A save within a save of the same thread has the lock already.
            if turn.depth == 1:
                lock.acquire(durable=durable, makes_directory=makes_directory)
            yield lock
        finally:
            lock.release()


def remove_unless_held(prefix: str, *others: str) -> None:
    """Removes a checkpoint, unless another save is writing to its prefix.

    Args:
        prefix: The prefix.
        *others: As for `bundle.remove`.
    """
    lock = _native.PrefixLock()
    try:
        # On a full disk the lock's file cannot be written, but removing helps: so without a lock.
        with contextlib.suppress(tf.errors.ResourceExhaustedError, tf.errors.NotFoundError):
            lock.acquire(prefix, durable=False)
        bundle.remove(prefix, *others)
    except tf.errors.OpError as error:
        _LOGGER.warning("the old checkpoint %r is not removed: %s", prefix, error.message)
    finally:
        lock.release()
