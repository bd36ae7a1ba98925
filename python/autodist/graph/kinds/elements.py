"""Finds the kinds of the elements of tensor lists and tensor arrays.

A list has the kind of its elements (`ListKind`). Its elements have one kind, or nothing is known of
any of them. A list to which nothing was written is `EMPTY`: a read gives zeros, which fit any kind.

A list may also have one element per row of the batch. Then its elements are *items* (`loop_rules`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist.graph.kinds.kind import ITEM, MEAN, REDUCED, SAME, Count, Kind, rows
from autodist.graph.kinds.kinds import Kinds

STORE = Kind("store")
"""The handle or the flow of a tensor array."""
INDEX = Kind("index")
"""In a loop over the rows: the iteration's number, which is the number of a row."""
NUMBERS = Kind("numbers")
"""The numbers of the rows: 0, 1, ... to the number of rows of the batch."""


@dataclasses.dataclass(frozen=True)
class ListKind(Kind):
    """The kind of a tensor list.

    Attributes:
      element: the kind of its elements; None where none were written.
    """

    element: Kind | None = None


EMPTY = ListKind("list")
ITEMS = ListKind("list", element=ITEM)


def join(one: Kind | None, other: Kind | None) -> Kind | None:
    """The kind of a tensor that has one of two kinds, the same on all replicas."""
    if one == other:
        # The number of rows per row of the batch is known if both kinds have the same.
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
      kinds: by `TensorArrayV3` op: the kind of all elements that were written; None where nothing
        is known.
      seen: the arrays that were read.
      has_grown: whether a kind changed after it was read.
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
        """Records the kind of a list that holds some elements of an array."""
        before = self.kinds.get(array, EMPTY)
        self.kinds[array] = None if kind is None or before is None else join(before, kind)
        if self.kinds[array] != before and array in self.seen:
            self.has_grown = True


def of_elements(kind: Kind | None, counts: Any) -> Kind | None:
    """The kind of the list of a tensor's parts along dimension 0.

    Args:
      kind: of the tensor.
      counts: the kind of the numbers of the elements.
    """
    if kind == rows(0):
        return ITEMS if is_batch(kind) and counts == NUMBERS else None
    if kind is None or counts != SAME:
        return None
    if kind.is_rows:
        return ListKind("list", element=rows(kind.axis - 1))
    return list_of(kind)


def list_of(kind: Kind | None) -> Kind | None:
    """The kind of a list with one element of a kind."""
    if kind is not None and kind.is_rows:
        return ListKind("list", element=rows(kind.axis))
    return ListKind("list", element=kind) if kind in REDUCED or kind == SAME else None


def stacked(found: Kind | None, numbers: Kind | None) -> Kind | None:
    """The kind of a list's elements side by side along a new dimension 0."""
    if not isinstance(found, ListKind) or found.element is None:
        return None
    if found == ITEMS:
        return rows(0, ()) if numbers == NUMBERS else None
    if numbers != SAME:
        return None
    return rows(found.element.axis + 1) if found.element.is_rows else found.element


def concatenated(found: Kind | None) -> Kind | None:
    """The kind of a list's elements one behind the other along dimension 0."""
    if not isinstance(found, ListKind) or found.element in (None, ITEM, rows(0)):
        return None
    return found.element


def element_of(found: Kind | None, index: Kind | None) -> Kind | None:
    """The kind of the element with a number."""
    if not isinstance(found, ListKind):
        return None
    if found == ITEMS:
        return ITEM if index == INDEX else None
    return found.element if index == SAME else None


def with_element(found: Kind | None, index: Kind | None, item: Kind | None) -> Kind | None:
    """The kind of a list in which an element is written."""
    if not isinstance(found, ListKind):
        return None
    if found == ITEMS or index == INDEX:
        return found if found == ITEMS and index == INDEX and item in (ITEM, SAME) else None
    return join(found, list_of(item)) if index == SAME else None
