"""The table of proved rules: from the kinds of an op's inputs to those of its outputs.

A rule holds for every op of its type, with any attributes, or gives no kind. Each was read in the definition of the
op in TensorFlow 2.21. See `kinds` for what a kind says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from autodist.graph import (
    kind_functions,
    kind_lists,
    kind_loops,
    kind_numbers,
    kind_shapes,
    op_kinds,
)
from autodist.graph.kinds import (
    ALL,
    ANY,
    COUNT,
    FOLLOWED,
    LINEAR,
    MAX,
    MEAN,
    MIN,
    SAME,
    SIZES,
    SUM,
    Count,
    Kind,
    Kinds,
    Rule,
    meets_rows,
    rows,
)
from autodist.graph.roles import key_of, size_of

Found = list[Kind | None]
NOTHING: Found = [None]

# fmt: off
# Element i of the output depends on element i of each input, after broadcasting, and on nothing else.
_ELEMENTWISE = (op_kinds.ELEMENTWISE - {"Select"}) | frozenset((
    "AsString", "StringLower", "StringUpper", "StringStrip", "StringToHashBucket", "StringToHashBucketFast",
    "StringToHashBucketStrong", "StringToNumber", "StaticRegexReplace", "StaticRegexFullMatch", "RegexReplace",
    "StringLength", "Bucketize", "ApproximateEqual", "Erfinv", "Ndtri", "Lgamma", "Digamma", "Polygamma", "Zeta",
    "Igamma", "Igammac", "Betainc", "LeftShift", "RightShift", "SigmoidGrad", "TanhGrad", "ReluGrad", "Relu6Grad",
    "EluGrad", "SeluGrad", "SoftplusGrad", "SoftsignGrad", "SqrtGrad", "RsqrtGrad", "ReciprocalGrad", "InvGrad",
    "LeakyReluGrad", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "Angle", "ComplexAbs", "Snapshot",
    "CheckNumericsV2",
))
# The first input holds rows along dimension 0, and each is treated by itself; the other inputs are parameters.
_ROW_BY_ROW = frozenset((
    "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Dilation2D", "MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool",
    "AvgPool3D", "LRN", "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea",
    "ExtractImagePatches", "SpaceToDepth", "DepthToSpace", "DecodeRaw",
    "DecodePaddedRaw",
))
# The last two dimensions are a matrix, and each matrix is treated by itself.
_MATRICES = frozenset((
    "MatrixInverse", "MatrixDeterminant", "LogMatrixDeterminant", "Cholesky", "Qr", "Svd", "SelfAdjointEigV2",
    "MatrixBandPart", "MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3", "MatrixSolve", "MatrixTriangularSolve",
    "MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3", "MatrixExponential", "MatrixLogarithm", "MatrixSquareRoot",
))
# The last dimension is treated as one, and the other inputs are parameters.
_LAST = frozenset((
    "Softmax", "LogSoftmax", "TopK", "TopKV2", "RGBToHSV", "HSVToRGB", "AdjustHue", "AdjustSaturation",
))
RANDOM = frozenset((
    "RandomUniform", "RandomStandardNormal", "TruncatedNormal", "RandomUniformInt", "RandomGammaV2",
    "StatelessRandomUniform", "StatelessRandomNormal", "StatelessTruncatedNormal", "StatelessRandomUniformV2",
    "StatelessRandomNormalV2", "StatelessTruncatedNormalV2",
))
# fmt: on
_REDUCTIONS = {"Mean": MEAN, "Sum": SUM, "Max": MAX, "Min": MIN, "All": ALL, "Any": ANY}


def axis_of_broadcast(kinds: Kinds, op: Any, indices: Any = None) -> int | None:
    """The dimension of an elementwise op's output along which rows lie; None where its inputs do not fit."""
    rank = op.outputs[0].shape.rank
    if rank is None:
        return _axis_of_one(kinds, op, indices)
    places: set[int] = set()
    others, is_proved = [], True
    for index in range(len(op.inputs)) if indices is None else indices:
        kind, tensor = kinds.of(op, index), op.inputs[index]
        if kind is not None and kind.is_rows:
            if tensor.shape.rank is None:
                return None
            places.add(kind.axis + rank - tensor.shape.rank)
        elif kind == SAME or key_of(tensor) in kinds.statistics:
            others.append(tensor)
            is_proved = is_proved and kind == SAME
        else:
            return None
    place = places.pop() if len(places) == 1 else None
    if place is None or not all(_lets_pass(t, place, rank) for t in others):
        return None
    if not is_proved:
        kinds.choose(op)
    return place


