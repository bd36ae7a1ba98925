"""Rules for tensor arrays of the v1 control flow.

A tensor array is behind a handle, and which of its writes a read sees is said by the graph as a
whole. So what is known of one holds for all that is ever written into it (`Stores`).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.kinds.elements import (
    INDEX,
    ITEMS,
    STORE,
    Stores,
    concatenated,
    element_of,
    is_row_count,
    list_of,
    of_elements,
    stacked,
)
from autodist.graph.kinds.kind import ITEM, SAME, SUM, Count, Kind
from autodist.graph.kinds.kinds import Kinds, Rule
from autodist.graph.original.ops import op_types
from autodist.graph.original.ops.functions import handle_behind

Found = list[Kind | None]

_PARTS = frozenset(
    f"TensorArray{name}V3"
    for name in ("Scatter", "Gather", "Read", "Write", "Size", "Split", "Concat", "Close")
)


def array(kinds: Kinds, op: Any) -> Found:
    """The output is a tensor array, if every op that uses it has a rule."""
    stores = kinds.remembered(Stores)
    is_by_rows = is_row_count(kinds, op.inputs[0])
    if _escapes(kinds, op) or not (is_by_rows or kinds.of(op, 0) == SAME):
        stores.write(op, None)
        return [None, None]
    if is_by_rows:
        stores.write(op, ITEMS)
    return [STORE, STORE]


def _escapes(kinds: Kinds, made: Any) -> bool:
    """Whether an op without a rule takes the handle of a tensor array."""
    if getattr(made.graph, "outer_graph", None) is not None:
        return True
    pending, seen = [made.outputs[0]], set()
    while pending:
        for op in pending.pop().consumers():
            if op in seen or not kinds.analysis.is_forward(op):
                continue
            seen.add(op)
            if op.type in op_types.HANDLE_PASSES:
                pending.extend(t for t in op.outputs if t.dtype == tf.resource)
            elif op.type not in _PARTS:
                return True
    return False


def _array(kinds: Kinds, op: Any) -> Any:
    """The op that made the tensor array that `op` works on; None where nothing is known of it."""
    made = handle_behind(op.inputs[0])
    flow = op.inputs[-1]
    is_known = kinds.of(op, 0) == kinds.of(op, len(op.inputs) - 1) == STORE
    return made if made.type == "TensorArrayV3" and flow.dtype == tf.float32 and is_known else None


def _add(kinds: Kinds, op: Any, kind: Kind | None) -> Found:
    """Records the kind of the elements that an op writes into an array; returns the op's kinds."""
    made = _array(kinds, op)
    behind = handle_behind(op.inputs[0])
    kinds.remembered(Stores).write(behind, kind if made is not None else None)
    is_known = made is not None and kinds.remembered(Stores).kinds[made] is not None
    return [STORE if is_known else None]


def _elements(kinds: Kinds, op: Any) -> Kind | None:
    made = _array(kinds, op)
    return None if made is None else kinds.remembered(Stores).read(made)


def _write(kinds: Kinds, op: Any) -> Found:
    index, item = kinds.of(op, 1), kinds.of(op, 2)
    if index == INDEX:
        return _add(kinds, op, ITEMS if item in (ITEM, SAME) and _is_by_rows(kinds, op) else None)
    return _add(kinds, op, list_of(item) if index == SAME else None)


def _is_by_rows(kinds: Kinds, op: Any) -> bool:
    made = handle_behind(op.inputs[0])
    return made.type == "TensorArrayV3" and is_row_count(kinds, made.inputs[0])


def _scatter(kinds: Kinds, op: Any) -> Found:
    found = of_elements(kinds.of(op, 2), kinds.of(op, 1))
    return _add(kinds, op, None if found == ITEMS and not _is_by_rows(kinds, op) else found)


def _split(kinds: Kinds, op: Any) -> Found:
    return _add(kinds, op, of_elements(kinds.of(op, 1), kinds.of(op, 2)))


def _read(kinds: Kinds, op: Any) -> Found:
    return [element_of(_elements(kinds, op), kinds.of(op, 1))]


def _gather(kinds: Kinds, op: Any) -> Found:
    return [stacked(_elements(kinds, op), kinds.of(op, 1))]


def _concat(kinds: Kinds, op: Any) -> Found:
    found = concatenated(_elements(kinds, op))
    return [found, SAME if found is not None else None]


def _size(kinds: Kinds, op: Any) -> Found:
    found = _elements(kinds, op)
    if found == ITEMS:
        kinds.set_sizes(op.outputs[0], [Count.of(())])
        return [SUM]
    return [SAME if found is not None else None]


RULES: dict[str, Rule] = {
    "TensorArrayV3": array,
    "TensorArrayWriteV3": _write,
    "TensorArrayScatterV3": _scatter,
    "TensorArraySplitV3": _split,
    "TensorArrayReadV3": _read,
    "TensorArrayGatherV3": _gather,
    "TensorArrayConcatV3": _concat,
    "TensorArraySizeV3": _size,
}
