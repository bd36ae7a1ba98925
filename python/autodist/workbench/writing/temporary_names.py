"""Names of files that are being written, and locks, as savers use them.

A file gets a temporary name that savers recognise, and a lock (flock) that ends with the process.
So the next save into the directory removes what a killed command left. The forms are those of
cc/storage/temporary_name.h and cc/storage/posix/name_lock.h.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from autodist.workbench.errors import AutoDistError

if TYPE_CHECKING:
    from typing_extensions import Self

_MARK = ".autodist"
LOCK_SUFFIX = ".autodist00000000-000000000000"
_ALWAYS_FITS = 128  # bytes of a name
_TEMPORARY = re.compile(r".\.autodist[0-9a-f]{8}-[0-9a-f]{12}$")
_ABANDONED_AFTER = 3600.0  # seconds


class TargetInUseError(AutoDistError, FileExistsError):
    """Another process writes under the same name, or something is there already."""


def temporary_name(name: str) -> str:
    """Returns a new temporary name for the file `name`."""
    suffix = f"{_MARK}{_boot_id()}-{secrets.token_hex(6)}"
    return _shortened(name, len(suffix)) + suffix


def _boot_id() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        boot = ""
    return boot if len(boot) == 8 and all(c in "0123456789abcdef" for c in boot) else "0" * 8


def _shortened(name: str, suffix_bytes: int) -> str:
    """The beginning of `name`, cut off so that the suffix fits where `name` fits."""
    raw = os.fsencode(name)
    most = max(len(raw), _ALWAYS_FITS)
    if len(raw) + suffix_bytes <= most:
        return name
    size = most - suffix_bytes
    while size > 0 and raw[size] & 0xC0 == 0x80:  # not within a character of UTF-8
        size -= 1
    return os.fsdecode(raw[:size])


def remove_abandoned(directory: Path) -> None:
    """Removes temporary files that nobody has locked or changed for an hour.

    Another mount of a file system may not see a lock, so the hour counts everywhere.
    """
    for path in directory.iterdir():
        if not _TEMPORARY.search(path.name):
            continue
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(file)
                if (
                    stat.S_ISREG(status.st_mode)
                    and time.time() - status.st_mtime > _ABANDONED_AFTER
                ):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
            finally:
                os.close(file)


class NameLock:
    """The lock of a name in a directory, held from `acquire` to `release`."""

    def __init__(self, directory: Path, name: str) -> None:
        locked = _shortened(name, len(LOCK_SUFFIX)) + LOCK_SUFFIX
        self._path = directory / locked
        self._name = name
        self._file = -1

    def __enter__(self) -> Self:
        """Locks it.

        Raises:
            TargetInUseError: another process writes under the name.
        """
        while True:
            # A link would make a file somewhere else.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(self._path, flags, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                raise TargetInUseError(
                    f"another process writes to {self._name!r} now. Wait for it, or choose another "
                    "name."
                ) from None
            except OSError:
                pass  # the file system has no locks
            if self._is_still_there(file):
                self._file = file
                return self
            os.close(file)  # whoever held the lock removed it meanwhile

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1

    def _is_still_there(self, file: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(file))


def create_locked(path: Path) -> int:
    """Creates a file for reading and writing, and locks it while this process lives.

    Returns:
        Its descriptor.

    Raises:
        OSError: it is there, or cannot be created.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with contextlib.suppress(OSError):  # the file system has no locks
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


_NO_SYNC = frozenset({22, 38, 95, 9, 1})  # EINVAL, ENOSYS, EOPNOTSUPP, EBADF, EPERM


def sync_directory(path: Path) -> None:
    """Makes the names of a directory durable, where its file system can."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        os.sync()
        return
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(file)
