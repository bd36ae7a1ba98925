"""Leases: a checkpoint that somebody reads is not removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

from autodist import _log
from autodist.checkpoint.files import paths
from autodist.checkpoint.keeping import side_files
from autodist.checkpoint.keeping.lease_lock import SUFFIX, LeaseLock, NoLocksError
from autodist.errors import LeaseError, MissingCheckpointError

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
        MissingCheckpointError: There is no checkpoint under the prefix, or it was just removed.
        LeaseError: The file of the lease cannot be written.
    """
    prefix = paths.text(prefix)
    with _held(prefix):
        if not side_files.exists(prefix + ".index"):
            raise MissingCheckpointError(
                f"{prefix} cannot be read: there is no {prefix}.index. It was removed, or is not "
                "complete; autodist.checkpoint.latest finds the newest one"
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
    except OSError as error:
        # Without a file nobody has locked it: on a full disk none can be made, but removing helps.
        may_remove = not os.path.lexists(path)
        if not may_remove:
            _LOGGER.warning("%s: whether somebody reads it cannot be told: %s", prefix, error)
    try:
        yield may_remove
    finally:
        lock.release()


@contextlib.contextmanager
def _held(prefix: str) -> Iterator[None]:
    lock = None
    try:
        if paths.is_local(prefix):
            lock = LeaseLock(paths.for_system_calls(prefix) + SUFFIX)
            lock.share()
    except NoLocksError:
        lock = None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingCheckpointError(
            f"{prefix} cannot be read: its directory is missing"
        ) from error
    except OSError as error:
        raise LeaseError(
            f"{prefix} cannot be leased: {error}. Without a lease a saver may remove it while it "
            "is read. Read it outside of reading(), or copy it"
        ) from error
    if lock is None:
        with _renewed(prefix):
            yield
        return
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _renewed(prefix: str) -> Iterator[None]:
    """Holds a lease by a file that is renewed, where there are no locks."""
    from autodist.process import background

    path = f"{prefix}{SUFFIX}-{secrets.token_hex(8)}"
    ended = threading.Event()

    def renew() -> None:
        warn = _LOGGER.warning
        while not ended.wait(_RENEWED_EVERY_SECONDS):
            try:
                side_files.write(path, b"\n")
            except side_files.errors() as error:  # noqa: PERF203 tried again
                warn(
                    "%s: its lease cannot be renewed, and counts for %g s: %s",
                    prefix,
                    _COUNTS_SECONDS,
                    error,
                )
                warn = _LOGGER.debug

    side_files.write(path, b"\n")
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
        _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(*side_files.errors()):
        side_files.remove(path)


def _is_read_elsewhere(prefix: str) -> bool:
    """Tells whether a lease without a lock counts; removes those that do not."""
    directory, first = paths.parent(prefix), paths.name(prefix) + SUFFIX + "-"
    try:
        names = side_files.names_in(directory)
    except side_files.errors():
        return False  # A directory that cannot be listed: nobody can tell.
    counts = False
    for name in names:
        if not name.startswith(first):
            continue
        path = paths.join(directory, name)
        try:
            age = time.time() - side_files.time_of(path)
        except side_files.errors():
            continue
        if age < _COUNTS_SECONDS:
            counts = True
        else:
            _remove(path)
    return counts
