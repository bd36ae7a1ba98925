"""Rules for the ops that arrange elements; see `rule_table`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from autodist.graph.kinds.kind import (
    COUNT,
    FOLLOWED,
    MEAN,
    REDUCED,
    SAME,
    SUM,
    Count,
    Kind,
    merged,
    rows,
)
from autodist.graph.kinds.kinds import Kinds, Rule
from autodist.graph.kinds.rules.shapes.size_rules import Product, constant, of_sizes, rows_of
from autodist.graph.kinds.rules.shapes.slice_rules import selected
from autodist.graph.original.variables.roles import size_of

Found = list[Kind | None]


def reshape(kinds: Kinds, op: Any) -> Found:  # noqa: PLR0911 - a rule each
    """The output is rows if the elements of each row stay together; a reduction stays one."""
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
    """What a product of sizes is made of: a number, and sizes that are not known.

    None where a size is no size.
    """
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
    """Returns two lists of sizes without the equal sizes at their ends."""
    while before and after and before[-1] == after[-1] and before[-1] is not None:
        before, after = before[:-1], after[:-1]
    return before, after


def _regrouped(
    each: tuple[Any, ...] | None, before: list[Any], after: list[Any]
) -> tuple[Any, ...] | None:
    """The number of rows per row of the batch when dimensions join or leave dimension 0."""
    before, after = _without_common(before, after)
    if each is not None and after and not before and each[-len(after) :] == tuple(after):
        return each[: -len(after)]
    if each is None or (after and after != [1]):
        return None
    return (*each, *before)


def _remerged(kind: Kind, asked: list[Any], before: list[Any]) -> Kind | None:
    """The kind of rows not along dimension 0 that are merged with outer dimensions, or split."""
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
    """The output is rows if the op does not remove their dimension."""
    kind, dims = kinds.of(op, 0), list(op.get_attr("squeeze_dims"))
    if kind in REDUCED:
        return [kind]
    axis, count = rows_of(kinds, op), op.inputs[0].shape.rank
    if axis is None or not dims:
        return [None]
    dims = [d % count for d in dims]
    return [None if axis in dims else rows(axis - sum(d < axis for d in dims))]


def expand_dims(kinds: Kinds, op: Any) -> Found:
    """The output is rows; their dimension may move by one."""
    count = op.inputs[0].shape.rank

    def moved(axis: int, where: Any) -> int:
        at = int(where.ravel()[0]) % (count + 1)
        return axis + int(at <= axis)

    return _rows_moved(kinds, op, moved)


def transpose(kinds: Kinds, op: Any) -> Found:
    """The output is rows along the dimension that theirs becomes."""

    def moved(axis: int, order: Any) -> int:
        dims = kinds.dims(op.inputs[0])
        places = [int(i) % len(dims) for i in order]
        kinds.set_dims(op.outputs[0], [dims[i] for i in places])
        return places.index(axis)

    return _rows_moved(kinds, op, moved)


def _rows_moved(kinds: Kinds, op: Any, moved: Callable[[int, Any], int]) -> Found:
    """The output is rows along another dimension; of a reduction it is that reduction.

    Args:
        kinds: The kinds of the tensors before.
        op: The op; its input 1 says how dimensions move.
        moved: Returns the new dimension of the rows, from their dimension and the constant input 1.
    """
    kind, how = kinds.of(op, 0), constant(op.inputs[1])
    if kind in REDUCED and kinds.of(op, 1) == SAME:
        return [kind]
    axis = rows_of(kinds, op)
    if axis is None or how is None:
        return [None]
    return [rows(moved(axis, how))]


def pack(kinds: Kinds, op: Any) -> Found:
    """The output is rows if all inputs are rows along one dimension; of sizes it is sizes."""
    if all(t.shape.rank == 0 for t in op.inputs):
        reduced = _of_parts(kinds.of_inputs(op))
        if reduced is not None and not op.outputs[0].dtype.is_integer:
            return [reduced]
        sizes = [
            (kinds.sizes(t) or [None])[0] if kinds.of(op, i) in (SAME, SUM) else ""
            for i, t in enumerate(op.inputs)
        ]
        counted = all(kinds.of(op, i) == SAME or s == COUNT for i, s in enumerate(sizes))
        return of_sizes(kinds, op.outputs[0], sizes) if counted else [None]
    axes = {rows_of(kinds, op, i) for i in range(len(op.inputs))}
    axis = axes.pop() if len(axes) == 1 else None
    if axis is None or op.outputs[0].shape.rank is None:
        return [_of_parts(kinds.of_inputs(op))]
    at = op.get_attr("axis") % op.outputs[0].shape.rank
    return [rows(axis + (at <= axis))]


def _of_parts(found: list[Kind | None]) -> Kind | None:
    """The kind of several tensors side by side, if all are reductions or shared."""
    if MEAN in found and set(found) <= {MEAN, SAME}:
        return MEAN
    kinds = set(found)
    return kinds.pop() if len(kinds) == 1 and found[0] in REDUCED else None


def unpack(kinds: Kinds, op: Any) -> Found:
    """The outputs are rows if the op unpacks another dimension; of sizes they are single sizes."""
    known = kinds.sizes(op.inputs[0])
    if known is not None and len(known) == len(op.outputs):
        return [of_sizes(kinds, t, [s])[0] for t, s in zip(op.outputs, known, strict=True)]
    axis = rows_of(kinds, op)
    if axis is None:
        return [selected(kinds, op)] * len(op.outputs)
    at = op.get_attr("axis") % op.inputs[0].shape.rank
    return [None if at == axis else rows(axis - (at < axis))] * len(op.outputs)


def concat(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the op joins rows along another dimension; of sizes it is sizes."""
    parts, where = op.inputs[:-1], constant(op.inputs[-1])
    if all(t.shape.rank == 1 and t.dtype.is_integer for t in parts):
        known = [kinds.sizes(t) for t in parts]
        if all(s is not None for s in known):
            return of_sizes(kinds, op.outputs[0], [s for part in known for s in part or []])
    axes = {rows_of(kinds, op, i) for i in range(len(parts))}
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
    """The outputs are rows if the op splits another dimension."""
    at, of = (0, 1) if op.type == "Split" else (2, 0)
    axis, where = rows_of(kinds, op, of), constant(op.inputs[at])
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


