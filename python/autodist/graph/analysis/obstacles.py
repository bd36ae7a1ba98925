"""Why an op's value for the whole batch cannot be had: `Obstacle`."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Obstacle:
    """Why an update cannot be made once.

    Attributes:
      op: the op that forbids it.
      reason: why, to follow "op ...".
    """

    op: Any
    reason: str

    def __str__(self) -> str:
        return f"op {self.op.name!r} ({self.op.type}) {self.reason}"
