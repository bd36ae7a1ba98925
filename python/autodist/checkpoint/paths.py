"""Paths as TensorFlow has them: they may name any file system that `tf.io.gfile` knows.

`pathlib` would make one slash of the two in `gs://bucket/model`, so none of it here.
"""

import os


def parent(path: str) -> str:
    """Returns the directory of a path, empty if it has none."""
    return os.path.dirname(path)  # noqa: PTH120


def name(path: str) -> str:
    """Returns the last part of a path."""
    return os.path.basename(path)  # noqa: PTH119


def split_extension(path: str) -> tuple[str, str]:
    """Returns a path in two: all before the extension, and the extension with its dot."""
    return os.path.splitext(path)  # noqa: PTH122


def is_local(path: str) -> bool:
    """Tells whether a path lies in a file system of this machine."""
    return "://" not in path


def sync(path: str) -> None:
    """Makes a file or directory durable, where the file system has a call for it."""
    if not is_local(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