def _axis_of_one(kinds: Kinds, op: Any, indices: Any) -> int | None:
    """The same where ranks are unknown: one input alone holds rows, and the others are scalars."""
    found = None
    for index in range(len(op.inputs)) if indices is None else indices:
        kind = kinds.of(op, index)
        if kind is not None and kind.is_rows and found is None:
            found = kind.axis
        elif kind != SAME or op.inputs[index].shape.rank != 0:
            return None
    return found


def _keep_dims(kinds: Kinds, op: Any) -> None:
    """Notes the sizes that an elementwise op's output has in common with all inputs that are no scalars."""
    made = op.outputs[0]
    inputs = [t for t in op.inputs if t.shape.rank != 0]
    if made.shape.rank is None or any(t.shape.rank != made.shape.rank for t in inputs):
        return
    columns = zip(*(kinds.dims(t) for t in inputs), strict=True)
    own = kinds.dims(made)
    kinds.set_dims(
        made, [c[0] if len(set(c)) == 1 else o for c, o in zip(columns, own, strict=True)]
    )


def each_of(kinds: Kinds, op: Any) -> tuple[Any, ...] | None:
    """How many rows the inputs have for each row of the batch, where that is known of one."""
    known = [k.each for k in kinds.of_inputs(op) if k is not None and k.is_rows]
    return next((e for e in known if e is not None), None)


def _lets_pass(tensor: Any, place: int, rank: int) -> bool:
    """Whether a tensor, the same for all replicas, is broadcast along dimension `place` of `rank`."""
    if tensor.shape.rank is None:
        return False
    axis = place - (rank - tensor.shape.rank)
    return axis < 0 or size_of(tensor, axis) == 1


def elementwise(kinds: Kinds, op: Any) -> Found:
    """Rows with rows, or with what is the same for all."""
    axis = axis_of_broadcast(kinds, op)
    if axis is not None:
        made = rows(axis, each_of(kinds, op))
        _keep_dims(kinds, op)
        return [made] * len(op.outputs)
    _count(kinds, op)
    if kinds.sizes(op.outputs[0]) == [COUNT]:
        return [SUM]
    return [of_reductions(kinds, op)] * len(op.outputs)


# What is computed from reductions of rows.

_PASSES = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics"})
_LINEAR = frozenset({"Neg", "Real", "Imag", "Conj", "ZerosLike"})
_SUMS = frozenset({"Add", "AddV2", "AddN", "Sub"})
_QUOTIENTS = frozenset({"RealDiv", "Div", "DivNoNan"})


def of_reductions(kinds: Kinds, op: Any) -> Kind | None:  # noqa: PLR0911 - a rule each
    """The kind of what an elementwise op computes from reductions of the rows, where it is a reduction again."""
    found = kinds.of_inputs(op)
    if op.type in _PASSES:
        sizes = kinds.sizes(op.inputs[0])
        if sizes is not None and COUNT in sizes:
            kinds.set_sizes(op.outputs[0], sizes)
        return found[0]
    if op.type in _LINEAR or (op.type == "Cast" and _is_linear(op)):
        return found[0] if found[0] in LINEAR else None
    if op.type in _SUMS:
        return linear_combination(found)
    if op.type in _QUOTIENTS and found[0] == SUM and kinds.sizes(op.inputs[1]) == [COUNT]:
        return MEAN if op.inputs[0].dtype.is_floating else None
    is_product = op.type in ("Mul", "MulNoNan") or (
        op.type in _QUOTIENTS and op.inputs[0].dtype.is_floating
    )
    if is_product and found[1] == SAME and found[0] in LINEAR:
        return found[0]
    if is_product and op.type not in _QUOTIENTS and found[0] == SAME and found[1] in LINEAR:
        return found[1]
    if op.type in ("SelectV2", "Select") and found[0] == SAME:
        return linear_combination(found[1:])
    return None


def linear_combination(found: list[Kind | None]) -> Kind | None:
    """The kind of a sum of tensors: means may be added to what all share, sums to sums alone."""
    if set(found) == {SUM}:
        return SUM
    return MEAN if MEAN in found and set(found) <= {MEAN, SAME} else None


