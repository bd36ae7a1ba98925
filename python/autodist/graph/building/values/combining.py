"""Combines the replicas' values of one tensor where the result is no mean, sum or concatenation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist import _native
from autodist.graph.building.ops.builder import Builder
from autodist.graph.building.variables.placement import PlacedVariable


def extreme(builder: Builder, pieces: list[Any], kind: str) -> Any:
    """The extreme of the replicas' extremes.

    A replica without a sub-batch has the extreme of a row of another.

    Args:
      builder: of the transformed graph.
      pieces: one tensor per replica.
      kind: "Max", "Min", "All" or "Any".
    """
    raw = tf.raw_ops
    with builder.adding(f"{kind}/{pieces[0].op.name}", pieces[0].device):
        stacked = tf.stack(pieces)
        if pieces[0].dtype == tf.bool:
            return (raw.Any if kind in ("Any", "Max") else raw.All)(input=stacked, axis=0)
        return (raw.Max if kind in ("Any", "Max") else raw.Min)(input=stacked, axis=0)


def aggregate(builder: Builder, variable: PlacedVariable, pieces: list[Any]) -> Any:
    """Reduces a local variable's copies as saves do, so the result has the saved bits.

    Args:
      builder: of the transformed graph.
      variable: the variable.
      pieces: one tensor per copy.
    """
    ops = _native.ops()
    with builder.adding_on_cpu(f"fetch/{variable.logical.name}", pieces[0].device):
        return ops.autodist_aggregate_replicas(
            values=pieces, aggregation=variable.logical.aggregation.name
        )
