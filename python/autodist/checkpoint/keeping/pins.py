"""Pins: checkpoints that no saver removes. A pin is a small file beside the checkpoint."""

from __future__ import annotations

import dataclasses
import json
import socket
import time
from typing import Any

from autodist.checkpoint.files import paths
from autodist.checkpoint.keeping import leases, side_files

SUFFIX = ".pin"
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Pin:
    """Why a checkpoint is pinned.

    Attributes:
        reason: What was said; may be empty.
        host: The machine on which it was pinned.
        time: When, in seconds since 1970.
    """

    reason: str
    host: str
    time: float


def pin(prefix: Any, reason: str = "") -> None:
    """Keeps a checkpoint: no saver of autodist removes it until `unpin`.

    Args:
        prefix: The checkpoint's prefix.
        reason: Why; shown by `pins`.

    Raises:
        MissingCheckpointError: There is no checkpoint under the prefix.
        OSError: The file of the pin cannot be written; on another file system than a local one a
            `tf.errors.OpError`.
    """
    prefix = paths.text(prefix)
    pinned = Pin(reason, socket.gethostname(), round(time.time(), 3))
    text = json.dumps({"format": _FORMAT, **dataclasses.asdict(pinned)}, indent=1) + "\n"
    with leases.reading(prefix):
        side_files.write(prefix + SUFFIX, text.encode())


def unpin(prefix: Any) -> bool:
    """Takes a pin away: the next saver that knows the checkpoint may remove it.

    Args:
        prefix: The checkpoint's prefix.

    Returns:
        Whether it was pinned.

    Raises:
        OSError: The file of the pin cannot be removed; as for `pin`.
    """
    path = paths.text(prefix) + SUFFIX
    if not side_files.exists(path):
        return False
    side_files.remove(path)
    return True


def pins(directory: Any) -> dict[str, Pin]:
    """Returns the pinned checkpoints of a directory by prefix.

    Args:
        directory: Its path.

    Raises:
        OSError: It cannot be listed, or a file of a pin cannot be read; as for `pin`.
    """
    directory = paths.text(directory)
    names = set(side_files.names_in(directory))
    pinned = [name.removesuffix(SUFFIX) for name in sorted(names) if name.endswith(SUFFIX)]
    prefixes = [paths.join(directory, name) for name in pinned if name + ".index" in names]
    return {prefix: _parse(side_files.read(prefix + SUFFIX)) for prefix in prefixes}


def is_pinned(prefix: str) -> bool:
    """Tells whether a checkpoint is pinned.

    A pin counts whatever its file holds. It also counts if the file system does not tell.

    Args:
        prefix: The checkpoint's prefix.
    """
    try:
        return side_files.exists(prefix + SUFFIX)
    except side_files.errors():
        return True


def _parse(contents: bytes) -> Pin:
    try:
        found = json.loads(contents)
        return Pin(str(found["reason"]), str(found["host"]), float(found["time"]))
    except (ValueError, KeyError, TypeError):
        return Pin("(its file is unreadable)", "", 0.0)
