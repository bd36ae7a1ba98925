"""Rules for tensor arrays and tensor lists, in which a step keeps tensors; see `rule_table`.

A list has the kind of its elements (`ListKind`). Its elements have one kind, or nothing is known of any. A list in
which nothing was written is `EMPTY`: what is read there is zeros, which are rows or a reduction like the others.

A tensor array of the v1 control flow is behind a handle, and which of its writes a read sees is said by the graph as a
whole. So what is known of one holds for all that is ever written into it (`Stores`).

A list may also have one element for each row of the batch: its elements are *items* (`loop_rules`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from autodist.graph.kinds.kind import ITEM, MEAN, REDUCED, SAME, SUM, Count, Kind, rows
from autodist.graph.kinds.kinds import Kinds, Rule
from autodist.graph.original import op_types
from autodist.graph.original.functions import handle_behind

Found = list[Kind | None]

STORE = Kind("store")
"""The handle or the flow of a tensor array."""
INDEX = Kind("index")
"""In a loop over the rows: the number of the iteration, which is that of a row of the replica's own."""
_NUMBERS = Kind("numbers")
"""The numbers of the rows: 0, 1, ... to the number of rows of the batch."""


@dataclasses.dataclass(frozen=True)
class ListKind(Kind):
    """The kind of a tensor list.

    Attributes:
      element: the kind of its elements; None where it has none that were written.
    """

    element: Kind | None = None


EMPTY = ListKind("list")
_ITEMS = ListKind("list", element=ITEM)


def join(one: Kind | None, other: Kind | None) -> Kind | None:
    """The kind of what is of one of two kinds, where all replicas have it of the same one."""
    if one == other:
        # How many rows there are for each of the batch is known where both say it.
        is_known = one is None or other is None or one.each == other.each
        return one if is_known or one is None else dataclasses.replace(one, each=None)
    for wider in (MEAN, ITEM):
        if {one, other} == {wider, SAME}:
            return wider
    if isinstance(one, ListKind) and isinstance(other, ListKind):
        if EMPTY in (one, other):
            return other if one == EMPTY else one
        # A list of items has one for each row.
        element = None if ITEM in (one.element, other.element) else join(one.element, other.element)
        return None if element is None else ListKind("list", element=element)
    return None


def is_row_count(kinds: Kinds, tensor: Any) -> bool:
    """Whether a tensor holds the number of rows of the batch, each counted once."""
    sizes = kinds.sizes(tensor)
    return bool(sizes) and len(sizes or ()) == 1 and _is_each_once(sizes[0] if sizes else None)


def _is_each_once(size: Any) -> bool:
    return isinstance(size, Count) and size.each == ()


def is_batch(kind: Kind | None) -> bool:
    """Whether a tensor has one row along dimension 0 for each row of the batch."""
    return kind is not None and kind == rows(0) and kind.each == ()


@dataclasses.dataclass
class Stores:
    """What is known of the elements of tensor arrays.

    Attributes:
      kinds: by `TensorArrayV3` op: the kind of all that was written; None where nothing is known.
      seen: the arrays that were read.
      has_grown: whether a kind has changed that was read before.
    """

    kinds: dict[Any, Kind | None] = dataclasses.field(default_factory=dict)
    seen: set[Any] = dataclasses.field(default_factory=set)
    has_grown: bool = False

    def clear(self) -> None:
        """Forgets all that was written."""
        self.kinds.clear()
        self.seen.clear()

    def read(self, array: Any) -> Kind | None:
        """What is known of the elements of an array."""
        self.seen.add(array)
        return self.kinds.get(array, EMPTY)

    def write(self, array: Any, kind: Kind | None) -> None:
        """Takes in the kind of a list that has some elements of an array."""
        before = self.kinds.get(array, EMPTY)
        self.kinds[array] = None if kind is None or before is None else join(before, kind)
        if self.kinds[array] != before and array in self.seen:
            self.has_grown = True


def _of_elements(kind: Kind | None, counts: Any) -> Kind | None:
    """The kind of the list of a tensor's parts along dimension 0.

    Args:
      kind: of the tensor.
      counts: the kind of what numbers the elements.
    """
    if kind == rows(0):
        return _ITEMS if is_batch(kind) and counts == _NUMBERS else None
    if kind is None or counts != SAME:
        return None
    if kind.is_rows:
        return ListKind("list", element=rows(kind.axis - 1))
    return _list_of(kind)


