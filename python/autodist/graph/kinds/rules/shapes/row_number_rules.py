"""Rules for row numbers: `tf.range(rows)`, and what indexes rows by them; see `rule_table`.

A replica counts its rows from 0, and one node from the first row of the batch. Both select the same
rows if the indexed tensor has as many rows per row of the batch as the numbers grow by.
"""

from __future__ import annotations

from typing import Any

from autodist.graph.kinds.kind import COUNT, SAME, Kind, rows
from autodist.graph.kinds.kinds import Kinds, Rule
from autodist.graph.kinds.rules.shapes.size_rules import constant

Found = list[Kind | None]
# Ops that move elements, or add to them what all share or what belongs to their row.
_ARRANGE = frozenset(
    {"Reshape", "ExpandDims", "Squeeze", "StridedSlice", "Tile", "Transpose", "Cast", "Identity", "BroadcastTo"}
)  # fmt: skip
_SUMS = frozenset({"Add", "AddV2", "Sub"})


def _numbers(axis: int, outer: tuple[Any, ...]) -> Kind:
    return Kind("numbers", axis, outer)


def _is_numbers(kind: Kind | None) -> bool:
    return kind is not None and kind.name == "numbers"


def count_up(kinds: Kinds, op: Any) -> Found:
    """The output is row numbers if the op counts from 0 to the number of rows, in steps of 1."""
    start, step = constant(op.inputs[0]), constant(op.inputs[2])
    sizes = kinds.sizes(op.inputs[1])
    if start is None or step is None or start != 0 or step != 1 or sizes != [COUNT]:
        return [None]
    each = sizes[0].each
    return [None if each is None else _numbers(0, each)]


def computed(kinds: Kinds, op: Any) -> Found:
    """The kinds of what an op computes from row numbers, or selects by them."""
    found = kinds.of_inputs(op)
    outer = next(k.outer for k in found if k is not None and k.name in ("numbers", "indices"))
    if op.type in ("Pack", "ConcatV2"):
        return [_columns(kinds, op, found, outer)]
    if op.type == "GatherV2":
        return [_gathered(op, found)]
    if op.type == "GatherNd":
        return [_gathered_nd(op, found)]
    is_first = _is_numbers(found[0]) and not any(_is_numbers(k) for k in found[1:])
    is_second = len(found) == 2 and _is_numbers(found[1]) and not _is_numbers(found[0])
    if op.type == "Mul" and (is_first or is_second):
        factor = 1 if is_first else 0
        sizes = kinds.sizes(op.inputs[factor])
        if (
            found[factor] != SAME
            or op.inputs[factor].shape.rank != 0
            or not sizes
            or sizes[0] is None
        ):
            return [None]
        outer = (*outer, *sizes)
    elif not (
        (op.type in _ARRANGE and is_first)
        or (op.type in _SUMS and (is_first or (is_second and op.type != "Sub")))
    ):
        return [None]
    rule = kinds.rule(op.type)
    moved = kinds.with_numbers_as_rows(rule, op)[0] if rule is not None else None
    return [_numbers(moved.axis, outer) if moved is not None and moved.is_rows else None]


def _columns(
    kinds: Kinds, op: Any, found: list[Kind | None], outer: tuple[Any, ...]
) -> Kind | None:
    """The kind of row numbers side by side with other indices, for `tf.gather_nd`."""
    columns = found if op.type == "Pack" else found[:-1]
    if not _is_numbers(columns[0]) or any(_is_numbers(k) for k in columns[1:]):
        return None
    rank = op.outputs[0].shape.rank
    where = op.get_attr("axis") if op.type == "Pack" else constant(op.inputs[-1])
    if rank is None or where is None or int(where) % rank != rank - 1:
        return None
    if op.type == "ConcatV2" and op.inputs[0].shape.as_list()[-1] != 1:
        return None
    rule = kinds.rule(op.type)
    moved = kinds.with_numbers_as_rows(rule, op)[0] if rule is not None else None
    return Kind("indices", moved.axis, outer) if moved is not None and moved.is_rows else None


def _gathered(op: Any, found: list[Kind | None]) -> Kind | None:
    params, indices = found[:2]
    axis = constant(op.inputs[2])
    if params != rows(0) or not _is_numbers(indices) or axis != 0 or op.get_attr("batch_dims"):
        return None
    assert params is not None
    assert indices is not None
    return rows(indices.axis) if params.each == indices.outer else None


def _gathered_nd(op: Any, found: list[Kind | None]) -> Kind | None:
    params, indices = found
    last = op.inputs[1].shape.rank
    if params != rows(0) or indices is None or last is None or indices.axis == last - 1:
        return None
    assert params is not None
    is_column = indices.name == "indices" or (
        _is_numbers(indices) and op.inputs[1].shape.as_list()[-1] == 1
    )
    return rows(indices.axis) if is_column and params.each == indices.outer else None


RULES: dict[str, Rule] = {"Range": count_up, "numbers": computed}
