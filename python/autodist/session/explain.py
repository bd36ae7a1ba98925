"""Explains a graph: which batches are split, why others are not, how the variables lie."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from autodist import _log
from autodist.graph.analysis.choices import Choice, choices

if TYPE_CHECKING:
    from autodist.graph.transformer import Transformer


@dataclasses.dataclass(frozen=True)
class ExplainedRoot:
    """A placeholder or iterator output whose first dimension is unknown.

    Attributes:
      name: of the tensor.
      is_split: whether each replica gets a sub-batch of its rows.
      taker: name of the op that needs all rows; None where it is split.
      cause: name and type of the op that keeps it whole: the first op on the way to `taker` without
        a rule, or `taker` itself. None where it is split.
    """

    name: str
    is_split: bool
    taker: str | None = None
    cause: str | None = None

    def __str__(self) -> str:
        if self.is_split:
            return f"{self.name}: split"
        because = "" if self.cause is None else f", because of op {self.cause}"
        return f"{self.name}: whole, for op {self.taker!r} needs all of it{because}"


@dataclasses.dataclass(frozen=True)
class ExplainedVariable:
    """A variable: its name, its layout in words, and why it lies so."""

    name: str
    layout: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.layout} ({self.reason})"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The decisions on a graph; `str()` gives them as text.

    Attributes:
      replicas: how many there are.
      roots: the placeholders and iterator outputs that may be a batch.
      combined: names of the ops whose results over the rows the replicas combine before they go on.
      choices: where one node may have another value, by choice.
      variables: the variables.
    """

    replicas: int
    roots: tuple[ExplainedRoot, ...]
    combined: tuple[str, ...]
    choices: tuple[Choice, ...]
    variables: tuple[ExplainedVariable, ...]

    def __str__(self) -> str:
        lines = [_log.count(self.replicas, "replica"), "batches:"]
        lines += [f"  {root}" for root in self.roots] or ["  none"]
        if self.combined:
            lines += ["combined over the replicas before they are used:"]
            lines += [f"  {name}" for name in self.combined]
        if self.choices:
            lines += ["not exactly what one node has, by choice:"]
            lines += [f"  {choice}" for choice in self.choices]
        lines += ["variables:"]
        lines += [f"  {variable}" for variable in self.variables] or ["  none"]
        return "\n".join(lines)


def explain_transformer(transformer: Transformer) -> Explanation:
    """The decisions on the graph of a transformer."""
    batch = transformer.batch
    roots = [ExplainedRoot(t.name, is_split=True) for t in batch.roots]
    for tensor, taker in batch.fed_whole:
        roots.append(
            ExplainedRoot(tensor.name, is_split=False, taker=taker.name, cause=_cause(batch, taker))
        )
    return Explanation(
        replicas=transformer.replica_count,
        roots=tuple(roots),
        combined=tuple(sorted(op.name for op in batch.decisions.combined)),
        choices=tuple(choices(batch)),
        variables=tuple(ExplainedVariable(*row) for row in transformer.layout_table()),
    )


def _cause(batch: Any, taker: Any) -> str | None:
    obstacle = batch.updates.obstacles.get(taker)
    culprit = batch.culprits.get(taker)
    if obstacle is not None:
        return f"{obstacle.op.name!r} ({obstacle.op.type}), which {obstacle.reason}"
    if culprit is None or culprit is taker:
        return f"{taker.name!r} ({taker.type})"
    return f"{culprit.name!r} ({culprit.type})"
