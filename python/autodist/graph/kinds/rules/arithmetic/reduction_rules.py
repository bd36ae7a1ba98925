"""Rules for reductions of rows, and what is computed from them; see `rule_table`."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodist.graph.kinds.kind import (
    ALL,
    ANY,
    COUNT,
    LINEAR,
    MAX,
    MEAN,
    MIN,
    SAME,
    SIZES,
    SUM,
    Count,
    Kind,
    rows,
)
from autodist.graph.kinds.kinds import Kinds, Rule
from autodist.graph.kinds.rules.shapes.size_rules import constant
from autodist.graph.kinds.statistics import meets_rows
from autodist.graph.original.variables.roles import key_of

Found = list[Kind | None]

_REDUCTIONS = {"Mean": MEAN, "Sum": SUM, "Max": MAX, "Min": MIN, "All": ALL, "Any": ANY}
# The output is the input.
_PASSES = frozenset({"Identity", "StopGradient", "PreventGradient", "Snapshot", "CheckNumerics"})
# The output for a sum is the sum of the outputs.
_LINEAR = frozenset({"Neg", "Real", "Imag", "Conj", "ZerosLike"})
_SUMS = frozenset({"Add", "AddV2", "AddN", "Sub"})
_QUOTIENTS = frozenset({"RealDiv", "Div", "DivNoNan"})


def of_reductions(kinds: Kinds, op: Any) -> Kind | None:  # noqa: PLR0911 - a rule each
    """The kind of an elementwise op on reductions of rows, if its result is a reduction."""
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
    """Whether a sum of casts is the cast of the sum: the cast neither rounds nor overflows."""
    before, after = cast.inputs[0].dtype, cast.outputs[0].dtype
    is_exact = before.is_floating and after.is_floating and before.size <= after.size
    return bool(is_exact or (before.is_complex and after.is_complex and before.size <= after.size))


def note_count(kinds: Kinds, op: Any) -> None:
    """Records that an op casts a number of rows, or multiplies it by a shared number."""
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


def _keeps_counts(cast: Any) -> bool:
    """Whether a cast keeps a number of rows: it neither truncates nor wraps."""
    before, after = cast.inputs[0].dtype, cast.outputs[0].dtype
    if after.size < _SIZE_OF_COUNTS:
        return False
    is_whole = before.is_integer and after.is_integer
    return bool(is_whole or (after.is_floating and (before.is_integer or before.is_floating)))


def reduction(kinds: Kinds, op: Any) -> Found:
    """The output is a reduction of the op's name over the rows; over other dimensions it is rows.

    `Prod` and `EuclideanNorm` over rows have no kind.
    """
    kind, summed = kinds.of(op, 0), op.inputs[0]
    axes = constant(op.inputs[1])
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
        and kinds.analysis.has_own_statistics(op)
        and _is_of_batch_normalisation(kinds, op)
    ):
        kinds.statistics.add(key_of(op.outputs[0]))
    return [_REDUCTIONS.get(op.type)]


def _is_of_batch_normalisation(kinds: Kinds, op: Any) -> bool:
    """Whether a mean over the batch is a batch normalisation statistic of `tf.nn.moments`."""
    if op.inputs[0].op.type == "SquaredDifference" and op.inputs[0].op in kinds.by_choice:
        return meets_rows(op.outputs[0], kinds.analysis.is_forward)
    return any(_is_variance(kinds, op, user) for user in _behind(op.outputs[0]))


def _behind(tensor: Any) -> list[Any]:
    """The ops that take a tensor, directly or through `StopGradient`."""
    users = list(tensor.consumers())
    return users + [
        u for op in users if op.type == "StopGradient" for u in op.outputs[0].consumers()
    ]


def _is_variance(kinds: Kinds, mean: Any, squares: Any) -> bool:
    """Whether the mean of `squares` is the variance to `mean`, and normalises rows."""
    if squares.type != "SquaredDifference" or squares.inputs[0] is not mean.inputs[0]:
        return False
    variances = [op for op in squares.outputs[0].consumers() if op.type == "Mean"]
    return any(meets_rows(op.outputs[0], kinds.analysis.is_forward) for op in variances)


def arg_reduction(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the op works along another dimension than the rows."""
    kind, axis = kinds.of(op, 0), constant(op.inputs[1])
    rank = op.inputs[0].shape.rank
    if kind is None or not kind.is_rows or axis is None or rank is None:
        return [None]
    over = int(axis) % rank
    return [None if over == kind.axis else rows(kind.axis - (over < kind.axis))]


def segment_sum(kinds: Kinds, op: Any) -> Found:
    """The output is a reduction over the rows if the data and the segment numbers are rows."""
    pair = [kinds.of(op, 0), kinds.of(op, 1)]
    if pair != [rows(0), rows(0)] or kinds.of(op, 2) != SAME:
        return [None]
    found = {"UnsortedSegmentSum": SUM, "UnsortedSegmentMax": MAX, "UnsortedSegmentMin": MIN}
    return [found[op.type]]


def scatter_nd(kinds: Kinds, op: Any) -> Found:
    """The output is a sum over the rows if the indices and the updates are rows."""
    is_sum = kinds.of_inputs(op) == [rows(0), rows(0), SAME]
    # The last dimension of the indices is not one of rows.
    return [SUM if is_sum and (op.inputs[0].shape.rank or 0) > 1 else None]


def bincount(kinds: Kinds, op: Any) -> Found:
    """The output is a sum over the rows if the values are a vector of rows."""
    values, size, weights = kinds.of_inputs(op)
    if op.inputs[0].shape.rank != 1 or values != rows(0) or size != SAME:
        return [None]
    if op.type == "DenseBincount" and op.get_attr("binary_output"):
        return [None]
    has_weights = weights == rows(0)
    is_empty = weights == SAME and op.inputs[2].shape.num_elements() == 0
    return [SUM if has_weights or is_empty else None]


def l2_loss(kinds: Kinds, op: Any) -> Found:
    """The output is a sum over the rows."""
    kind = kinds.of(op, 0)
    return [SUM if kind is not None and kind.is_rows else None]


RULES: dict[str, Rule] = {
    **dict.fromkeys((*_REDUCTIONS, "Prod", "EuclideanNorm"), reduction),
    "ArgMax": arg_reduction,
    "ArgMin": arg_reduction,
    **dict.fromkeys(
        ("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin"), segment_sum
    ),
    "Bincount": bincount,
    "DenseBincount": bincount,
    "ScatterNd": scatter_nd,
    "L2Loss": l2_loss,
}
