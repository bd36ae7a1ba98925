"""Paths as TensorFlow has them: they may name any file system that `tf.io.gfile` knows.

`pathlib` would make one slash of the two in `gs://bucket/model`, so none of it here.
"""

import os
from collections.abc import Iterable


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
    return os.path.abspath(path) if is_local(path) else path  # noqa: PTH100


def split_extension(path: str) -> tuple[str, str]:
    """Returns a path in two: all before the extension, and the extension with its dot."""
    return os.path.splitext(path)  # noqa: PTH122


def is_local(path: str) -> bool:
    """Tells whether a path lies in a file system of this machine."""
    return "://" not in path


def sync(path: str) -> None:
    """Makes a file or directory durable, where the file system has a call for it.

    Args:
        path: The path; empty for the current directory.

    Raises:
        OSError: It cannot be opened or synced.
    """
    if not is_local(path):
        return
    try:
        descriptor = os.open(path or ".", os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Errors of `fsync` and `close` do not know the path.
        raise OSError(error.errno, os.strerror(error.errno or 0), path or ".") from error


def sync_tree(directory: str, but: Iterable[str] = ()) -> None:
    """Makes durable all files and directories below a directory, and itself.

    Args:
        directory: The directory.
        but: Names of directories right below it to leave out.

    Raises:
        OSError: One cannot be opened or synced.
    """
    if not is_local(directory):
        return
    for entry in list(os.scandir(directory)):
        if not entry.is_dir(follow_symlinks=False):
            sync(entry.path)
        elif entry.name not in but:
            sync_tree(entry.path)
    sync(directory)
