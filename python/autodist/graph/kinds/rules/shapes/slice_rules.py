"""Rules for the ops that take some elements; see `rule_table`."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodist.graph.kinds.kind import COUNT, FOLLOWED, REDUCED, SAME, SIZES, Kind, rows
from autodist.graph.kinds.kinds import Kinds, Rule
from autodist.graph.kinds.rules.shapes.size_rules import constant, of_sizes, rows_of

Found = list[Kind | None]


def selected(kinds: Kinds, op: Any, of: int = 0) -> Kind | None:
    """The kind of some elements of a reduction, where all replicas select the same."""
    found = kinds.of_inputs(op)
    others = [k for i, k in enumerate(found) if i != of]
    return found[of] if found[of] in REDUCED and all(k == SAME for k in others) else None


def strided_slice(kinds: Kinds, op: Any) -> Found:
    """The output is rows if it has all rows and the same elements of each; of sizes it is sizes."""
    known = kinds.sizes(op.inputs[0]) if op.inputs[0].shape.rank == 1 else None
    bounds = [constant(t) for t in op.inputs[1:]]
    if known is not None and all(b is not None and b.size == 1 for b in bounds):
        return _slice_of_sizes(kinds, op, known, [int(b.ravel()[0]) for b in bounds])
    kind = kinds.of(op, 0)
    if kind is not None and kind.name == "merged":
        return [rows(0, kind.each) if _takes_a_half(kinds, op, kind) else None]
    axis = rows_of(kinds, op)
    if axis is None or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [selected(kinds, op)]
    place = _place_after_slice(op, axis)
    return [None if place is None else rows(place)]


def _takes_a_half(kinds: Kinds, op: Any, kind: Kind) -> bool:
    """Whether a slice takes the first or the second of two batches, one behind the other."""
    begin, end, step = (kinds.sizes(t) for t in op.inputs[1:])
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    is_open = [op.get_attr(mask) & 1 for mask in masks]
    if not begin or not end or not step or any(is_open[2:]) or step[0] != 1:
        return False
    if kind.axis or kind.each is None or COUNT in begin[1:] or COUNT in end[1:]:
        return False
    if any(op.get_attr("new_axis_mask") & 2**i for i in range(len(begin))):
        return False
    is_first = (is_open[0] or begin[0] == 0) and not is_open[1] and _counts(end[0], kind)
    is_second = kind.outer == (2,) and is_open[1] and not is_open[0] and _counts(begin[0], kind)
    return bool(is_first or is_second)


def _counts(size: Any, kind: Kind) -> bool:
    return bool(size == COUNT and size.each == kind.each)


def _slice_of_sizes(kinds: Kinds, op: Any, known: list[Any], bounds: list[int]) -> Found:
    begin, end, stride = bounds
    if op.get_attr("new_axis_mask") or op.get_attr("ellipsis_mask"):
        return [None]
    if op.get_attr("shrink_axis_mask") & 1:
        if not -len(known) <= begin < len(known):
            return [None]
        picked = [known[begin]]
    else:
        first = None if op.get_attr("begin_mask") & 1 else begin
        last = None if op.get_attr("end_mask") & 1 else end
        picked = known[first:last:stride]
    return of_sizes(kinds, op.outputs[0], picked)


def _place_after_slice(op: Any, axis: int) -> int | None:
    """Where dimension `axis` of the input lies in the output of a slice that takes all of it.

    Else None.
    """
    count = op.inputs[1].shape.num_elements()
    if count is None:
        return None
    masks = {
        name: op.get_attr(f"{name}_mask")
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    is_new = [bool(masks["new_axis"] >> i & 1) for i in range(count)]
    ellipses = [i for i in range(count) if masks["ellipsis"] >> i & 1]
    if len(ellipses) > 1:
        return None
    taken = sum(not new for i, new in enumerate(is_new) if i not in ellipses)
    dim = place = 0
    for i in range(count):
        if i in ellipses:
            through = op.inputs[0].shape.rank - taken
            if dim <= axis < dim + through:
                return place + axis - dim
            dim, place = dim + through, place + through
        elif is_new[i]:
            place += 1
        else:
            is_shrunk = bool(masks["shrink_axis"] >> i & 1)
            if dim == axis:
                return place if not is_shrunk and _takes_all(op, i, masks) else None
            dim, place = dim + 1, place + (not is_shrunk)
    return place + axis - dim


def _takes_all(op: Any, i: int, masks: dict[str, int]) -> bool:
    begin, stride = constant(op.inputs[1]), constant(op.inputs[3])
    starts = masks["begin"] >> i & 1 or (begin is not None and begin[i] == 0)
    return bool(starts and masks["end"] >> i & 1 and stride is not None and stride[i] == 1)


def slice_(kinds: Kinds, op: Any) -> Found:
    """The output is rows if it has all rows, and the same elements of each."""
    known = kinds.sizes(op.inputs[0]) if op.inputs[0].shape.rank == 1 else None
    bounds = [constant(t) for t in op.inputs[1:]]
    if known is not None and all(b is not None and b.size == 1 for b in bounds):
        first, count = (int(b.ravel()[0]) for b in bounds)
        last = len(known) if count == -1 else first + count
        return of_sizes(kinds, op.outputs[0], known[first:last])
    axis, begin, extent = rows_of(kinds, op), constant(op.inputs[1]), kinds.sizes(op.inputs[2])
    if kinds.of(op, 0) == FOLLOWED:
        return [_taken_apart(kinds, op)]
    if axis is None:
        return [selected(kinds, op)]
    if begin is None or extent is None:
        return [None]
    if any(k not in (SAME, SIZES) for k in kinds.of_inputs(op)[1:]):
        return [None]
    takes_all = begin[axis] == 0 and extent[axis] == -1 and COUNT not in extent
    return [rows(axis) if takes_all else None]


def _taken_apart(kinds: Kinds, op: Any) -> Kind | None:
    """The kind of a slice that takes the rows alone, or what follows them alone."""
    begin, extent = kinds.sizes(op.inputs[1]), kinds.sizes(op.inputs[2])
    if not begin or not extent or any(k not in (SAME, SIZES) for k in kinds.of_inputs(op)[1:]):
        return None
    if COUNT in begin[1:] or COUNT in extent[1:]:
        return None
    made, taken = kinds.dims(op.outputs[0]), kinds.dims(op.inputs[0])
    is_all = [b == 0 and e == -1 for b, e in zip(begin, extent, strict=True)]
    kinds.set_dims(
        op.outputs[0], [t if a else m for m, t, a in zip(made, taken, is_all, strict=True)]
    )
    if begin[0] == 0 and extent[0] == COUNT:
        return rows(0)
    return SAME if begin[0] == COUNT and extent[0] == -1 else None


def gather(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the indices are rows and the params are shared, or the reverse."""
    known, numbers = kinds.sizes(op.inputs[0]), constant(op.inputs[1])
    if known is not None and op.inputs[0].shape.rank == 1 and numbers is not None:
        picked = [int(i) for i in np.ravel(numbers)]
        if numbers.ndim <= 1 and all(0 <= i < len(known) for i in picked):
            return of_sizes(kinds, op.outputs[0], [known[i] for i in picked])
    axis = constant(op.inputs[2]) if len(op.inputs) > 2 else np.array(0)
    depth = op.inputs[0].shape.rank
    if axis is None or depth is None:
        return [None]
    return [_gathered(kinds, op, int(axis) % depth)]