def _list_of(kind: Kind | None) -> Kind | None:
    """The kind of a list with one element of a kind."""
    if kind is not None and kind.is_rows:
        return ListKind("list", element=rows(kind.axis))
    return ListKind("list", element=kind) if kind in REDUCED or kind == SAME else None


def _stacked(found: Kind | None, numbers: Kind | None) -> Kind | None:
    """The kind of a list's elements side by side along a new dimension 0."""
    if not isinstance(found, ListKind) or found.element is None:
        return None
    if found == _ITEMS:
        return rows(0, ()) if numbers == _NUMBERS else None
    if numbers != SAME:
        return None
    return rows(found.element.axis + 1) if found.element.is_rows else found.element


def _concatenated(found: Kind | None) -> Kind | None:
    """The kind of a list's elements one behind the other along dimension 0."""
    if not isinstance(found, ListKind) or found.element in (None, ITEM, rows(0)):
        return None
    return found.element


def _element(found: Kind | None, index: Kind | None) -> Kind | None:
    """The kind of the element with a number."""
    if not isinstance(found, ListKind):
        return None
    if found == _ITEMS:
        return ITEM if index == INDEX else None
    return found.element if index == SAME else None


def _with(found: Kind | None, index: Kind | None, item: Kind | None) -> Kind | None:
    """The kind of a list in which an element is written."""
    if not isinstance(found, ListKind):
        return None
    if found == _ITEMS or index == INDEX:
        return found if found == _ITEMS and index == INDEX and item in (ITEM, SAME) else None
    return join(found, _list_of(item)) if index == SAME else None


# Tensor lists.


def _list(kinds: Kinds, op: Any, index: int = 0) -> Kind | None:
    """What is known of the list that is an input of `op`."""
    return list_behind(kinds.of(op, index), op.inputs[index])


def list_behind(kind: Kind | None, tensor: Any) -> Kind | None:
    """The kind of a tensor; `EMPTY`, or a list of what all replicas share, where it is a list that they share."""
    if kind != SAME or tensor.dtype != tf.variant:
        return kind
    op = tensor.op
    while op.type == "Identity":
        op = op.inputs[0].op
    is_new = op.type in ("EmptyTensorList", "TensorListReserve")
    return EMPTY if is_new else ListKind("list", element=SAME)


def _knows_shape(kinds: Kinds, op: Any, index: int) -> bool:
    """Whether the shape of a list's elements is that of all replicas, but for the number of rows."""
    return kinds.of(op, index) == SAME or kinds.sizes(op.inputs[index]) is not None


def _made_list(kinds: Kinds, op: Any) -> Found:
    if not _knows_shape(kinds, op, 0):
        return [None]
    if op.type == "TensorListReserve" and is_row_count(kinds, op.inputs[1]):
        return [_ITEMS]
    return [EMPTY if kinds.of(op, 1) == SAME else None]


def _from_tensor(kinds: Kinds, op: Any) -> Found:
    kind = kinds.of(op, 0)
    counts = _NUMBERS if kind == rows(0) else SAME
    return [_of_elements(kind, counts) if _knows_shape(kinds, op, 1) else None]


def _stack_list(kinds: Kinds, op: Any) -> Found:
    found = _list(kinds, op)
    if not _knows_shape(kinds, op, 1) or (found == _ITEMS and op.get_attr("num_elements") != -1):
        return [None]
    return [_stacked(found, _NUMBERS if found == _ITEMS else SAME)]


def _get_item(kinds: Kinds, op: Any) -> Found:
    return [_element(_list(kinds, op), kinds.of(op, 1)) if _knows_shape(kinds, op, 2) else None]


def _set_item(kinds: Kinds, op: Any) -> Found:
    return [_with(_list(kinds, op), kinds.of(op, 1), kinds.of(op, 2))]


def _push_back(kinds: Kinds, op: Any) -> Found:
    return [_with(_list(kinds, op), SAME, kinds.of(op, 1))]


def _pop_back(kinds: Kinds, op: Any) -> Found:
    found = _list(kinds, op)
    if found == _ITEMS or not isinstance(found, ListKind) or not _knows_shape(kinds, op, 1):
        return [None, None]
    return [found, found.element]