def one_hot(kinds: Kinds, op: Any) -> Found:
    """The output is rows; their dimension may move by one."""
    axis = rows_of(kinds, op)
    if axis is None or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [None]
    at = op.get_attr("axis") % (op.inputs[0].shape.rank + 1)
    return [rows(axis + (at <= axis))]


def tile(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the op repeats other dimensions, or a shared value for each row."""
    times = kinds.sizes(op.inputs[1])
    axis = rows_of(kinds, op)
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
    """The output is rows if the op pads other dimensions."""
    axis, margins = rows_of(kinds, op), constant(op.inputs[1])
    if axis is None or margins is None or any(k != SAME for k in kinds.of_inputs(op)[1:]):
        return [None]
    return [None if margins[axis].any() else rows(axis)]


def fill(kinds: Kinds, op: Any) -> Found:
    """The output is rows if one size is the number of rows, and the value is shared."""
    sizes = kinds.sizes(op.inputs[0])
    if sizes is None or sizes.count(COUNT) != 1 or kinds.of(op, 1) != SAME:
        return [None]
    return [rows(sizes.index(COUNT))]


def broadcast_to(kinds: Kinds, op: Any) -> Found:
    """The output is rows if one size is the number of rows, and the input is rows or shared."""
    sizes = kinds.sizes(op.inputs[1])
    if sizes is None or sizes.count(COUNT) != 1 or op.inputs[0].shape.rank is None:
        return [None]
    place = sizes.index(COUNT)
    inner = place - (len(sizes) - op.inputs[0].shape.rank)
    if kinds.of(op, 0) == SAME:
        return [rows(place) if inner < 0 or size_of(op.inputs[0], inner) == 1 else None]
    return [rows(place) if rows_of(kinds, op) == inner else None]


def select(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the condition and the values are rows; a vector chooses whole rows."""
    axes = [rows_of(kinds, op, i) for i in range(3)]
    ranks = [t.shape.rank for t in op.inputs]
    if kinds.of(op, 0) == SAME and ranks[0] is not None:
        found = kinds.of_inputs(op)[1:]
        is_whole = ranks[0] == 0 and found[0] == found[1]
        return [found[0] if is_whole and axes[1] is not None else _of_parts(found)]
    fits = axes[0] is not None and len(set(axes)) == 1
    fits = fits and (ranks[0] == ranks[1] or (ranks[0] == 1 and axes[0] == 0))
    return [rows(axes[0]) if fits and axes[0] is not None else None]


def _keeping_sizes(rule: Rule) -> Rule:
    """The rule of an op that makes a vector of sizes of a vector or scalar of them.

    `rule` for anything else.
    """

    @functools.wraps(rule)
    def found(kinds: Kinds, op: Any) -> Found:
        sizes = kinds.sizes(op.inputs[0]) or []
        if COUNT in sizes and op.outputs[0].shape.rank in (0, 1):
            return of_sizes(kinds, op.outputs[0], sizes)
        return rule(kinds, op)

    return found


def reverse_sequence(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the op reverses each row up to a length of its own."""
    axis, by_row = rows_of(kinds, op), kinds.of(op, 1) == rows(0)
    fits = (
        axis is not None and by_row and op.get_attr("batch_dim") % op.inputs[0].shape.rank == axis
    )
    return [rows(axis) if fits and axis is not None else None]


RULES: dict[str, Rule] = {
    "ReverseSequence": reverse_sequence,
    "Reshape": _keeping_sizes(reshape),
    "Squeeze": squeeze,
    "ExpandDims": _keeping_sizes(expand_dims),
    "Transpose": transpose,
    "Pack": pack,
    "Unpack": unpack,
    "ConcatV2": concat,
    "Split": split,
    "SplitV": split,
    "OneHot": one_hot,
    "Tile": tile,
    "Pad": pad,
    "PadV2": pad,
    "MirrorPad": pad,
    "Fill": fill,
    "BroadcastTo": broadcast_to,
    "Select": select,
}
