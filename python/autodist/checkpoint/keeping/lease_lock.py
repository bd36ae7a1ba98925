"""The lock of a lease on a local file system: shared by readers, exclusive for who removes.

The kernel ends a lock with its process. A file that was removed meanwhile is opened anew, so that
two never hold locks on different files of one name.
"""

from __future__ import annotations

import errno
import fcntl
import os

SUFFIX = ".lease"

# A link in a directory that somebody else made would have a reader make a file elsewhere.
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class NoLocksError(Exception):
    """The file system has no locks."""


class LeaseLock:
    """A lock on the lease file of a checkpoint."""

    def __init__(self, path: str) -> None:
        """Holds no lock yet.

        Args:
            path: The path of the file, in the form that system calls take.
        """
        self._path = path
        self._file = -1

    def share(self) -> None:
        """Takes the lock shared; waits while somebody has it exclusively.

        Raises:
            NoLocksError: The file system has no locks.
            OSError: The file cannot be opened.
        """
        while not self._locked(fcntl.LOCK_SH):
            pass

    def can_exclude(self) -> bool:
        """Takes the lock exclusively; returns false if somebody else has it.

        Raises:
            NoLocksError: The file system has no locks.
            OSError: The file cannot be opened.
        """
        try:
            while not self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                pass
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Ends the lock, and removes its file if nobody else has it."""
        file, self._file = self._file, -1
        if file < 0:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, self._path):
                os.unlink(self._path)  # noqa: PTH108 a path of text
        except OSError:
            pass  # Somebody else reads, or the directory is gone: the file says nothing without a lock.
        finally:
            os.close(file)

    def _locked(self, how: int) -> bool:
        """Locks the file; returns false if it was removed meanwhile."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
        except PermissionError as error:
            # Another user's file: who may only read it can lock it all the same.
            try:
                file = os.open(self._path, os.O_RDONLY | _FLAGS)
            except FileNotFoundError:
                raise error from None
        try:
            fcntl.flock(file, how)
            if _is_at(file, self._path):
                self._file, file = file, -1
                return True
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise NoLocksError from error
            raise
        finally:
            if file >= 0:
                os.close(file)
        return False


def _is_at(file: int, path: str) -> bool:
    try:
        there = os.stat(path)  # noqa: PTH116 a path of text
    except FileNotFoundError:
        return False
    mine = os.fstat(file)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
