"""The files of a checkpoint on disk, found by its prefix."""

import contextlib
import itertools
import os

import tensorflow as tf

from autodist.checkpoint.files import paths

# If the directory cannot be listed, so many data files are looked for by name.
_MOST_TRIED = 64


def exists(prefix: str) -> bool:
    """Tells whether there is a bundle under a prefix.

    A client of a network file system may remember for a while that a name does not exist, although
    another client has created it. So this lists the directory, if it can, and does not ask for the
    name.
    """
    if paths.is_local(prefix):
        with (
            contextlib.suppress(OSError),
            os.scandir(paths.for_system_calls(paths.parent(prefix)) or ".") as entries,
        ):
            return any(entry.name == paths.name(prefix) + ".index" for entry in entries)
    return bool(tf.io.gfile.exists(prefix + ".index"))


def remove(prefix: str, *others: str) -> None:
    """Removes a bundle if it is there, the index first: without it the data file is no checkpoint.

    A file that cannot be removed stays, without an error: a failed save that calls this has its
    own.

    Args:
        prefix: The bundle's prefix.
        *others: Other files that belong to it, in the order to remove them.
    """
    data: list[str] = []
    with contextlib.suppress(tf.errors.OpError, OSError):
        if exists(prefix):
            data = data_files(prefix)
    for path in [prefix + ".index", *data, *others]:
        remove_file(path)


def sync(prefix: str) -> None:
    """Makes a bundle durable that TensorFlow wrote, where its file system has a call for it.

    Args:
        prefix: The bundle's prefix.

    Raises:
        OSError: A file cannot be synced.
    """
    if not paths.is_local(prefix) or not exists(prefix):
        return
    for path in [*data_files(prefix), prefix + ".index", paths.parent(prefix)]:
        paths.sync(path)


def data_files(prefix: str) -> list[str]:
    """Returns the paths of all data files under a prefix.

    Args:
        prefix: The bundle's prefix.
    """
    try:
        return paths_that_begin(prefix + ".data-")
    except (PermissionError, tf.errors.PermissionDeniedError, UnicodeDecodeError):
        # The directory may be written to but not read, or holds names that TensorFlow cannot
        # decode.
        return [path for path in _possible_data_files(prefix) if tf.io.gfile.exists(path)]


def paths_that_begin(start: str) -> list[str]:
    """Returns the paths of all files that begin like this, and go on in ASCII.

    Args:
        start: The directory and the beginning of the name.

    Raises:
        OSError: The directory cannot be listed; on another file system than a local one a
            `tf.errors.OpError`.
        UnicodeDecodeError: It holds a name that TensorFlow cannot decode.
    """
    first = paths.name(start)
    directory = start[: len(start) - len(first)]
    # A name that is not UTF-8 is not that of a file of a checkpoint.
    return [
        directory + name
        for name in names_in(directory)
        if name.startswith(first) and name[len(first) :].isascii()
    ]


def names_in(directory: str) -> list[str]:
    """Returns the names in a directory; if it is local, also names that are not UTF-8.

    Args:
        directory: Its path; empty for the current one.

    Raises:
        OSError: It cannot be listed; on another file system than a local one a
            `tf.errors.OpError`.
        UnicodeDecodeError: It holds a name that TensorFlow cannot decode.
    """
    if not paths.is_local(directory):
        names: list[str] = tf.io.gfile.listdir(directory)
        return names
    return os.listdir(paths.for_system_calls(directory) or ".")  # noqa: PTH208 a path of text


def _possible_data_files(prefix: str) -> list[str]:
    return [
        f"{prefix}.data-{number:05d}-of-{count:05d}"
        for count, number in itertools.product(range(1, _MOST_TRIED + 1), range(_MOST_TRIED))
        if number < count
    ]


def remove_file(path: str) -> None:
    """Removes a file if it is there and can be removed.

    Args:
        path: Its path.
    """
    with contextlib.suppress(tf.errors.OpError):
        if tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)