def _is_linear(cast: Any) -> bool:
    """Whether a sum of what is cast is the cast of the sum: not where it is rounded, nor where it may overflow."""
    before, after = cast.inputs[0].dtype, cast.outputs[0].dtype
    is_exact = before.is_floating and after.is_floating and before.size <= after.size
    return bool(is_exact or (before.is_complex and after.is_complex and before.size <= after.size))


def _count(kinds: Kinds, op: Any) -> None:
    """The number of rows cast, or times a number that all share, is a number of rows, too."""
    if op.outputs[0].shape.rank != 0:
        return
    if op.type == "Cast" and _keeps_counts(op) and kinds.sizes(op.inputs[0]) == [COUNT]:
        kinds.set_sizes(op.outputs[0], kinds.sizes(op.inputs[0]) or [COUNT])
    if op.type != "Mul":
        return
    pair = [kinds.sizes(t) for t in op.inputs]
    for index in (0, 1):
        count = pair[index]
        if count == [COUNT] and kinds.of(op, 1 - index) == SAME:
            each, factor = count[0].each, pair[1 - index] or [None]
            is_known = each is not None and factor[0] is not None
            kinds.set_sizes(op.outputs[0], [Count.of((*each, *factor) if is_known else None)])


_SIZE_OF_COUNTS = 4
"""The bytes of the smallest numbers that hold any number of rows."""


def _keeps_counts(cast: Any) -> bool:
    """Whether a number of rows that is cast is one still: not a part of it cut off, nor a remainder."""
    before, after = cast.inputs[0].dtype, cast.outputs[0].dtype
    if after.size < _SIZE_OF_COUNTS:
        return False
    is_whole = before.is_integer and after.is_integer
    return bool(is_whole or (after.is_floating and (before.is_integer or before.is_floating)))


def ensure_shape(kinds: Kinds, op: Any) -> Found:
    """Rows of which the shape says no number."""
    kind, shape = kinds.of(op, 0), tf.TensorShape(op.get_attr("shape"))
    if (
        kind is not None
        and kind.is_rows
        and shape.rank is not None
        and shape[kind.axis] is not None
    ):
        return [None]
    return elementwise(kinds, op)


def row_by_row(kinds: Kinds, op: Any) -> Found:
    """Rows along dimension 0 of the first inputs; the others are parameters that all share."""
    count = _ROW_INPUTS.get(op.type, 1)
    expected = [rows(0)] * count + [SAME] * (len(op.inputs) - count)
    return [rows(0) if kinds.of_inputs(op) == expected else None] * len(op.outputs)


# How many inputs hold rows, where it is not the first alone.
_ROW_INPUTS = {
    "SparseSoftmaxCrossEntropyWithLogits": 2,
    "SoftmaxCrossEntropyWithLogits": 2,
    "InTopK": 2,
    "InTopKV2": 2,
    "LSTMBlockCell": 3,
    "GRUBlockCell": 2,
}


def identity_n(kinds: Kinds, op: Any) -> Found:
    """The inputs."""
    return list(kinds.of_inputs(op))


def print_(kinds: Kinds, op: Any) -> Found:
    """The first input; each replica prints its own of the others."""
    return [kinds.of(op, 0)]


def lookup(kinds: Kinds, op: Any) -> Found:
    """What a table holds for the keys, which are rows."""
    _, keys, default = kinds.of_inputs(op)
    return [keys if keys is not None and keys.is_rows and default == SAME else None]


def bias_add(kinds: Kinds, op: Any) -> Found:
    """Rows that are not the channels."""
    kind, rank = kinds.of(op, 0), op.inputs[0].shape.rank
    if kind is None or kinds.of(op, 1) != SAME or rank is None:
        return [None]
    if not kind.is_rows:
        return [kind if kind == MEAN else None]
    kinds.set_dims(op.outputs[0], kinds.dims(op.inputs[0]))
    channels = 1 if op.get_attr("data_format") == b"NCHW" else rank - 1
    return [None if kind.axis == channels else kind]


def matrices(kinds: Kinds, op: Any) -> Found:
    """Rows in front of the last two dimensions."""
    found = kinds.of_inputs(op)
    outputs: Found = [None] * len(op.outputs)
    ranks = [t.shape.rank for t in op.inputs]
    is_part = op.type.startswith(("MatrixSetDiag", "MatrixSolve", "MatrixTriangular"))
    if found[0] != rows(0) or ranks[0] is None or ranks[0] < 3:
        return outputs
    if op.type in ("MatrixSolve", "MatrixTriangularSolve") and ranks[0] != ranks[1]:
        return outputs
    if is_part and (found[1] != rows(0) or any(k != SAME for k in found[2:])):
        return outputs
    if not is_part and any(k != SAME for k in found[1:]):
        return outputs
    if _has_values_alone(op):
        outputs[0] = rows(0)
        return outputs
    return [rows(0)] * len(outputs)


