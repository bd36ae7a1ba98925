"""The metrics of a checkpoint, in a small file beside it that TensorFlow ignores.

A file of that name that has not its fields is somebody else's: it is neither read nor removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autodist import _log
from autodist.checkpoint.files import prefix_lock, staged_files

_LOGGER = _log.get_logger()

SUFFIX = ".metrics.json"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Metrics:
    """What the file says.

    Attributes:
        values: The metrics by name.
        is_aside: Whether the checkpoint is kept only because it is one of the best.
    """

    values: dict[str, float]
    is_aside: bool


@dataclasses.dataclass(frozen=True)
class TakenMetrics:
    """Metrics that were removed before a save.

    Attributes:
        contents: The contents of the file.
        index: A digest of the index that they belong to; `None` if it could not be read.
    """

    contents: bytes
    index: bytes | None


def contents(metrics: Mapping[str, float]) -> bytes:
    """Returns the contents of the file.

    Args:
        metrics: The metrics by name.
    """
    # JSON has no infinity and no NaN.
    plain = {
        name: value if math.isfinite(value) else repr(value) for name, value in metrics.items()
    }
    return _text({"format": _FORMAT, "metrics": plain})


def read(prefix: str) -> Metrics:
    """Returns the metrics of a checkpoint; none if there is no file, or it is not one of these.

    Args:
        prefix: The checkpoint's prefix.

    Raises:
        tf.errors.OpError: The file is there, and cannot be read.
    """
    nothing = Metrics({}, is_aside=False)
    found = _fields(_bytes(prefix + SUFFIX))
    if not found or found["format"] != _FORMAT:
        return nothing
    try:
        values = {str(name): float(value) for name, value in found["metrics"].items()}
    except (ValueError, TypeError):
        return nothing
    return Metrics(values, is_aside=found.get("aside") is True)


def mark_aside(prefix: str) -> None:
    """Writes down that a checkpoint is kept only because it is one of the best.

    Not if another save writes to the prefix.

    Args:
        prefix: The checkpoint's prefix.

    Raises:
        tf.errors.OpError: The file cannot be read or written, or the prefix not be locked.
    """
    with (
        contextlib.suppress(tf.errors.AlreadyExistsError),
        prefix_lock.held(prefix, durable=False, timeout_seconds=0, makes_directory=False),
    ):
        found = _fields(_bytes(prefix + SUFFIX))
        if found:
            staged_files.write(prefix + SUFFIX, _text({**found, "aside": True}), durable=True)


def is_there(prefix: str) -> bool:
    """Tells whether the file is there, and is one of these.

    Args:
        prefix: The checkpoint's prefix.
    """
    try:
        return _fields(_bytes(prefix + SUFFIX)) is not None
    except tf.errors.OpError:
        return False


def take(prefix: str, *, is_replaced: bool) -> TakenMetrics | None:
    """Removes the metrics of a checkpoint that is overwritten; returns them; `None` without any.

    Args:
        prefix: The checkpoint's prefix.
        is_replaced: Whether the save writes metrics.

    Raises:
        tf.errors.FailedPreconditionError: The save writes metrics, and the file there is somebody
            else's, or cannot be read.
        tf.errors.OpError: They cannot be removed: they would belong to other values.
    """
    path = prefix + SUFFIX
    found, why = None, "no save has written it"
    try:
        if not tf.io.gfile.exists(path):
            return None
        found = _bytes(path)
    except tf.errors.OpError as error:
        why = f"it cannot be read ({error.message})"
    if found is None or _fields(found) is None:
        if is_replaced:
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"{path!r} is in the place of the metrics of this save, but {why}. Nothing was "
                "saved. Move it away, or save without metrics and keep_best",
            )
        _LOGGER.warning(
            "%r is in the place of a checkpoint's metrics, but %s. It stays as it is", path, why
        )
        return None
    index = _digest_of_index(prefix)
    tf.io.gfile.remove(path)
    return TakenMetrics(found, index)


def put_back(prefix: str, taken: TakenMetrics | None, *, durable: bool) -> None:
    """Writes what `take` returned, if the checkpoint is still the one it belongs to.

    Args:
        prefix: The checkpoint's prefix.
        taken: What `take` returned.
        durable: Whether the file is synced.
    """
    if taken is None or taken.index is None or taken.index != _digest_of_index(prefix):
        return
    try:
        staged_files.write(prefix + SUFFIX, taken.contents, durable=durable)
    except tf.errors.OpError:
        return  # The save has failed with an error of its own; the checkpoint has no metrics then.


def _text(fields: Mapping[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1) + "\n").encode()


def _bytes(path: str) -> bytes | None:
    """Returns the contents of a file; `None` if there is none."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            found: bytes = file.read()
    except tf.errors.NotFoundError:
        return None
    except tf.errors.OpError:
        if tf.io.gfile.isdir(path):
            return None
        raise
    return found


def _fields(contents: bytes | None) -> dict[str, Any] | None:
    """Returns the fields of a file; `None` if there is none, or it is somebody else's.

    An empty file, as a crash of the machine may leave it, has no fields.
    """
    if contents is None:
        return None
    if not contents.strip(b"\0"):
        return {}
    try:
        found = json.loads(contents)
    except ValueError:
        return None
    is_ours = isinstance(found, dict) and isinstance(found.get("metrics"), dict)
    return found if is_ours and isinstance(found.get("format"), int) else None


def _digest_of_index(prefix: str) -> bytes | None:
    """Returns a digest of an index, which has the checksums of all values; `None` if unreadable."""
    try:
        found = _bytes(prefix + ".index")
    except tf.errors.OpError:
        return None
    return None if found is None else hashlib.sha256(found).digest()