def _list_length(kinds: Kinds, op: Any) -> Found:
    found = _list(kinds, op)
    if found == _ITEMS:
        kinds.set_sizes(op.outputs[0], [Count.of(())])
        return [SUM]
    return [SAME if isinstance(found, ListKind) else None]


def _resize(kinds: Kinds, op: Any) -> Found:
    found = _list(kinds, op)
    fits = isinstance(found, ListKind) and found != _ITEMS and kinds.of(op, 1) == SAME
    return [found if fits else None]


def _gather_list(kinds: Kinds, op: Any) -> Found:
    fits = _knows_shape(kinds, op, 2)
    return [_stacked(_list(kinds, op), kinds.of(op, 1)) if fits else None]


def _scatter_list(kinds: Kinds, op: Any) -> Found:
    fits = _knows_shape(kinds, op, 2) and all(k == SAME for k in kinds.of_inputs(op)[3:])
    found = _of_elements(kinds.of(op, 0), kinds.of(op, 1)) if fits else None
    return [None if found == _ITEMS else found]


def _scatter_into_list(kinds: Kinds, op: Any) -> Found:
    found, added = _list(kinds, op), _of_elements(kinds.of(op, 1), kinds.of(op, 2))
    is_known = isinstance(found, ListKind) and added is not None and _ITEMS not in (found, added)
    return [join(found, added) if is_known else None]


def _concat_list(kinds: Kinds, op: Any) -> Found:
    fits = _knows_shape(kinds, op, 1) and kinds.of(op, 2) == SAME
    found = _concatenated(_list(kinds, op)) if fits else None
    return [found, SAME if found is not None else None]


def _split_list(kinds: Kinds, op: Any) -> Found:
    fits = _knows_shape(kinds, op, 1)
    return [_of_elements(kinds.of(op, 0), kinds.of(op, 2)) if fits else None]


# Tensor arrays.

_PARTS = frozenset(
    f"TensorArray{name}V3"
    for name in ("Scatter", "Gather", "Read", "Write", "Size", "Split", "Concat", "Close")
)


def array(kinds: Kinds, op: Any) -> Found:
    """A new tensor array, if all that uses it is known."""
    stores = kinds.remembered(Stores)
    is_by_rows = is_row_count(kinds, op.inputs[0])
    if _escapes(kinds, op) or not (is_by_rows or kinds.of(op, 0) == SAME):
        stores.write(op, None)
        return [None, None]
    if is_by_rows:
        stores.write(op, _ITEMS)
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
    """Takes in that elements are written into an array."""
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
        return _add(kinds, op, _ITEMS if item in (ITEM, SAME) and _is_by_rows(kinds, op) else None)
    return _add(kinds, op, _list_of(item) if index == SAME else None)


def _is_by_rows(kinds: Kinds, op: Any) -> bool:
    made = handle_behind(op.inputs[0])
    return made.type == "TensorArrayV3" and is_row_count(kinds, made.inputs[0])


def _scatter(kinds: Kinds, op: Any) -> Found:
    found = _of_elements(kinds.of(op, 2), kinds.of(op, 1))
    return _add(kinds, op, None if found == _ITEMS and not _is_by_rows(kinds, op) else found)


def _split(kinds: Kinds, op: Any) -> Found:
    return _add(kinds, op, _of_elements(kinds.of(op, 1), kinds.of(op, 2)))


def _read(kinds: Kinds, op: Any) -> Found:
    return [_element(_elements(kinds, op), kinds.of(op, 1))]


def _gather(kinds: Kinds, op: Any) -> Found:
    return [_stacked(_elements(kinds, op), kinds.of(op, 1))]


def _concat(kinds: Kinds, op: Any) -> Found:
    found = _concatenated(_elements(kinds, op))
    return [found, SAME if found is not None else None]


def _size(kinds: Kinds, op: Any) -> Found:
    found = _elements(kinds, op)
    if found == _ITEMS:
        kinds.set_sizes(op.outputs[0], [Count.of(())])
        return [SUM]
    return [SAME if found is not None else None]


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
    "TensorArrayV3": array,
    "TensorArrayWriteV3": _write,
    "TensorArrayScatterV3": _scatter,
    "TensorArraySplitV3": _split,
    "TensorArrayReadV3": _read,
    "TensorArrayGatherV3": _gather,
    "TensorArrayConcatV3": _concat,
    "TensorArraySizeV3": _size,
}
