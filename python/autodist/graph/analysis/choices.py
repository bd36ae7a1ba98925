"""Lists where replicas differ from one node by choice: batch statistics, random numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from autodist.graph.analysis.batch_analysis import BatchAnalysis
from autodist.graph.kinds.kind import STATISTICS


@dataclasses.dataclass(frozen=True)
class Choice:
    """An op for which each replica has its own statistics or random numbers.

    Attributes:
      op: name of the op.
      op_type: its type.
      what: "statistics": batch normalisation uses those of each replica's rows; "random numbers":
        each replica draws for its rows.
    """

    op: str
    op_type: str
    what: str

    def __str__(self) -> str:
        if self.what == STATISTICS:
            return (
                f"batch normalisation {self.op!r} ({self.op_type}) uses each replica's own "
                "statistics"
            )
        return f"random op {self.op!r} ({self.op_type}) draws each replica's own numbers"


def choices(batch: BatchAnalysis) -> Iterator[Choice]:
    """The choices made in a graph, in no order."""
    kinds = batch.kinds
    for op in dict.fromkeys(kinds.by_choice.values()):
        if not batch.mask(op) or all(kinds.of_tensor(t) is None for t in op.outputs):
            continue
        for what in sorted(kinds.chosen[op]):
            yield Choice(op.name, op.type, what)
