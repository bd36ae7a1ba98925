"""Rules for elementwise ops: rows with rows, or with what is the same for all replicas."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.kinds.kind import COUNT, SAME, STATISTICS, SUM, Kind, rows
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.kinds.rules.arithmetic.reduction_rules import note_count, of_reductions
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import key_of, size_of

Found = list[Kind | None]

# fmt: off Element i of the output depends on element i of each input, after broadcasting, and on
# nothing else.
ELEMENTWISE = (op_types.ELEMENTWISE - {"Select"}) | frozenset(
    (
        "AsString",
        "StringLower",
        "StringUpper",
        "StringStrip",
        "StringToHashBucket",
        "StringToHashBucketFast",
        "StringToHashBucketStrong",
        "StringToNumber",
        "StaticRegexReplace",
        "StaticRegexFullMatch",
        "RegexReplace",
        "StringLength",
        "Bucketize",
        "ApproximateEqual",
        "Erfinv",
        "Ndtri",
        "Lgamma",
        "Digamma",
        "Polygamma",
        "Zeta",
        "Igamma",
        "Igammac",
        "Betainc",
        "LeftShift",
        "RightShift",
        "SigmoidGrad",
        "TanhGrad",
        "ReluGrad",
        "Relu6Grad",
        "EluGrad",
        "SeluGrad",
        "SoftplusGrad",
        "SoftsignGrad",
        "SqrtGrad",
        "RsqrtGrad",
        "ReciprocalGrad",
        "InvGrad",
        "LeakyReluGrad",
        "FakeQuantWithMinMaxArgs",
        "FakeQuantWithMinMaxVars",
        "Angle",
        "ComplexAbs",
        "Snapshot",
        "CheckNumericsV2",
    )
)
# fmt: on


def axis_of_broadcast(kinds: Kinds, op: Any, indices: Any = None) -> int | None:
    """The dimension of an elementwise op's output along which rows lie.

    None where its inputs do not fit.
    """
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
    """The same for unknown ranks: one input holds rows, and the others must be scalars."""
    found = None
    for index in range(len(op.inputs)) if indices is None else indices:
        kind = kinds.of(op, index)
        if kind is not None and kind.is_rows and found is None:
            found = kind.axis
        elif kind != SAME or op.inputs[index].shape.rank != 0:
            return None
    return found


def _keep_dims(kinds: Kinds, op: Any) -> None:
    """Records the sizes that an elementwise op's output shares with its non-scalar inputs."""
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
    """How many rows the inputs have per row of the batch; None if no input tells."""
    known = [k.each for k in kinds.of_inputs(op) if k is not None and k.is_rows]
    return next((e for e in known if e is not None), None)


def _lets_pass(tensor: Any, place: int, rank: int) -> bool:
    """Whether a tensor that all replicas share is broadcast along dimension `place` of `rank`."""
    if tensor.shape.rank is None:
        return False
    axis = place - (rank - tensor.shape.rank)
    return axis < 0 or size_of(tensor, axis) == 1


def elementwise(kinds: Kinds, op: Any) -> Found:
    """The output is rows if each input is rows, or the same on all replicas.

    Of reductions it is a reduction where `of_reductions` proves that.
    """
    axis = axis_of_broadcast(kinds, op)
    if axis is not None:
        made = rows(axis, each_of(kinds, op))
        _keep_dims(kinds, op)
        return [made] * len(op.outputs)
    note_count(kinds, op)
    if kinds.sizes(op.outputs[0]) == [COUNT]:
        return [SUM]
    return [of_reductions(kinds, op)] * len(op.outputs)


def ensure_shape(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the attribute `shape` leaves their number open."""
    kind, shape = kinds.of(op, 0), tf.TensorShape(op.get_attr("shape"))
    if (
        kind is not None
        and kind.is_rows
        and shape.rank is not None
        and shape[kind.axis] is not None
    ):
        return [None]
    return elementwise(kinds, op)