def _has_values_alone(op: Any) -> bool:
    """Whether an op that finds values and vectors was asked for no vectors: those outputs hold nothing."""
    asked = {"Svd": "compute_uv", "SelfAdjointEigV2": "compute_v"}.get(op.type)
    return asked is not None and not op.get_attr(asked)


def matmul(kinds: Kinds, op: Any) -> Found:
    """Rows times parameters are rows; rows times rows, contracted over them, are a sum."""
    if _is_linear_in_one(kinds, op):
        return [next(k for k in kinds.of_inputs(op) if k != SAME)]
    flips = [op.get_attr("transpose_a"), op.get_attr("transpose_b")]
    places: list[int | None] = []
    for index in (0, 1):
        kind = kinds.of(op, index)
        if kind is None or not (kind.is_rows or kind == SAME):
            return [None]
        axis = kind.axis if kind.is_rows else None
        places.append(1 - axis if axis is not None and flips[index] else axis)
    results: dict[tuple[int | None, int | None], Kind] = {
        (0, None): rows(0, each_of(kinds, op)),
        (None, 1): rows(1),
        (1, 0): SUM,
    }
    return [results.get((places[0], places[1]))]


def _is_linear_in_one(kinds: Kinds, op: Any) -> bool:
    """Whether one input of a product is a mean or sum, and all replicas share the others."""
    found = [k for k in kinds.of_inputs(op) if k != SAME]
    return len(found) == 1 and found[0] in LINEAR


def batch_matmul(kinds: Kinds, op: Any) -> Found:
    """Rows in front of the last two dimensions, or of the left matrix alone."""
    if _is_linear_in_one(kinds, op):
        return [next(k for k in kinds.of_inputs(op) if k != SAME)]
    found = kinds.of_inputs(op)
    ranks = [t.shape.rank for t in op.inputs]
    if None in ranks:
        return [None]
    first = found[0]
    is_pair = first is not None and first.is_rows and found[1] == first and ranks[0] == ranks[1]
    if first is not None and is_pair and first.axis < ranks[0] - 2:
        return [rows(first.axis)]
    # The output has the rank of the larger one; dimensions are aligned at the last.
    for one, other in ((0, 1), (1, 0)):
        if found[one] == rows(0) and found[other] == SAME and ranks[one] >= max(3, ranks[other]):
            is_broadcast = ranks[other] < ranks[one] or size_of(op.inputs[other], 0) == 1
            return [rows(0) if is_broadcast else None]
    return [None]


def einsum(kinds: Kinds, op: Any) -> Found:
    """Rows under one label: kept they are rows, summed over they are a sum."""
    if _is_linear_in_one(kinds, op):
        return [next(k for k in kinds.of_inputs(op) if k != SAME)]
    left, arrow, right = op.get_attr("equation").decode().replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or "." in left or len(terms) != len(op.inputs):
        return [None]
    labels: set[str] = set()
    others = ""
    for term, kind in zip(terms, kinds.of_inputs(op), strict=True):
        if kind is not None and kind.is_rows:
            labels.add(term[kind.axis])
            others += term[: kind.axis] + term[kind.axis + 1 :]
        elif kind == SAME:
            others += term
        else:
            return [None]
    if len(labels) != 1 or labels & set(others):
        return [None]
    label = labels.pop()
    if right.count(label) > 1:  # A diagonal.
        return [None]
    return [rows(right.index(label)) if label in right else SUM]


def backprop_input(kinds: Kinds, op: Any) -> Found:
    """Transposed convolutions: the sizes of the result, the filter, and the rows."""
    sizes = kinds.sizes(op.inputs[0])
    fits = sizes is not None and sizes[0] == COUNT and COUNT not in sizes[1:]
    return [rows(0) if fits and kinds.of_inputs(op)[1:] == [SAME, rows(0)] else None]


def last_dimension(kinds: Kinds, op: Any) -> Found:
    """Rows in front of the last dimension, over which the op works."""
    kind, rank = kinds.of(op, 0), op.inputs[0].shape.rank
    fits = kind is not None and kind.is_rows and rank is not None and kind.axis < rank - 1
    fits = fits and all(k == SAME for k in kinds.of_inputs(op)[1:])
    return [kind if fits else None] * len(op.outputs)


