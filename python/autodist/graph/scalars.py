"""Scalars that the replicas compute from their parts of a batch: means, sums, extremes.

A mean over the batch is the replicas' means, weighted by the sizes of their parts; a sum is the sum of theirs. Which of
the two a scalar is shows where it was reduced: one traced back to a reduction of something with a batch dimension, or
to a count of its elements, is a sum; any other floating-point scalar is taken for a mean, as losses are.

A variable that keeps such means (a running mean of the loss) has one value on a single node, and so it has here: its
update takes the mean over the replicas. One that keeps sums is local (`batch`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.graph import op_kinds
from autodist.graph.roles import has_batch_dimension

_SUMS = frozenset({"Sum", "SegmentSum", "UnsortedSegmentSum", "Bincount", "DenseBincount"})
_PASS = frozenset({"Identity", "Cast", "Squeeze", "Reshape", "StopGradient", "ExpandDims"})
_EXTREMES = frozenset({"Max", "Min", "All", "Any"})
_SCALE = frozenset({"Mul", "MulNoNan", "Neg", "RealDiv", "Div", "DivNoNan"})


def is_integer_sum(tensor: Any) -> bool:
    """Whether an integer tensor was made by summing, or by counting rows or elements."""
    if not tensor.dtype.is_integer:
        return False
    while tensor.op.type in _PASS:
        tensor = tensor.op.inputs[0]
    return tensor.op.type in _SUMS or is_count(tensor)


def is_count(tensor: Any) -> bool:
    """Whether a scalar is the number of rows or elements of a tensor with a batch dimension."""
    op = tensor.op
    if op.type == "Size":
        return has_batch_dimension(op.inputs[0])
    if op.type != "StridedSlice" or op.inputs[0].op.type != "Shape":
        return False
    first = tf.get_static_value(op.inputs[1])
    is_first = first is not None and list(first) == [0] and tensor.shape.rank == 0
    return is_first and has_batch_dimension(op.inputs[0].op.inputs[0])


def is_mean(tensor: Any, varies: Callable[[Any], bool]) -> bool:
    """Whether a tensor is a floating-point scalar whose value for the batch is the mean of the replicas'.

    Args:
      tensor: a tensor of the original graph.
      varies: whether a tensor differs from replica to replica.
    """
    if tensor.shape.rank != 0:
        return False
    while tensor.dtype.is_floating:
        op = tensor.op
        if op.type in _SUMS and op.inputs[0].shape.rank != 0:
            return False
        if op.type in _PASS or op.type in _SUMS:
            tensor = op.inputs[0]
            continue
        if op.type not in _SCALE:
            return True
        varying = [t for t in op.inputs if varies(t)]
        if len(varying) != 1:
            return True
        tensor = varying[0]
    return False


def is_mean_update(op: Any, shape: tuple[int, ...] | None, varies: Callable[[Any], bool]) -> bool:
    """Whether `op` assigns a mean over the batch to a scalar variable, or adds one to it."""
    return shape == () and op.type in op_kinds.ASSIGNS and is_mean(op.inputs[1], varies)


def extreme_of(tensor: Any) -> str | None:
    """`Max`, `Min`, `All` or `Any` where such a reduction over the rows of the batch made a tensor; else None."""
    op = tensor.op
    while op.type in _PASS:
        op = op.inputs[0].op
    if op.type not in _EXTREMES or not has_batch_dimension(op.inputs[0]):
        return None
    axes = tf.get_static_value(op.inputs[1])
    if axes is None:
        return None
    rank = op.inputs[0].shape.rank
    return str(op.type) if 0 in [int(axis) % rank for axis in np.ravel(axes)] else None
