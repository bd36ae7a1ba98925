"""Rules for the ops that arrange elements, and for the sizes of dimensions; see `kind_rules`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.graph.kinds import (
    COUNT,
    FOLLOWED,
    MEAN,
    REDUCED,
    SAME,
    SIZES,
    SUM,
    Count,
    Kind,
    Kinds,
    Rule,
    merged,
    rows,
)
from autodist.graph.roles import size_of

Found = list[Kind | None]


def _rows_of(kinds: Kinds, op: Any, index: int = 0) -> int | None:
    """The dimension along which the rows of an input lie; None where it has none, or an unknown rank."""
    kind = kinds.of(op, index)
    is_known = kind is not None and kind.is_rows and op.inputs[index].shape.rank is not None
    return kind.axis if kind is not None and is_known else None


@dataclasses.dataclass(frozen=True)
class Product:
    """A size that is the product of others."""

    factors: tuple[Any, ...]


_FOLDED = {
    "Sub": np.subtract,
    "Add": np.add,
    "AddV2": np.add,
    "Mul": np.multiply,
    "Neg": np.negative,
}


def constant(tensor: Any) -> Any:  # noqa: PLR0911 - a type of ops each
    """The value of a tensor that depends on constants and known ranks alone, as an array; None for any other."""
    value = tf.get_static_value(tensor)
    if value is not None:
        return np.asarray(value)
    op = tensor.op
    if op.type in ("Identity", "Cast") and tensor.dtype.is_integer:
        return constant(op.inputs[0])
    if op.type == "Pack" and tensor.dtype.is_integer and op.get_attr("axis") == 0:
        parts = [constant(t) for t in op.inputs]
        return None if any(p is None for p in parts) else np.stack(parts)
    if op.type in ("ConcatV2", "Range") and tensor.dtype.is_integer:
        parts = [constant(t) for t in op.inputs]
        if any(p is None for p in parts):
            return None
        return np.concatenate(parts[:-1]) if op.type == "ConcatV2" else np.arange(*map(int, parts))
    if op.type not in _FOLDED or not tensor.dtype.is_integer:
        return None
    inputs = [constant(t) for t in op.inputs]
    return None if any(i is None for i in inputs) else np.asarray(_FOLDED[op.type](*inputs))


# Sizes.


def shape(kinds: Kinds, op: Any) -> Found:
    """The sizes of rows: the number of rows, and sizes that all replicas share."""
    found: Found = []
    for index, (tensor, made) in enumerate(zip(op.inputs, op.outputs, strict=True)):
        axis = _rows_of(kinds, op, index)
        if axis is None:
            kind = kinds.of(op, index)
            # What is reduced has one shape on all replicas; of anything else nothing is known.
            is_same = kind in REDUCED or kind in (SAME, SIZES)
            if kind is None or kind.name != "merged":
                found.append(SAME if is_same else None)
                continue
            axis = kind.axis
        sizes = kinds.dims(tensor)
        kind = kinds.of(op, index)
        sizes[axis] = Count.of(kind.each if kind is not None and kind.is_rows else None)
        kinds.set_sizes(made, sizes)
        found.append(SIZES)
    return found


def size(kinds: Kinds, op: Any) -> Found:
    """The number of elements of rows."""
    if _rows_of(kinds, op) is None:
        return [None]
    kinds.set_sizes(op.outputs[0], [COUNT])
    return [SUM]


def rank(kinds: Kinds, op: Any) -> Found:
    """The number of dimensions."""
    is_known = kinds.of(op, 0) is not None or op.inputs[0].shape.rank is not None
    return [SAME if is_known else None]


def _of_sizes(kinds: Kinds, made: Any, sizes: list[Any]) -> Found:
    """The kind of a tensor of sizes, which it remembers."""
    kinds.set_sizes(made, sizes)
    if COUNT not in sizes:
        return [SAME]
    return [SUM if made.shape.rank == 0 else SIZES]


# Arrangements.


def reshape(kinds: Kinds, op: Any) -> Found:  # noqa: PLR0911 - a rule each
    """Rows that stay together; anything reduced."""
    _note_dims(kinds, op)
    kind = kinds.of(op, 0)
    if kind in REDUCED and kinds.of(op, 1) == SAME:
        return [kind]
    asked, before = (
        kinds.sizes(op.inputs[1]),
        op.inputs[0].shape.as_list() if op.inputs[0].shape.rank else None,
    )
    if kind is not None and asked and before is not None and kind != rows(0):
        return [_remerged(kind, asked, kinds.dims(op.inputs[0]))]
    if kind != rows(0) or not asked or before is None:
        return [None]
    if asked[0] == COUNT and COUNT not in asked[1:]:
        return [rows(0, asked[0].each)]
    if asked[0] != -1:
        return [None]
    dims = kinds.dims(op.inputs[0])[1:]
    if _factors(dims) == _factors(asked[1:]):
        return [rows(0, kind.each)]
    each = _regrouped(kind.each, dims, asked[1:])
    before, after = _without_common(dims, asked[1:])
    if kind.each and after and not before and kind.each[-len(after) :] == tuple(after):
        return [rows(0, each)]
    if any(not isinstance(s, int) or s < 0 for s in after):
        return [None]
    size = int(np.prod(after, dtype=np.int64))
    # Each row must become whole rows: the elements of its last dimensions make some of them.
    known = 1
    for s in reversed(before):
        if not isinstance(s, int):
            break
        known *= s
        if known and size and known % size == 0:
            return [rows(0, each)]
    return [rows(0, each) if size == 1 else None]


def _note_dims(kinds: Kinds, op: Any) -> None:
    """Notes the sizes that a reshape asks for."""
    asked = kinds.sizes(op.inputs[1])
    if asked is not None and op.inputs[0].shape.rank and op.outputs[0].shape.rank == len(asked):
        own = kinds.dims(op.outputs[0])
        is_own = [s is None or s in (COUNT, -1) for s in asked]
        kinds.set_dims(
            op.outputs[0], [o if i else a for o, a, i in zip(own, asked, is_own, strict=True)]
        )


def _factors(sizes: list[Any]) -> tuple[int, list[Any]] | None:
    """What a product of sizes is made of: a number, and sizes that are not known; None where a size is no size."""
    number, others = 1, []
    pending = list(sizes)
    while pending:
        size = pending.pop()
        if isinstance(size, Product):
            pending.extend(size.factors)
        elif isinstance(size, int):
            number *= size
        else:
            others.append(size)
    if number <= 0 or None in others or COUNT in others:
        return None
    return number, sorted(others, key=lambda key: (id(key[0][0]), key[0][1], key[1]))


def _without_common(before: list[Any], after: list[Any]) -> tuple[list[Any], list[Any]]:
    """Two lists of sizes without the last ones that are equal."""
    while before and after and before[-1] == after[-1] and before[-1] is not None:
        before, after = before[:-1], after[:-1]
    return before, after


def _regrouped(
    each: tuple[Any, ...] | None, before: list[Any], after: list[Any]
) -> tuple[Any, ...] | None:
    """How many rows there are for each of the batch, where sizes behind dimension 0 become part of it or leave it."""
    before, after = _without_common(before, after)
    if each is not None and after and not before and each[-len(after) :] == tuple(after):
        return each[: -len(after)]
    if each is None or (after and after != [1]):
        return None
    return (*each, *before)


def _remerged(kind: Kind, asked: list[Any], before: list[Any]) -> Kind | None:
    """The kind of rows behind dimension 0 that are merged with what is in front of them, or taken apart from it."""
    if kind.is_rows:
        # All in front of the rows, and they, become dimension 0.
        if asked[0] == COUNT or (asked[0] == -1 and asked[1:] == before[kind.axis + 1 :]):
            is_merged = COUNT not in asked[1:] and asked[1:] == before[kind.axis + 1 :]
            return merged(0, tuple(before[: kind.axis])) if is_merged else None
        is_kept = asked[: kind.axis] == before[: kind.axis] and None not in before[: kind.axis]
        at = asked[kind.axis] if len(asked) > kind.axis else None
        if is_kept and at == -1:
            factors = _factors(before[kind.axis + 1 :])
            return kind if factors and factors == _factors(asked[kind.axis + 1 :]) else None
        if not is_kept or not isinstance(at, Count) or COUNT in asked[kind.axis + 1 :]:
            return None
        return rows(kind.axis, at.each)
    if kind.name != "merged" or kind.axis or None in kind.outer:
        return None
    count = len(kind.outer)
    fits = tuple(asked[:count]) == kind.outer and len(asked) > count and asked[count] == COUNT
    return rows(count) if fits and COUNT not in asked[count + 1 :] else None


def squeeze(kinds: Kinds, op: Any) -> Found:
    """Without dimensions that are not the rows'."""
    kind, dims = kinds.of(op, 0), list(op.get_attr("squeeze_dims"))
    if kind in REDUCED:
        return [kind]
    axis, count = _rows_of(kinds, op), op.inputs[0].shape.rank
    if axis is None or not dims:
        return [None]
    dims = [d % count for d in dims]
    return [None if axis in dims else rows(axis - sum(d < axis for d in dims))]