def reduction(kinds: Kinds, op: Any) -> Found:
    """Over rows a reduction of that name; over other dimensions rows."""
    kind, summed = kinds.of(op, 0), op.inputs[0]
    axes = tf.get_static_value(op.inputs[1])
    if kind in LINEAR and op.type in ("Sum", "Mean") and kinds.of(op, 1) == SAME:
        return [kind if op.type == "Sum" or not summed.dtype.is_integer else None]
    is_total = op.type == "Prod" and axes is not None and np.size(axes) == 1
    if is_total and all(isinstance(s, int) for s in kinds.sizes(summed) or [None]):
        kinds.set_sizes(op.outputs[0], [int(np.prod(kinds.sizes(summed) or [1], dtype=np.int64))])
    if is_total and (kinds.sizes(summed) or []).count(COUNT) == 1:
        sizes = kinds.sizes(summed) or []
        each, others = sizes[sizes.index(COUNT)].each, [s for s in sizes if s != COUNT]
        is_counted = each is not None and None not in others
        kinds.set_sizes(op.outputs[0], [Count.of((*each, *others) if is_counted else None)])
        return [SUM if op.outputs[0].shape.rank == 0 else SIZES]
    if kind is None or not kind.is_rows or axes is None or summed.shape.rank is None:
        return [None]
    over = {int(a) % summed.shape.rank for a in np.ravel(axes)}
    if kind.axis not in over:
        shift = 0 if op.get_attr("keep_dims") else sum(a < kind.axis for a in over)
        return [rows(kind.axis - shift)]
    if op.type == "Mean" and not (summed.dtype.is_floating or summed.dtype.is_complex):
        return [None]
    if (
        op.type == "Mean"
        and kinds.facts.has_own_statistics(op)
        and _is_of_batch_normalisation(kinds, op)
    ):
        kinds.statistics.add(key_of(op.outputs[0]))
    return [_REDUCTIONS.get(op.type)]


def _is_of_batch_normalisation(kinds: Kinds, op: Any) -> bool:
    """Whether a mean over the batch is a statistic of batch normalisation, as `tf.nn.moments` makes both."""
    if op.inputs[0].op.type == "SquaredDifference" and op.inputs[0].op in kinds.by_choice:
        return meets_rows(op.outputs[0], kinds.facts.is_forward)
    return any(_is_variance(kinds, op, user) for user in _behind(op.outputs[0]))


def _behind(tensor: Any) -> list[Any]:
    """The ops that take a tensor, looked up through `StopGradient`."""
    users = list(tensor.consumers())
    return users + [
        u for op in users if op.type == "StopGradient" for u in op.outputs[0].consumers()
    ]


def _is_variance(kinds: Kinds, mean: Any, squares: Any) -> bool:
    """Whether `squares` are squared differences from the mean whose mean normalises rows."""
    if squares.type != "SquaredDifference" or squares.inputs[0] is not mean.inputs[0]:
        return False
    variances = [op for op in squares.outputs[0].consumers() if op.type == "Mean"]
    return any(meets_rows(op.outputs[0], kinds.facts.is_forward) for op in variances)


def arg_reduction(kinds: Kinds, op: Any) -> Found:
    """`ArgMax` and `ArgMin` along another dimension than that of the rows."""
    kind, axis = kinds.of(op, 0), tf.get_static_value(op.inputs[1])
    rank = op.inputs[0].shape.rank
    if kind is None or not kind.is_rows or axis is None or rank is None:
        return [None]
    over = int(axis) % rank
    return [None if over == kind.axis else rows(kind.axis - (over < kind.axis))]


def along_an_axis(kinds: Kinds, op: Any) -> Found:
    """`Cumsum`, `ReverseV2` and the like, along other dimensions than that of the rows."""
    kind, rank = kinds.of(op, 0), op.inputs[0].shape.rank
    axes = tf.get_static_value(op.inputs[1])
    if kind is None or not kind.is_rows or axes is None or rank is None:
        return [None]
    return [None if kind.axis in {int(a) % rank for a in np.ravel(axes)} else kind]


def batch_norm(kinds: Kinds, op: Any) -> Found:
    """Fused batch normalisation: the statistics are those of each replica's part, by choice."""
    found: Found = [None] * len(op.outputs)
    if op.get_attr("is_training") and not kinds.facts.uses_own_statistics:
        return found
    if kinds.of(op, 0) != rows(0) or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return found
    found[0] = rows(0)
    if op.get_attr("is_training"):
        kinds.choose(op)
        found[1] = found[2] = MEAN
    return found


