"""The metrics of a checkpoint, in a small file beside it that TensorFlow ignores."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autodist.checkpoint.files import prefix_lock, staged_files, values_file

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
    found = _fields(values_file.read(prefix + SUFFIX))
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
        found = _fields(values_file.read(prefix + SUFFIX))
        if found:
            staged_files.write(prefix + SUFFIX, _text({**found, "aside": True}), durable=True)


def _text(fields: Mapping[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1) + "\n").encode()


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


FILE = values_file.ValuesFile(
    SUFFIX, "metrics", "metrics and keep_best", lambda found: _fields(found) is not None
)