def expand_dims(kinds: Kinds, op: Any) -> Found:
    """With one more dimension."""
    kind, where = kinds.of(op, 0), constant(op.inputs[1])
    if kind in REDUCED and kinds.of(op, 1) == SAME:
        return [kind]
    axis = _rows_of(kinds, op)
    if axis is None or where is None:
        return [None]
    at = int(where.ravel()[0]) % (op.inputs[0].shape.rank + 1)
    return [rows(axis + (at <= axis))]


def transpose(kinds: Kinds, op: Any) -> Found:
    """With the dimensions in another order."""
    kind, order = kinds.of(op, 0), constant(op.inputs[1])
    if kind in REDUCED and kinds.of(op, 1) == SAME:
        return [kind]
    axis = _rows_of(kinds, op)
    if axis is None or order is None:
        return [None]
    places = [int(i) % op.inputs[0].shape.rank for i in order]
    dims = kinds.dims(op.inputs[0])
    kinds.set_dims(op.outputs[0], [dims[i] for i in places])
    return [rows(places.index(axis))]


def pack(kinds: Kinds, op: Any) -> Found:
    """Tensors of rows, or sizes, side by side."""
    if all(t.shape.rank == 0 for t in op.inputs):
        reduced = _of_parts(kinds.of_inputs(op))
        if reduced is not None and not op.outputs[0].dtype.is_integer:
            return [reduced]
        sizes = [
            (kinds.sizes(t) or [None])[0] if kinds.of(op, i) in (SAME, SUM) else ""
            for i, t in enumerate(op.inputs)
        ]
        counted = all(kinds.of(op, i) == SAME or s == COUNT for i, s in enumerate(sizes))
        return _of_sizes(kinds, op.outputs[0], sizes) if counted else [None]
    axes = {_rows_of(kinds, op, i) for i in range(len(op.inputs))}
    axis = axes.pop() if len(axes) == 1 else None
    if axis is None or op.outputs[0].shape.rank is None:
        return [_of_parts(kinds.of_inputs(op))]
    at = op.get_attr("axis") % op.outputs[0].shape.rank
    return [rows(axis + (at <= axis))]


