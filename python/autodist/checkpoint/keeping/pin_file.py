"""The file of a pin, `m-100.pin`: small JSON. Knows no TensorFlow, so that a command can write one."""

from __future__ import annotations

import dataclasses
import json
import socket
import time

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

    @staticmethod
    def now(reason: str) -> Pin:
        """Returns a pin that this machine makes now.

        Args:
            reason: Why.
        """
        return Pin(reason, socket.gethostname(), round(time.time(), 3))

    def contents(self) -> bytes:
        """Returns the contents of the file."""
        return (
            json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"
        ).encode()

    @staticmethod
    def parse(contents: bytes) -> Pin:
        """Returns what a file says; a pin counts also if its file is unreadable.

        Args:
            contents: The contents of the file.
        """
        try:
            found = json.loads(contents)
            return Pin(str(found["reason"]), str(found["host"]), float(found["time"]))
        except (ValueError, KeyError, TypeError):
            return Pin("(its file is unreadable)", "", 0.0)
