"""Recognises ops that need a batch whole, so that it is not split over the replicas.

A placeholder with an unknown first dimension is not always a batch. It may hold the data of a
`tf.data` iterator, the content of a lookup table, or the new value (or rows) of a variable. An op
that takes such data changes shared state once, with all rows. If each replica used its sub-batch,
only the last would remain.

A tensor is not a batch either if the graph takes only rows with fixed numbers of it, as in
`keep_prob[0]` and `keep_prob[1]`. Row 1 of a sub-batch is another row of the batch.

And a batch cannot be split if an op combines it, row by row, with unsplit data of a known number of
rows: a constant with a row for each example, or a tensor computed from a placeholder of a known
batch size.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import has_batch_dimension, size_of

_DATASET = re.compile(r"\w*Dataset(V\d+)?")
DATA_SOURCES = frozenset(
    {
        "Placeholder",
        "PlaceholderV2",
        "PlaceholderWithDefault",
        "IteratorGetNext",
        "IteratorGetNextSync",
    }
)
_LOSSES = frozenset({"SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits"})
_ROW_BY_ROW = (op_types.ELEMENTWISE - {"AddN"}) | _LOSSES
_CONSUMERS = frozenset(
    {"MakeIterator", "LookupTableImportV2", "LookupTableInsertV2", "LookupTableRemoveV2"}
)


def takes_whole(op: Any) -> bool:
    """Whether `op` needs all rows of the tensors it takes."""
    return _DATASET.fullmatch(op.type) is not None or op.type in _CONSUMERS


def writes_rows(op: Any) -> bool:
    """Whether `op` fills a variable with rows: by assignment, or by a scatter of input data."""
    if op.type in op_types.SCATTERS:
        return all(_is_plain_data(t) for t in op.inputs if t.dtype != tf.resource)
    return op.type in op_types.ASSIGNS and has_batch_dimension(op.inputs[1])


def _is_plain_data(tensor: Any) -> bool:
    op = tensor.op
    while op.type == "Identity":
        op = op.inputs[0].op
    return op.type == "Const" or op.type in DATA_SOURCES


def is_pivot(op: Any) -> bool:
    """Whether `op` says, by being dead or alive, which branch of a v1 `tf.cond` is taken."""
    return bool(
        op.type == "Identity" and op.inputs[0].op.type == "Switch" and op.inputs[0].dtype == tf.bool
    )


def is_list(tensor: Any) -> bool:
    """Whether all that is used of a tensor are single rows with fixed numbers."""
    consumers = tensor.consumers()
    return bool(consumers) and all(_takes_fixed_rows(op, tensor) for op in consumers)


def _takes_fixed_rows(op: Any, tensor: Any) -> bool:
    if op.type == "Unpack":
        return bool(op.get_attr("axis") == 0)
    if op.inputs[0] is not tensor:
        return False
    if op.type == "StridedSlice":
        is_one_row = op.get_attr("shrink_axis_mask") & 1
        return bool(is_one_row) and tf.get_static_value(op.inputs[1]) is not None
    if op.type == "GatherV2":
        fixed = [tf.get_static_value(t) for t in op.inputs[1:]]
        return fixed[0] is not None and bool(fixed[1] == 0)
    return False


def meets_known_rows(op: Any, varies: Callable[[Any], bool]) -> bool:
    """Whether `op` combines rows of the batch one by one with rows of data that is not split.

    Args:
      op: an op of the original graph.
      varies: whether a tensor depends on something that is split.
    """
    if op.type not in _ROW_BY_ROW:
        return False
    ranks = [t.shape.rank for t in op.inputs if has_batch_dimension(t) and varies(t)]
    if not ranks:
        return False
    for tensor in op.inputs:
        if tensor.shape.rank is None or varies(tensor):
            continue
        # Shapes are aligned at their last dimensions, except labels, which may have one dimension
        # less.
        axis = 0 if op.type in _LOSSES else tensor.shape.rank - max(ranks)
        rows = size_of(tensor, axis) if 0 <= axis < tensor.shape.rank else None
        if rows is not None and rows > 1 and _is_data(tensor, rows):
            return True
    return False


def _is_data(tensor: Any, rows: int) -> bool:
    """Whether a tensor of `rows` rows comes from fed or read data, or from such a constant."""
    pending, seen = [tensor.op], {tensor.op}
    while pending:
        op = pending.pop()
        for made in op.outputs if op.type in DATA_SOURCES else ():
            if made.shape.rank != 0:
                return True
        if op.type == "Const" and op.outputs[0].dtype == tensor.dtype:
            shape = op.outputs[0].shape.as_list()
            if shape and shape[0] == rows:
                return True
        for source in (t.op for t in op.inputs):
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return False


def linked(masks: set[int], dropped: int) -> int:
    """Adds to the roots `dropped` all that meet one of them in some op, also indirectly.

    Args:
      masks: the sets of roots that ops depend on, as bit masks.
      dropped: a bit mask.
    """
    while True:
        grown = dropped
        for mask in masks:
            if mask & grown:
                grown |= mask
        if grown == dropped:
            return dropped
        dropped = grown