def _of_parts(found: list[Kind | None]) -> Kind | None:
    """The kind of what reductions, and what all share, make side by side."""
    if MEAN in found and set(found) <= {MEAN, SAME}:
        return MEAN
    kinds = set(found)
    return kinds.pop() if len(kinds) == 1 and found[0] in REDUCED else None


def selected(kinds: Kinds, op: Any, of: int = 0) -> Kind | None:
    """The kind of some elements of a reduction, where all replicas select the same."""
    found = kinds.of_inputs(op)
    others = [k for i, k in enumerate(found) if i != of]
    return found[of] if found[of] in REDUCED and all(k == SAME for k in others) else None


def unpack(kinds: Kinds, op: Any) -> Found:
    """The parts along another dimension than that of the rows; single sizes."""
    known = kinds.sizes(op.inputs[0])
    if known is not None and len(known) == len(op.outputs):
        return [_of_sizes(kinds, t, [s])[0] for t, s in zip(op.outputs, known, strict=True)]
    axis = _rows_of(kinds, op)
    if axis is None:
        return [selected(kinds, op)] * len(op.outputs)
    at = op.get_attr("axis") % op.inputs[0].shape.rank
    return [None if at == axis else rows(axis - (at < axis))] * len(op.outputs)


def concat(kinds: Kinds, op: Any) -> Found:
    """Rows side by side, or sizes one after the other."""
    parts, where = op.inputs[:-1], constant(op.inputs[-1])
    if all(t.shape.rank == 1 and t.dtype.is_integer for t in parts):
        known = [kinds.sizes(t) for t in parts]
        if all(s is not None for s in known):
            return _of_sizes(kinds, op.outputs[0], [s for part in known for s in part or []])
    axes = {_rows_of(kinds, op, i) for i in range(len(parts))}
    axis = axes.pop() if len(axes) == 1 else None
    if kinds.of_inputs(op)[:-1] == [rows(0), SAME] and where is not None and int(where) == 0:
        return [FOLLOWED]
    if where is not None and parts[0].shape.rank and op.outputs[0].shape.rank:
        dims, own = kinds.dims(parts[0]), kinds.dims(op.outputs[0])
        at = int(where) % parts[0].shape.rank
        kinds.set_dims(op.outputs[0], [*dims[:at], own[at], *dims[at + 1 :]])
    if axis is not None and where is not None and int(where) % parts[0].shape.rank == axis == 0:
        each = {kinds.of(op, i).each for i in range(len(parts))}  # type: ignore[union-attr]
        is_one = len(each) == 1 and None not in each
        return [merged(0, (len(parts),), each.pop()) if is_one else None]
    if axis is None or where is None:
        return [_of_parts(kinds.of_inputs(op)[:-1]) if kinds.of(op, len(parts)) == SAME else None]
    return [None if int(where) % parts[0].shape.rank == axis else rows(axis)]


