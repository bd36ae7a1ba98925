"""Small files beside a checkpoint, on any file system. Imports TensorFlow only for those it alone knows."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from typing import Any

from autodist.checkpoint.files import paths


def exists(path: str) -> bool:
    """Tells whether there is a file.

    A client of a network file system may remember for a while that a name does not exist. So this
    lists the directory of a local file, if it can.

    Args:
        path: Its path.
    """
    if not paths.is_local(path):
        return bool(_gfile().exists(path))
    directory = paths.for_system_calls(paths.parent(path)) or "."
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return any(entry.name == paths.name(path) for entry in entries)
    return os.path.lexists(paths.for_system_calls(path))


def read(path: str) -> bytes:
    """Returns the contents of a file.

    Args:
        path: Its path.

    Raises:
        OSError: It cannot be read; on another file system than a local one a `tf.errors.OpError`.
    """
    if not paths.is_local(path):
        with _gfile().GFile(path, "rb") as file:
            contents: bytes = file.read()
        return contents
    with open(paths.for_system_calls(path), "rb") as local:  # noqa: PTH123 a path of text
        return local.read()


def write(path: str, contents: bytes) -> None:
    """Replaces a file, on a local file system at once and durably.

    Args:
        path: Its path.
        contents: All of it.

    Raises:
        OSError: It cannot be written; on another file system than a local one a
            `tf.errors.OpError`.
    """
    if not paths.is_local(path):
        with _gfile().GFile(path, "wb") as file:
            file.write(contents)
        return
    final = paths.for_system_calls(path)
    temporary = f"{final}.{secrets.token_hex(8)}"
    try:
        with open(temporary, "xb") as local:  # noqa: PTH123 a path of text
            local.write(contents)
            local.flush()
            os.fsync(local.fileno())
        os.replace(temporary, final)  # noqa: PTH105
        paths.sync(paths.parent(final))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def remove(path: str) -> None:
    """Removes a file.

    Args:
        path: Its path.

    Raises:
        OSError: It cannot be removed; on another file system than a local one a
            `tf.errors.OpError`.
    """
    if paths.is_local(path):
        os.unlink(paths.for_system_calls(path))  # noqa: PTH108
    else:
        _gfile().remove(path)


def names_in(directory: str) -> list[str]:
    """Returns the names in a directory that are UTF-8, in order.

    Args:
        directory: Its path; empty for the current one.

    Raises:
        OSError: It cannot be listed; on another file system than a local one a
            `tf.errors.OpError`.
    """
    if not paths.is_local(directory):
        return sorted(_gfile().listdir(directory))
    names = os.listdir(paths.for_system_calls(directory) or ".")  # noqa: PTH208 a path of text
    return sorted(name for name in names if paths.is_utf8(name))


def time_of(path: str) -> float:
    """Returns when a file was written, in seconds since 1970.

    Args:
        path: Its path.

    Raises:
        OSError: It cannot be told; on another file system than a local one a `tf.errors.OpError`.
    """
    if paths.is_local(path):
        return os.stat(paths.for_system_calls(path)).st_mtime  # noqa: PTH116
    return float(_gfile().stat(path).mtime_nsec) / 1e9


def errors() -> tuple[type[Exception], ...]:
    """Returns the errors that the functions here raise, for an `except`."""
    tensorflow = sys.modules.get("tensorflow")
    remote = () if tensorflow is None else (tensorflow.errors.OpError,)
    return (OSError, UnicodeDecodeError, *remote)


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile
