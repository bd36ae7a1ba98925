"""The table of proved rules: from the kinds of an op's inputs to those of its outputs.

A rule holds for every op of its type, with any attributes, or gives no kind. Each was read in the definition of the
op in TensorFlow 2.21. See `kinds` for what a kind says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from autodist.graph.kinds import (
    function_rules,
    list_rules,
    loop_rules,
    reduction_rules,
    row_number_rules,
    shape_rules,
    size_rules,
    slice_rules,
)
from autodist.graph.kinds.kind import (
    COUNT,
    FOLLOWED,
    LINEAR,
    MEAN,
    RANDOM_NUMBERS,
    SAME,
    STATISTICS,
    SUM,
    Kind,
    rows,
)
from autodist.graph.kinds.kinds import Kinds, Rule
from autodist.graph.kinds.reduction_rules import note_count, of_reductions
from autodist.graph.kinds.size_rules import constant
from autodist.graph.original import op_types
from autodist.graph.original.roles import key_of, size_of

Found = list[Kind | None]
NOTHING: Found = [None]

# fmt: off
# Element i of the output depends on element i of each input, after broadcasting, and on nothing else.
_ELEMENTWISE = (op_types.ELEMENTWISE - {"Select"}) | frozenset((
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
        kinds.choose(op, STATISTICS)
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
    note_count(kinds, op)
    if kinds.sizes(op.outputs[0]) == [COUNT]:
        return [SUM]
    return [of_reductions(kinds, op)] * len(op.outputs)


"""The bytes of the smallest numbers that hold any number of rows."""


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


def along_an_axis(kinds: Kinds, op: Any) -> Found:
    """`Cumsum`, `ReverseV2` and the like, along other dimensions than that of the rows."""
    kind, rank = kinds.of(op, 0), op.inputs[0].shape.rank
    axes = constant(op.inputs[1])
    if kind is None or not kind.is_rows or axes is None or rank is None:
        return [None]
    return [None if kind.axis in {int(a) % rank for a in np.ravel(axes)} else kind]


def batch_norm(kinds: Kinds, op: Any) -> Found:
    """Fused batch normalisation: the statistics are those of each replica's part, by choice."""
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
    """Random numbers for each row: each replica draws its own, by choice."""
    sizes = kinds.sizes(op.inputs[0])
    if sizes is None or sizes.count(COUNT) != 1 or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [None] * len(op.outputs)
    kinds.choose(op, RANDOM_NUMBERS)
    return [rows(sizes.index(COUNT))]


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
    for table in (size_rules, slice_rules, shape_rules, reduction_rules):
        rules.update(table.RULES)
    rules.update(dict.fromkeys(_MATRICES, matrices))
    rules.update(dict.fromkeys(RANDOM, random))
    rules.update(dict.fromkeys(("Cumsum", "Cumprod", "ReverseV2"), along_an_axis))
    rules.update(dict.fromkeys(_LAST, last_dimension))
    rules.update(dict.fromkeys(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), batch_matmul))
    fused = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
    rules.update(dict.fromkeys(fused, batch_norm))
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
        EnsureShape=ensure_shape,
    )
    for later in (list_rules, loop_rules, function_rules):
        rules.update(later.RULES)
    rules["Less"] = loop_rules.first_of(loop_rules.less, elementwise)
    for name in ("Add", "AddV2"):
        rules[name] = loop_rules.first_of(loop_rules.next_index, elementwise)
    rules["LogicalAnd"] = loop_rules.first_of(loop_rules.both, elementwise)
    return rules


RULES = _table()
RULES.update(row_number_rules.RULES)