def split(kinds: Kinds, op: Any) -> Found:
    """`Split` and `SplitV` along another dimension than that of the rows."""
    at, of = (0, 1) if op.type == "Split" else (2, 0)
    axis, where = _rows_of(kinds, op, of), constant(op.inputs[at])
    fits = axis is not None and where is not None
    fits = fits and (op.type == "Split" or kinds.of(op, 1) == SAME)
    fits = fits and int(where) % op.inputs[of].shape.rank != axis
    kind = kinds.of(op, of)
    if kind is not None and kind.name == "merged" and where is not None:
        # As many parts as rows were put one behind the other.
        is_apart = op.type == "Split" and kind.outer == (len(op.outputs),)
        return [rows(0) if is_apart and int(where) == kind.axis == 0 else None] * len(op.outputs)
    found = rows(axis) if fits and axis is not None else selected(kinds, op, of)
    return [found] * len(op.outputs)


def strided_slice(kinds: Kinds, op: Any) -> Found:
    """All rows, and of each some elements; single sizes."""
    known = kinds.sizes(op.inputs[0]) if op.inputs[0].shape.rank == 1 else None
    bounds = [constant(t) for t in op.inputs[1:]]
    if known is not None and all(b is not None and b.size == 1 for b in bounds):
        return _slice_of_sizes(kinds, op, known, [int(b.ravel()[0]) for b in bounds])
    kind = kinds.of(op, 0)
    if kind is not None and kind.name == "merged":
        return [rows(0, kind.each) if _takes_a_half(kinds, op, kind) else None]
    axis = _rows_of(kinds, op)
    if axis is None or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [selected(kinds, op)]
    place = _place_after_slice(op, axis)
    return [None if place is None else rows(place)]


def _takes_a_half(kinds: Kinds, op: Any, kind: Kind) -> bool:
    """Whether a slice takes the first or the second of rows that were put one behind the other."""
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
    return _of_sizes(kinds, op.outputs[0], picked)


def _place_after_slice(op: Any, axis: int) -> int | None:
    """Where dimension `axis` of the input lies in the output of a slice that takes all of it; else None."""
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
    """All rows, and of each some elements."""
    known = kinds.sizes(op.inputs[0]) if op.inputs[0].shape.rank == 1 else None
    bounds = [constant(t) for t in op.inputs[1:]]
    if known is not None and all(b is not None and b.size == 1 for b in bounds):
        first, count = (int(b.ravel()[0]) for b in bounds)
        last = len(known) if count == -1 else first + count
        return _of_sizes(kinds, op.outputs[0], known[first:last])
    axis, begin, extent = _rows_of(kinds, op), constant(op.inputs[1]), kinds.sizes(op.inputs[2])
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
    """The kind of the rows, or of what follows them, where a slice takes one of both."""
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
    """Single sizes; rows of what all share, by numbers of the batch; columns of rows."""
    known, numbers = kinds.sizes(op.inputs[0]), constant(op.inputs[1])
    if known is not None and op.inputs[0].shape.rank == 1 and numbers is not None:
        picked = [int(i) for i in np.ravel(numbers)]
        if numbers.ndim <= 1 and all(0 <= i < len(known) for i in picked):
            return _of_sizes(kinds, op.outputs[0], [known[i] for i in picked])
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
    """Elements of what all share, by indices of the batch."""
    axis, last = _rows_of(kinds, op, 1), op.inputs[1].shape.rank
    fits = kinds.of(op, 0) == SAME and axis is not None and axis < last - 1
    return [rows(axis) if fits and axis is not None else None]


def one_hot(kinds: Kinds, op: Any) -> Found:
    """One more dimension."""
    axis = _rows_of(kinds, op)
    if axis is None or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [None]
    at = op.get_attr("axis") % (op.inputs[0].shape.rank + 1)
    return [rows(axis + (at <= axis))]


