"""Rules for tensor lists; `elements` says what is known of a list."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.kinds.elements import (
    EMPTY,
    ITEMS,
    NUMBERS,
    ListKind,
    concatenated,
    element_of,
    is_row_count,
    join,
    of_elements,
    stacked,
    with_element,
)
from autodist.graph.kinds.kind import SAME, SUM, Count, Kind, rows
from autodist.graph.kinds.kinds import Kinds, Rule

Found = list[Kind | None]


def _list(kinds: Kinds, op: Any, index: int = 0) -> Kind | None:
    """What is known of the list that is an input of `op`."""
    return list_behind(kinds.of(op, index), op.inputs[index])


def list_behind(kind: Kind | None, tensor: Any) -> Kind | None:
    """The kind of a tensor; of a list that all replicas share, the kind of its elements too.

    Args:
      kind: of the tensor, as found.
      tensor: the tensor.
    """
    if kind != SAME or tensor.dtype != tf.variant:
        return kind
    op = tensor.op
    while op.type == "Identity":
        op = op.inputs[0].op
    is_new = op.type in ("EmptyTensorList", "TensorListReserve")
    return EMPTY if is_new else ListKind("list", element=SAME)


def _knows_shape(kinds: Kinds, op: Any, index: int) -> bool:
    """Whether all replicas' list elements have one shape, apart from the number of rows."""
    return kinds.of(op, index) == SAME or kinds.sizes(op.inputs[index]) is not None


def _made_list(kinds: Kinds, op: Any) -> Found:
    if not _knows_shape(kinds, op, 0):
        return [None]
    if op.type == "TensorListReserve" and is_row_count(kinds, op.inputs[1]):
        return [ITEMS]
    return [EMPTY if kinds.of(op, 1) == SAME else None]


def _from_tensor(kinds: Kinds, op: Any) -> Found:
    kind = kinds.of(op, 0)
    counts = NUMBERS if kind == rows(0) else SAME
    return [of_elements(kind, counts) if _knows_shape(kinds, op, 1) else None]


def _stack_list(kinds: Kinds, op: Any) -> Found:
    found = _list(kinds, op)
    if not _knows_shape(kinds, op, 1) or (found == ITEMS and op.get_attr("num_elements") != -1):
        return [None]
    return [stacked(found, NUMBERS if found == ITEMS else SAME)]


def _get_item(kinds: Kinds, op: Any) -> Found:
    return [element_of(_list(kinds, op), kinds.of(op, 1)) if _knows_shape(kinds, op, 2) else None]


def _set_item(kinds: Kinds, op: Any) -> Found:
    return [with_element(_list(kinds, op), kinds.of(op, 1), kinds.of(op, 2))]


def _push_back(kinds: Kinds, op: Any) -> Found:
    return [with_element(_list(kinds, op), SAME, kinds.of(op, 1))]


def _pop_back(kinds: Kinds, op: Any) -> Found:
    found = _list(kinds, op)
    if found == ITEMS or not isinstance(found, ListKind) or not _knows_shape(kinds, op, 1):
        return [None, None]
    return [found, found.element]


def _list_length(kinds: Kinds, op: Any) -> Found:
    found = _list(kinds, op)
    if found == ITEMS:
        kinds.set_sizes(op.outputs[0], [Count.of(())])
        return [SUM]
    return [SAME if isinstance(found, ListKind) else None]


def _resize(kinds: Kinds, op: Any) -> Found:
    found = _list(kinds, op)
    fits = isinstance(found, ListKind) and found != ITEMS and kinds.of(op, 1) == SAME
    return [found if fits else None]


def _gather_list(kinds: Kinds, op: Any) -> Found:
    fits = _knows_shape(kinds, op, 2)
    return [stacked(_list(kinds, op), kinds.of(op, 1)) if fits else None]


def _scatter_list(kinds: Kinds, op: Any) -> Found:
    fits = _knows_shape(kinds, op, 2) and all(k == SAME for k in kinds.of_inputs(op)[3:])
    found = of_elements(kinds.of(op, 0), kinds.of(op, 1)) if fits else None
    return [None if found == ITEMS else found]


def _scatter_into_list(kinds: Kinds, op: Any) -> Found:
    found, added = _list(kinds, op), of_elements(kinds.of(op, 1), kinds.of(op, 2))
    is_known = isinstance(found, ListKind) and added is not None and ITEMS not in (found, added)
    return [join(found, added) if is_known else None]


def _concat_list(kinds: Kinds, op: Any) -> Found:
    fits = _knows_shape(kinds, op, 1) and kinds.of(op, 2) == SAME
    found = concatenated(_list(kinds, op)) if fits else None
    return [found, SAME if found is not None else None]


def _split_list(kinds: Kinds, op: Any) -> Found:
    fits = _knows_shape(kinds, op, 1)
    return [of_elements(kinds.of(op, 0), kinds.of(op, 2)) if fits else None]


RULES: dict[str, Rule] = {
    "EmptyTensorList": _made_list,
    "TensorListReserve": _made_list,
    "TensorListFromTensor": _from_tensor,
    "TensorListStack": _stack_list,
    "TensorListGetItem": _get_item,
    "TensorListSetItem": _set_item,
    "TensorListPushBack": _push_back,
    "TensorListPopBack": _pop_back,
    "TensorListLength": _list_length,
    "TensorListResize": _resize,
    "TensorListGather": _gather_list,
    "TensorListScatterV2": _scatter_list,
    "TensorListScatterIntoExistingList": _scatter_into_list,
    "TensorListConcatV2": _concat_list,
    "TensorListSplit": _split_list,
}
