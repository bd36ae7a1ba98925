"""How the bytes of a save or restore travel, and the shares of memory and time."""

from __future__ import annotations

import dataclasses

# How `memory_bytes` is divided on a task: a share keeps variables while they are sent, and a share
# is sent at a time. A buffer may be there twice, as a message and as a tensor.
KEPT_SHARE = 1 / 2
ROUNDS_UNDER_WAY = 4
ROUND_SHARE = 1 / 16

# A lease lasts longer than a client may be silent, so that it never ends a save that goes on.
LEASE_FACTOR = 3
RENEWALS_PER_LEASE = 3

# How often tasks are asked how many bytes they have done.
PROGRESS_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Transport:
    """How the bytes of a save or restore travel.

    Attributes:
        way: `'shared'`: every task writes to the one file; `'stream'`: the chief does, and the
            others send; `'files'`: every task writes a data file of its own; `None`: every task
            that can open the file writes, if its file system lets several tasks do so at once.
        memory_bytes: Peak transfer memory per task, in bytes.
        timeout_seconds: How long a task may take to answer.
    """

    way: str | None = None
    memory_bytes: int = 256 << 20
    timeout_seconds: float = 120.0
