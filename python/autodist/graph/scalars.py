"""Scalars that the replicas compute from their parts of a batch: sums, counts and extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from autodist.graph.roles import has_batch_dimension

_SUMS = frozenset({"Sum", "SegmentSum", "UnsortedSegmentSum", "Bincount", "DenseBincount"})
_PASS = frozenset({"Identity", "Cast", "Squeeze", "Reshape", "StopGradient", "ExpandDims"})
_EXTREMES = frozenset({"Max", "Min", "All", "Any"})


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
