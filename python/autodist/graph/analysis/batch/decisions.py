"""What the analysis of the batch decided: plain data that its modules share."""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist.graph.original.variables.roles import Key, key_of


@dataclasses.dataclass(frozen=True)
class Obstacle:
    """Why an update cannot be made once.

    Attributes:
      op: the op that forbids it.
      reason: why, as the end of a sentence that begins with "op ...".
    """

    op: Any
    reason: str

    def __str__(self) -> str:
        return f"op {self.op.name!r} ({self.op.type}) {self.reason}"


@dataclasses.dataclass
class Decisions:
    """The decisions on the ops of a graph.

    Attributes:
      combined: ops whose outputs are combined over the replicas for all that take them.
      shared: by op and input: the inputs that are combined for that op alone.
      scaled: ops with one output that each replica multiplies by the inverse of its share.
      scaled_outputs: the number of this output, by op.
      weighted: by result of a differentiation with respect to rows: the number of the first op that
        sees it multiplied by each replica's share.
      made_once: updates that are made once, with one node's inputs.
      local: handle ops of the variables of which each replica updates a copy of its own.
    """

    combined: set[Any] = dataclasses.field(default_factory=set)
    shared: set[tuple[Any, Key]] = dataclasses.field(default_factory=set)
    scaled: set[Any] = dataclasses.field(default_factory=set)
    scaled_outputs: dict[Any, int] = dataclasses.field(default_factory=dict)
    weighted: dict[Key, int] = dataclasses.field(default_factory=dict)
    made_once: set[Any] = dataclasses.field(default_factory=set)
    local: set[Any] = dataclasses.field(default_factory=set)

    def is_seen_combined(self, op: Any, tensor: Any) -> bool:
        """Whether `op` sees one value of `tensor`, an input, that all replicas share."""
        return tensor.op in self.combined or (op, key_of(tensor)) in self.shared

    def scaled_output(self, op: Any) -> int:
        """Which output of an op among `scaled` is scaled."""
        return self.scaled_outputs.get(op, 0)
