"""Recognises where batch normalisation uses a statistic of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Ops that compute, from statistics and what is the same for all replicas, another statistic.
# fmt: off
OF_STATISTICS = frozenset((
    "Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Neg", "Rsqrt", "Sqrt", "Reciprocal", "Inv", "Cast", "Identity",
    "StopGradient", "Squeeze", "Reshape", "ExpandDims", "Switch", "Merge", "Maximum", "Relu", "Pow", "If",
    "StatelessIf",
))
# fmt: on


def meets_rows(tensor: Any, is_forward: Callable[[Any], bool]) -> bool:
    """Whether what is computed from a statistic of the batch normalises rows of a batch.

    Args:
      tensor: a mean over the batch.
      is_forward: whether an op belongs to no backward pass.
    """
    pending, seen = list(tensor.consumers()), set()
    while pending:
        op = pending.pop()
        if op in seen or op.type not in OF_STATISTICS or not is_forward(op):
            continue
        seen.add(op)
        for made in op.outputs:
            if op.type in ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div") and has_more_rows(op):
                return True
            pending.extend(made.consumers())
    return False


def has_more_rows(op: Any) -> bool:
    """Whether an elementwise op has an input whose first dimension is unknown."""
    return any(t.shape.rank and t.shape.as_list()[0] is None for t in op.inputs)
