"""The metrics of a checkpoint, in a small file beside it that TensorFlow ignores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import tensorflow as tf

from autodist.checkpoint.files import bundle, staged_files

SUFFIX = ".metrics.json"
_FORMAT = 1


def contents(metrics: Mapping[str, float]) -> bytes:
    """Returns the contents of the file.

    Args:
        metrics: The metrics by name.
    """
    # JSON has no infinity and no NaN.
    plain = {
        name: value if math.isfinite(value) else repr(value) for name, value in metrics.items()
    }
    return (json.dumps({"format": _FORMAT, "metrics": plain}, indent=1) + "\n").encode()


def read(prefix: str) -> dict[str, float]:
    """Returns the metrics of a checkpoint; none if there is no file, or it is unreadable.

    Args:
        prefix: The checkpoint's prefix.
    """
    try:
        with tf.io.gfile.GFile(prefix + SUFFIX, "rb") as file:
            found = json.loads(file.read())
        if found["format"] != _FORMAT:
            return {}
        return {str(name): float(value) for name, value in found["metrics"].items()}
    except (tf.errors.OpError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def take(prefix: str) -> bytes | None:
    """Removes the metrics of a checkpoint that is overwritten; returns them; `None` without any.

    Args:
        prefix: The checkpoint's prefix.

    Raises:
        tf.errors.OpError: They cannot be removed: they would belong to other values.
    """
    path = prefix + SUFFIX
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        found: bytes = file.read()
    tf.io.gfile.remove(path)
    return found


def put_back(prefix: str, taken: bytes | None, *, durable: bool) -> None:
    """Writes what `take` returned, if the checkpoint is still the one it belongs to.

    Args:
        prefix: The checkpoint's prefix.
        taken: What `take` returned.
        durable: Whether the file is synced.
    """
    if taken is None or not bundle.exists(prefix):
        return
    try:
        staged_files.write(prefix + SUFFIX, taken, durable=durable)
    except tf.errors.OpError:
        return  # The save has failed with an error of its own; the checkpoint has no metrics then.
