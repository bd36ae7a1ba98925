"""Paths as TensorFlow has them: they may name any file system that `tf.io.gfile` knows.

`pathlib` would make one slash of the two in `gs://bucket/model`, so none of it here.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from typing import Any

_FILE_SCHEME = "file://"

# Errors by which `fsync` tells that the file system cannot sync: any file, or directories only.
_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_NO_SYNC_OF_DIRECTORIES = {
    errno.EBADF,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTTY,
    errno.ESPIPE,
}


def text(path: Any) -> str:
    """Returns a path as a `str`.

    Args:
        path: A string, bytes in UTF-8, or a `pathlib.Path`.

    Raises:
        TypeError: It is none of these.
    """
    plain = os.fspath(path)
    return plain.decode() if isinstance(plain, bytes) else plain


def parent(path: str) -> str:
    """Returns the directory of a path, empty if it has none."""
    return os.path.dirname(path)  # noqa: PTH120


def name(path: str) -> str:
    """Returns the last part of a path."""
    return os.path.basename(path)  # noqa: PTH119


def join(directory: str, name: str) -> str:
    """Returns the path of a file in a directory, which may be empty."""
    return os.path.join(directory, name)  # noqa: PTH118


def relative(path: str, directory: str) -> str:
    """Returns a path relative to a directory, if it is absolute; else as it is."""
    return os.path.relpath(path, directory) if os.path.isabs(path) else path  # noqa: PTH117


def absolute(path: str) -> str:
    """Returns a path that means the same in other working directories."""
    return os.path.abspath(for_system_calls(path)) if is_local(path) else path  # noqa: PTH100


def place(path: str) -> tuple[str, str]:
    """Returns the directory of a path, the same however it is spelled, and its last part."""
    if not is_local(path) or "\0" in path:
        return parent(path), name(path)
    directory = parent(for_system_calls(path)) or "."
    return os.path.realpath(directory), name(path)


def is_utf8(path: str) -> bool:
    """Tells whether a path has no bytes that are not UTF-8, which `os.listdir` escapes."""
    return not any("\ud800" <= character <= "\udfff" for character in path)


def split_extension(path: str) -> tuple[str, str]:
    """Returns a path in two: all before the extension, and the extension with its dot."""
    return os.path.splitext(path)  # noqa: PTH122


def is_local(path: str) -> bool:
    """Tells whether a path is local: without a scheme, or with `file://`."""
    return "://" not in path or path.startswith(_FILE_SCHEME)


def for_system_calls(path: str) -> str:
    """Returns a local path in the form that system calls take.

    TensorFlow's file system takes a name away by the `..` after it, whether there is such a
    directory or not.
    """
    if path.startswith(_FILE_SCHEME):
        path = path[len(_FILE_SCHEME) :]
        path = path[path.find("/") :]
    if name(path) in {".", ".."}:
        return os.path.normpath(path)
    directory = parent(path)
    return join(os.path.normpath(directory), name(path)) if directory else path


def sync(path: str) -> None:
    """Makes a file or directory durable, where its file system has a call for it.

    A directory that may be written to but not read is synced with all of its file system.

    Args:
        path: The path; empty for the current directory.

    Raises:
        OSError: It cannot be opened or synced.
    """
    if not is_local(path):
        return
    path = for_system_calls(path) or "."
    try:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except PermissionError:
            if not os.path.isdir(path):  # noqa: PTH112
                raise
            os.sync()
            return
        try:
            _sync_descriptor(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Errors of `fsync` and `close` do not know the path.
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from error


def _sync_descriptor(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in _NO_SYNC:
            return
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
        if error.errno == errno.EROFS:
            # A file system that became read-only after an error also fails so. It has lost data.
            if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
                raise
        elif error.errno not in _NO_SYNC_OF_DIRECTORIES:
            raise


def sync_tree(directory: str, but: Iterable[str] = ()) -> None:
    """Syncs a directory and all files and directories below it.

    Args:
        directory: The directory.
        but: Names of directories directly in it to leave out.

    Raises:
        OSError: One cannot be opened or synced.
    """
    if not is_local(directory):
        return
    try:
        entries = list(os.scandir(for_system_calls(directory)))
    except PermissionError:
        # The directory cannot be listed, so this syncs all file systems.
        os.sync()
        return
    for entry in entries:
        if entry.is_symlink() or not entry.is_dir():
            # Another process may remove a file meanwhile.
            with contextlib.suppress(FileNotFoundError):
                sync(entry.path)
        elif entry.name not in but:
            sync_tree(entry.path)
    sync(directory)