def _gathered(kinds: Kinds, op: Any, axis: int) -> Kind | None:  # noqa: PLR0911 - a rule each
    """The kind of what is gathered along `axis`."""
    params, indices = kinds.of(op, 0), kinds.of(op, 1)
    extra = op.inputs[1].shape.rank
    if op.type == "GatherV2" and op.get_attr("batch_dims"):
        is_pair = params == indices == rows(0) and op.get_attr("batch_dims") > 0 and axis > 0
        return rows(0) if is_pair else None
    if params == SAME and indices == FOLLOWED and axis == 0:
        return FOLLOWED
    if params == SAME and indices is not None and indices.is_rows:
        return rows(axis + indices.axis, indices.each)
    if params is None or not params.is_rows:
        return selected(kinds, op)
    if indices != SAME or params.axis == axis:
        return None
    if params.axis < axis:
        return params
    return None if extra is None else rows(params.axis + extra - 1)


def gather_nd(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the elements are shared and the indices are rows."""
    axis, last = rows_of(kinds, op, 1), op.inputs[1].shape.rank
    fits = kinds.of(op, 0) == SAME and axis is not None and axis < last - 1
    return [rows(axis) if fits and axis is not None else None]


RULES: dict[str, Rule] = {
    "StridedSlice": strided_slice,
    "Slice": slice_,
    "GatherV2": gather,
    "Gather": gather,
    "GatherNd": gather_nd,
}
