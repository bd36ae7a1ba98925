"""Rules for ops that treat each row by itself, or work along other dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodist.graph.kinds.kind import (
    COUNT,
    FOLLOWED,
    MEAN,
    RANDOM_NUMBERS,
    SAME,
    STATISTICS,
    Kind,
    rows,
)
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.kinds.rules.shapes.size_rules import constant

Found = list[Kind | None]

# fmt: off The first input holds rows along dimension 0, and each is treated by itself; the other
# inputs are parameters.
ROW_BY_ROW = frozenset(
    (
        "Conv2D",
        "Conv3D",
        "DepthwiseConv2dNative",
        "Dilation2D",
        "MaxPool",
        "MaxPoolV2",
        "MaxPool3D",
        "AvgPool",
        "AvgPool3D",
        "LRN",
        "ResizeBilinear",
        "ResizeNearestNeighbor",
        "ResizeBicubic",
        "ResizeArea",
        "ExtractImagePatches",
        "SpaceToDepth",
        "DepthToSpace",
        "DecodeRaw",
        "DecodePaddedRaw",
    )
)
# The last dimension is treated as one, and the other inputs are parameters.
LAST = frozenset(
    (
        "Softmax",
        "LogSoftmax",
        "TopK",
        "TopKV2",
        "RGBToHSV",
        "HSVToRGB",
        "AdjustHue",
        "AdjustSaturation",
    )
)
RANDOM = frozenset(
    (
        "RandomUniform",
        "RandomStandardNormal",
        "TruncatedNormal",
        "RandomUniformInt",
        "RandomGammaV2",
        "StatelessRandomUniform",
        "StatelessRandomNormal",
        "StatelessTruncatedNormal",
        "StatelessRandomUniformV2",
        "StatelessRandomNormalV2",
        "StatelessTruncatedNormalV2",
    )
)
# fmt: on


def row_by_row(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the first inputs are rows along dimension 0; the others are shared."""
    count = ROW_INPUTS.get(op.type, 1)
    expected = [rows(0)] * count + [SAME] * (len(op.inputs) - count)
    return [rows(0) if kinds.of_inputs(op) == expected else None] * len(op.outputs)


# How many inputs hold rows, where it is not the first alone.
ROW_INPUTS = {
    "SparseSoftmaxCrossEntropyWithLogits": 2,
    "SoftmaxCrossEntropyWithLogits": 2,
    "InTopK": 2,
    "InTopKV2": 2,
    "LSTMBlockCell": 3,
    "GRUBlockCell": 2,
}


def identity_n(kinds: Kinds, op: Any) -> Found:
    """Each output has the kind of its input."""
    return list(kinds.of_inputs(op))


def print_(kinds: Kinds, op: Any) -> Found:
    """The output has the kind of the first input; each replica prints its own values."""
    return [kinds.of(op, 0)]


def lookup(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the keys are rows and the default value is shared."""
    _, keys, default = kinds.of_inputs(op)
    return [keys if keys is not None and keys.is_rows and default == SAME else None]


def bias_add(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the rows do not lie along the channels."""
    kind, rank = kinds.of(op, 0), op.inputs[0].shape.rank
    if kind is None or kinds.of(op, 1) != SAME or rank is None:
        return [None]
    if not kind.is_rows:
        return [kind if kind == MEAN else None]
    kinds.set_dims(op.outputs[0], kinds.dims(op.inputs[0]))
    channels = 1 if op.get_attr("data_format") == b"NCHW" else rank - 1
    return [None if kind.axis == channels else kind]


def backprop_input(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the last input is rows, and only the first size counts them."""
    sizes = kinds.sizes(op.inputs[0])
    fits = sizes is not None and sizes[0] == COUNT and COUNT not in sizes[1:]
    return [rows(0) if fits and kinds.of_inputs(op)[1:] == [SAME, rows(0)] else None]


def last_dimension(kinds: Kinds, op: Any) -> Found:
    """The output is rows if they do not lie along the last dimension, on which the op works."""
    kind, rank = kinds.of(op, 0), op.inputs[0].shape.rank
    fits = kind is not None and kind.is_rows and rank is not None and kind.axis < rank - 1
    fits = fits and all(k == SAME for k in kinds.of_inputs(op)[1:])
    return [kind if fits else None] * len(op.outputs)


def along_an_axis(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the op works along other dimensions than the rows."""
    kind, rank = kinds.of(op, 0), op.inputs[0].shape.rank
    axes = constant(op.inputs[1])
    if kind is None or not kind.is_rows or axes is None or rank is None:
        return [None]
    return [None if kind.axis in {int(a) % rank for a in np.ravel(axes)} else kind]


def batch_norm(kinds: Kinds, op: Any) -> Found:
    """The output is rows; in training each replica uses its sub-batch's statistics, by choice."""
    found: Found = [None] * len(op.outputs)
    if op.get_attr("is_training") and not kinds.analysis.uses_own_statistics:
        return found
    if kinds.of(op, 0) != rows(0) or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return found
    found[0] = rows(0)
    if op.get_attr("is_training"):
        kinds.choose(op, STATISTICS)
        found[1] = found[2] = MEAN
    return found


def random(kinds: Kinds, op: Any) -> Found:
    """The output is rows if one size is the number of rows; each replica draws its own numbers."""
    sizes = kinds.sizes(op.inputs[0])
    if sizes is None or sizes.count(COUNT) != 1 or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [None] * len(op.outputs)
    kinds.choose(op, RANDOM_NUMBERS)
    return [rows(sizes.index(COUNT))]


def resource_gather(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the variable is shared and the row numbers are rows."""
    kind = kinds.of(op, 1)
    if kind == FOLLOWED and kinds.of(op, 0) == SAME and op.type == "ResourceGather":
        return [None if op.get_attr("batch_dims") else FOLLOWED]
    fits = kinds.of(op, 0) == SAME and kind is not None and kind.is_rows
    if op.type == "ResourceGatherNd":
        rank = op.inputs[1].shape.rank
        fits = fits and rank is not None and kind is not None and kind.axis < rank - 1
    elif op.get_attr("batch_dims"):
        fits = False
    return [kind if fits else None]