def random(kinds: Kinds, op: Any) -> Found:
    """Random numbers for each row: each replica draws its own, by choice."""
    sizes = kinds.sizes(op.inputs[0])
    if sizes is None or sizes.count(COUNT) != 1 or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [None] * len(op.outputs)
    kinds.choose(op)
    return [rows(sizes.index(COUNT))]


def segment_sum(kinds: Kinds, op: Any) -> Found:
    """Rows summed by a number that each has."""
    pair = [kinds.of(op, 0), kinds.of(op, 1)]
    if pair != [rows(0), rows(0)] or kinds.of(op, 2) != SAME:
        return [None]
    found = {"UnsortedSegmentSum": SUM, "UnsortedSegmentMax": MAX, "UnsortedSegmentMin": MIN}
    return [found[op.type]]


def scatter_nd(kinds: Kinds, op: Any) -> Found:
    """Rows added up where each says."""
    is_sum = kinds.of_inputs(op) == [rows(0), rows(0), SAME]
    # The last dimension of the indices is not one of rows.
    return [SUM if is_sum and (op.inputs[0].shape.rank or 0) > 1 else None]


def bincount(kinds: Kinds, op: Any) -> Found:
    """Counts of what is in a vector of rows."""
    values, size, weights = kinds.of_inputs(op)
    if op.inputs[0].shape.rank != 1 or values != rows(0) or size != SAME:
        return [None]
    if op.type == "DenseBincount" and op.get_attr("binary_output"):
        return [None]
    has_weights = weights == rows(0)
    is_empty = weights == SAME and op.inputs[2].shape.num_elements() == 0
    return [SUM if has_weights or is_empty else None]


def l2_loss(kinds: Kinds, op: Any) -> Found:
    """Half the sum of squares of rows."""
    kind = kinds.of(op, 0)
    return [SUM if kind is not None and kind.is_rows else None]


def resource_gather(kinds: Kinds, op: Any) -> Found:
    """Rows of a variable that all share, for row numbers of the batch."""
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


def _table() -> dict[str, Rule]:
    rules: dict[str, Rule] = dict.fromkeys(_ELEMENTWISE, elementwise)
    rules.update(dict.fromkeys((*_ROW_BY_ROW, *_ROW_INPUTS), row_by_row))
    rules.update(dict.fromkeys(("LookupTableFind", "LookupTableFindV2"), lookup))
    rules.update(kind_shapes.RULES)
    rules.update(dict.fromkeys(_MATRICES, matrices))
    rules.update(dict.fromkeys(RANDOM, random))
    rules.update(dict.fromkeys((*_REDUCTIONS, "Prod", "EuclideanNorm"), reduction))
    rules.update(dict.fromkeys(("ArgMax", "ArgMin"), arg_reduction))
    rules.update(dict.fromkeys(("Cumsum", "Cumprod", "ReverseV2"), along_an_axis))
    rules.update(dict.fromkeys(_LAST, last_dimension))
    rules.update(dict.fromkeys(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), batch_matmul))
    fused = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
    rules.update(dict.fromkeys(fused, batch_norm))
    segments = ("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin")
    rules.update(dict.fromkeys(segments, segment_sum))
    rules.update(dict.fromkeys(("Bincount", "DenseBincount"), bincount))
    rules.update(dict.fromkeys(("ResourceGather", "ResourceGatherNd"), resource_gather))
    transposed = (
        "Conv2DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput"
    )  # fmt: skip
    rules.update(dict.fromkeys(transposed, backprop_input))
    rules.update(
        BiasAdd=bias_add,
        Print=print_,
        IdentityN=identity_n,
        MatMul=matmul,
        Einsum=einsum,
        ScatterNd=scatter_nd,
        L2Loss=l2_loss,
        EnsureShape=ensure_shape,
    )
    for table in (kind_lists.RULES, kind_loops.RULES, kind_functions.RULES):
        rules.update(table)
    rules["Less"] = kind_loops.first_of(kind_loops.less, elementwise)
    for name in ("Add", "AddV2"):
        rules[name] = kind_loops.first_of(kind_loops.next_index, elementwise)
    rules["LogicalAnd"] = kind_loops.first_of(kind_loops.both, elementwise)
    return rules


RULES = _table()
RULES.update(kind_numbers.RULES)
