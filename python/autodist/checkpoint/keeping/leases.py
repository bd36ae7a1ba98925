"""Leases: a checkpoint that somebody reads is not removed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from autodist import _log
from autodist.checkpoint.files import bundle, paths
from autodist.checkpoint.keeping.lease_lock import SUFFIX, LeaseLock, NoLocksError
from autodist.process import background

_LOGGER = _log.get_logger()

# Where there are no locks.
_RENEWED_EVERY_SECONDS = 60.0
_COUNTS_SECONDS = 600.0


@contextlib.contextmanager
def reading(prefix: Any) -> Iterator[str]:
    """Keeps savers from removing a checkpoint while the block reads it.

    Savers of other processes too, if they are of autodist. A save over the same prefix replaces the
    checkpoint all the same.

    Args:
        prefix: The checkpoint's prefix.

    Yields:
        The prefix.

    Raises:
        tf.errors.NotFoundError: There is no checkpoint under the prefix, or it was just removed.
        tf.errors.OpError: The file of the lease cannot be written.
    """
    prefix = paths.text(prefix)
    with _held(prefix):
        if not bundle.exists(prefix):
            raise tf.errors.NotFoundError(
                None,
                None,
                f"{prefix} cannot be read: there is no {prefix}.index. It was removed, or is not "
                "complete; autodist.checkpoint.latest finds the newest one",
            )
        yield prefix


@contextlib.contextmanager
def removing(prefix: str) -> Iterator[bool]:
    """Keeps readers from beginning while the block removes a checkpoint.

    Args:
        prefix: The checkpoint's prefix.

    Yields:
        Whether nobody reads it.
    """
    if _is_read_elsewhere(prefix):
        yield False
        return
    if not paths.is_local(prefix):
        yield True
        return
    path = paths.for_system_calls(prefix) + SUFFIX
    lock = LeaseLock(path)
    try:
        may_remove = lock.can_exclude()
    except NoLocksError:
        may_remove = True
    except OSError:
        # Without a file nobody has locked it: on a full disk none can be made, but removing helps.
        may_remove = not os.path.lexists(path)
    try:
        yield may_remove
    finally:
        lock.release()


@contextlib.contextmanager
def _held(prefix: str) -> Iterator[None]:
    if not paths.is_local(prefix):
        with _renewed(prefix):
            yield
        return
    lock = LeaseLock(paths.for_system_calls(prefix) + SUFFIX)
    try:
        lock.share()
    except NoLocksError:
        with _renewed(prefix):
            yield
        return
    except FileNotFoundError as error:
        raise tf.errors.NotFoundError(
            None, None, f"{prefix} cannot be read: its directory is missing"
        ) from error
    except OSError as error:
        is_denied = error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}
        kind = tf.errors.PermissionDeniedError if is_denied else tf.errors.UnknownError
        raise kind(
            None,
            None,
            f"{prefix} cannot be leased: {error}. Without a lease a saver may remove it while it "
            "is read. Read it outside of reading(), or copy it",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _renewed(prefix: str) -> Iterator[None]:
    """Holds a lease by a file that is renewed, where there are no locks."""
    path = f"{prefix}{SUFFIX}-{secrets.token_hex(8)}"
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEWED_EVERY_SECONDS):
            with contextlib.suppress(tf.errors.OpError):
                _touch(path)

    _touch(path)
    if not background.can_start(renew, "autodist-lease"):
        _LOGGER.warning(
            "%s: no thread could be started to renew its lease, which counts for %g s",
            prefix,
            _COUNTS_SECONDS,
        )
    try:
        yield
    finally:
        ended.set()
        bundle.remove_file(path)


def _touch(path: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write("\n")


def _is_read_elsewhere(prefix: str) -> bool:
    """Tells whether a lease without a lock counts; removes those that do not."""
    start = prefix + SUFFIX + "-"
    counts = False
    try:
        found = bundle.paths_that_begin(start)
    except (OSError, UnicodeDecodeError, tf.errors.OpError):
        return False  # A directory that cannot be listed: nobody can tell.
    for path in found:
        try:
            written = tf.io.gfile.stat(path).mtime_nsec / 1e9
        except tf.errors.OpError:
            continue
        if time.time() - written < _COUNTS_SECONDS:
            counts = True
        else:
            bundle.remove_file(path)
    return counts