def tile(kinds: Kinds, op: Any) -> Found:
    """Rows repeated along other dimensions; what all share repeated for each row."""
    times = kinds.sizes(op.inputs[1])
    axis = _rows_of(kinds, op)
    if times is None:
        return [None]
    if axis is not None:
        if times[axis] != 1 or COUNT in times:
            return [None]
        dims = kinds.dims(op.inputs[0])
        made = [d if t == 1 else Product((d, t)) for d, t in zip(dims, times, strict=True)]
        own = kinds.dims(op.outputs[0])
        kinds.set_dims(
            op.outputs[0],
            [
                o if isinstance(m, Product) and None in m.factors else m
                for m, o in zip(made, own, strict=True)
            ],
        )
        kind = kinds.of(op, 0)
        return [rows(axis, None if kind is None else kind.each)]
    if COUNT not in times and kinds.of(op, 0) in REDUCED:
        return [selected(kinds, op)]
    if kinds.of(op, 0) == SAME and times.count(COUNT) == 1:
        place = times.index(COUNT)
        is_one = op.inputs[0].shape.rank is not None and size_of(op.inputs[0], place) == 1
        return [rows(place) if is_one else None]
    return [None]


def pad(kinds: Kinds, op: Any) -> Found:
    """Rows padded along other dimensions."""
    axis, margins = _rows_of(kinds, op), constant(op.inputs[1])
    if axis is None or margins is None or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [None]
    return [None if margins[axis].any() else rows(axis)]


def fill(kinds: Kinds, op: Any) -> Found:
    """One value for each row."""
    sizes = kinds.sizes(op.inputs[0])
    if sizes is None or sizes.count(COUNT) != 1 or kinds.of(op, 1) != SAME:
        return [None]
    return [rows(sizes.index(COUNT))]


def broadcast_to(kinds: Kinds, op: Any) -> Found:
    """Rows, or what all share, for each row."""
    sizes = kinds.sizes(op.inputs[1])
    if sizes is None or sizes.count(COUNT) != 1 or op.inputs[0].shape.rank is None:
        return [None]
    place = sizes.index(COUNT)
    inner = place - (len(sizes) - op.inputs[0].shape.rank)
    if kinds.of(op, 0) == SAME:
        return [rows(place) if inner < 0 or size_of(op.inputs[0], inner) == 1 else None]
    return [rows(place) if _rows_of(kinds, op) == inner else None]


def select(kinds: Kinds, op: Any) -> Found:
    """Rows chosen by rows; a vector chooses whole rows."""
    axes = [_rows_of(kinds, op, i) for i in range(3)]
    ranks = [t.shape.rank for t in op.inputs]
    if kinds.of(op, 0) == SAME and ranks[0] is not None:
        found = kinds.of_inputs(op)[1:]
        is_whole = ranks[0] == 0 and found[0] == found[1]
        return [found[0] if is_whole and axes[1] is not None else _of_parts(found)]
    fits = axes[0] is not None and len(set(axes)) == 1
    fits = fits and (ranks[0] == ranks[1] or (ranks[0] == 1 and axes[0] == 0))
    return [rows(axes[0]) if fits and axes[0] is not None else None]


def _keeping_sizes(rule: Rule) -> Rule:
    """The rule of an op that makes a vector of sizes of a vector or scalar of them; `rule` for anything else."""

    def found(kinds: Kinds, op: Any) -> Found:
        sizes = kinds.sizes(op.inputs[0]) or []
        if COUNT in sizes and op.outputs[0].shape.rank in (0, 1):
            return _of_sizes(kinds, op.outputs[0], sizes)
        return rule(kinds, op)

    return found


def reverse_sequence(kinds: Kinds, op: Any) -> Found:
    """Each row turned around up to a length of its own."""
    axis, by_row = _rows_of(kinds, op), kinds.of(op, 1) == rows(0)
    fits = (
        axis is not None and by_row and op.get_attr("batch_dim") % op.inputs[0].shape.rank == axis
    )
    return [rows(axis) if fits and axis is not None else None]


RULES: dict[str, Rule] = {
    "ReverseSequence": reverse_sequence,
    "Shape": shape,
    "ShapeN": shape,
    "Size": size,
    "Rank": rank,
    "Reshape": _keeping_sizes(reshape),
    "Squeeze": squeeze,
    "ExpandDims": _keeping_sizes(expand_dims),
    "Transpose": transpose,
    "Pack": pack,
    "Unpack": unpack,
    "ConcatV2": concat,
    "Split": split,
    "SplitV": split,
    "StridedSlice": strided_slice,
    "Slice": slice_,
    "GatherV2": gather,
    "Gather": gather,
    "GatherNd": gather_nd,
    "OneHot": one_hot,
    "Tile": tile,
    "Pad": pad,
    "PadV2": pad,
    "MirrorPad": pad,
    "Fill": fill,
    "BroadcastTo": broadcast_to,
    "Select": select,
}
