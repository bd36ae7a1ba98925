"""Pins: checkpoints that no saver removes. A pin is a small file beside the checkpoint."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.checkpoint.files import bundle, paths, staged_files
from autodist.checkpoint.keeping import leases
from autodist.checkpoint.keeping.pin_file import SUFFIX, Pin


def pin(prefix: Any, reason: str = "") -> None:
    """Keeps a checkpoint: no saver of autodist removes it until `unpin`.

    Args:
        prefix: The checkpoint's prefix.
        reason: Why; shown by `pins`.

    Raises:
        tf.errors.NotFoundError: There is no checkpoint under the prefix.
        tf.errors.OpError: The file of the pin cannot be written.
    """
    prefix = paths.text(prefix)
    with leases.reading(prefix):
        staged_files.write(prefix + SUFFIX, Pin.now(reason).contents(), durable=True)


def unpin(prefix: Any) -> bool:
    """Takes a pin away: the next saver that knows the checkpoint may remove it.

    Args:
        prefix: The checkpoint's prefix.

    Returns:
        Whether it was pinned.

    Raises:
        tf.errors.OpError: The file of the pin cannot be removed.
    """
    path = paths.text(prefix) + SUFFIX
    if not tf.io.gfile.exists(path):
        return False
    tf.io.gfile.remove(path)
    return True


def pins(directory: Any) -> dict[str, Pin]:
    """Returns the pinned checkpoints of a directory by prefix.

    Args:
        directory: Its path.

    Raises:
        OSError: It cannot be listed; on another file system than a local one a
            `tf.errors.OpError`.
        tf.errors.OpError: A file of a pin cannot be read.
    """
    directory = paths.text(directory)
    found = [name for name in bundle.names_in(directory) if name.endswith(SUFFIX)]
    names = sorted(name for name in found if paths.is_utf8(name))
    prefixes = [paths.join(directory, name.removesuffix(SUFFIX)) for name in names]
    return {prefix: _read(prefix + SUFFIX) for prefix in prefixes if bundle.exists(prefix)}


def is_pinned(prefix: str) -> bool:
    """Tells whether a checkpoint is pinned.

    A pin counts whatever its file holds. It also counts if the file system does not tell.

    Args:
        prefix: The checkpoint's prefix.
    """
    try:
        return bool(tf.io.gfile.exists(prefix + SUFFIX))
    except tf.errors.OpError:
        return True


def _read(path: str) -> Pin:
    with tf.io.gfile.GFile(path, "rb") as file:
        return Pin.parse(file.read())
