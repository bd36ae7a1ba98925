"""What enters a contest: one way to do the work, in one layout, and what it is compared with."""

from __future__ import annotations

import dataclasses

from contenders.cases import Layout
from measuring.contestants import Contestant

OURS = "autodist"
GATHER = "gather, SaveV2"
STOCK = "stock Saver"
SHARDED = "stock sharded=True"
ASSIGN = "RestoreV2, assign"
LIMIT = "limit"
LIMIT_AGAIN = "limit again"
LIMIT_NEW = f"{LIMIT}, new memory"
LIMIT_NEW_HUGE = f"{LIMIT}, new memory, huge pages"
# Other ways to have the same bytes on a disk.
LIMIT_PREALLOCATED = "limit, preallocated"
LIMIT_DIRECT = "limit, direct"

# The rivals' columns, in order; of those that take part.
RIVALS = (GATHER, STOCK, SHARDED, ASSIGN)

# The state in which a restore finds the variables.
NEW = "no value"
TRAINED = "has a value"


@dataclasses.dataclass(frozen=True)
class Key:
    """Who a contestant is.

    Attributes:
        way: How the work is done.
        layout: The title of how the variables lie; empty where that is nothing to the way.
        state: `NEW` or `TRAINED`, for a restore into variables.
    """

    way: str
    layout: str = ""
    state: str = ""

    @property
    def name(self) -> str:
        """All in one line."""
        return ", ".join(part for part in (self.way, self.layout, self.state) if part)

    @property
    def is_ours(self) -> bool:
        """Whether this is what the benchmark is about."""
        return self.way.startswith(OURS)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A contestant and who it is."""

    key: Key
    contestant: Contestant

    @staticmethod
    def make(way: str, layout: Layout | None, state: str = "", **contestant: object) -> Entry:
        """An entry whose contestant has the name of its key."""
        key = Key(way, layout.title if layout else "", state)
        return Entry(key, Contestant(name=key.name, **contestant))
