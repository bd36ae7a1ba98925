"""Feeds the transformed graph with values for tensors of the original one.

A split tensor is fed whole, before it is split. Any other fed tensor replaces the tensor that each
replica would compute. Its kind decides how (`kinds`): rows are split, each replica gets all of a
mean, and the replicas' terms of a sum add up to it. Such a tensor replaces what comes from its
roots, so the sizes of their sub-batches are fed with it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from autodist.errors import ArgumentError
from autodist.graph.building.values.means import along
from autodist.graph.building.values.values import Value
from autodist.graph.context.context import Context
from autodist.graph.kinds.kind import COUNT, SUM
from autodist.graph.original.variables.roles import has_batch_dimension, key_of
from autodist.layout import even_sizes, sub_batch_bounds


class FeedPlan:
    """What to feed when certain original tensors are fed.

    Args:
      context: holds the counterparts of the tensors.
      tensors: the original tensors that are fed.
      others: original tensors that are fed in other parts of the same partial run.

    Attributes:
      targets: the transformed tensors to feed, in the order of what `spread` returns.
    """

    def __init__(self, context: Context, tensors: Sequence[Any], others: Iterable[Any] = ()):
        self._tensors = list(tensors)
        self._names = [t.name for t in self._tensors]
        self._replica_count = context.replica_count
        fed_whole = {context.batch.root_number(*key_of(t)) for t in (*self._tensors, *others)}
        self._values = [
            None if context.batch.root_number(*key_of(t)) is not None else context.value(t)
            for t in self._tensors
        ]
        self.targets: list[Any] = []
        self._divisions: list[_Division] = []
        self._has_whole: list[bool] = []
        sizes: dict[int, int] = {}
        for index, (tensor, value) in enumerate(zip(self._tensors, self._values, strict=True)):
            division = _divide(context, tensor, value)
            self._divisions.append(division)
            if value is None:
                self.targets.append(context.unsplit(tensor))
                self._has_whole.append(False)
                continue
            self.targets.extend(piece for row in value.pieces for piece in row)
            whole = context.whole_value(tensor) if value.varies else None
            if whole is not None:
                self.targets.append(whole)
            self._has_whole.append(whole is not None)
            if division.axis is not None:
                # The fed tensor replaces what is computed from the batch, so the sub-batches have
                # its sizes.
                for root in context.means.roots_in(context.batch.tensor_mask(tensor)) - fed_whole:
                    sizes[root] = index
        self.targets.extend(context.means.sizes(root) for root in sizes)
        self._sizes_of = list(sizes.values())

    def lengths(self, arrays: Sequence[Any]) -> dict[str, int]:
        """The number of rows of each fed batch, by the tensor's name."""
        found = {}
        for name, division, array in zip(self._names, self._divisions, arrays, strict=True):
            if division.axis is not None and division.axis < array.ndim:
                found[name] = division.rows(array)
        return found

    def spread(self, arrays: Sequence[Any]) -> list[Any]:
        """What to feed to each of `targets`.

        Args:
          arrays: one array per original tensor.

        Raises:
          ArgumentError: if batches that are split have different lengths.
        """
        check_lengths(self.lengths(arrays))
        found: list[Any] = []
        fed = zip(self._values, self._divisions, self._has_whole, arrays, strict=True)
        for value, division, has_whole, array in fed:
            found.extend([array] if value is None else _spread(value, division, array))
            found.extend([array] if has_whole else [])
        for index in self._sizes_of:
            rows = self._divisions[index].rows(arrays[index])
            found.append(even_sizes(rows, self._replica_count))
        return found


def check_lengths(lengths: Mapping[str, int]) -> None:
    """Refuses batches of different lengths.

    Raises:
      ArgumentError: naming the tensors and their lengths.
    """
    if len(set(lengths.values())) > 1:
        raise ArgumentError(
            f"the fed batches have different lengths: {dict(lengths)}. Every tensor whose first "
            "dimension is unknown, or that batch_dims names a dimension of, is split over the "
            "replicas, so all must be fed the same number of rows. For one that is no batch: "
            "create_distributed_session(batch_dims={tensor: None})."
        )


@dataclasses.dataclass(frozen=True)
class _Division:
    """How a fed array is divided among the replicas.

    Attributes:
      axis: the dimension along which it is split; None where it is not.
      each: the number of entries along `axis`, or in a count, per row of the batch.
      is_sum: whether the replicas' values add up to the array.
      is_count: whether it is a number of rows, of which each replica has its own.
    """

    axis: int | None = None
    each: int = 1
    is_sum: bool = False
    is_count: bool = False

    def rows(self, array: Any) -> int:
        """The number of rows of the batch in an array that is split."""
        assert self.axis is not None
        return int(array.shape[self.axis]) // self.each

    def of(self, array: Any, count: int) -> list[Any]:
        """The array that each of `count` replicas gets."""
        if self.axis is not None:
            bounds = sub_batch_bounds(self.rows(array), count)
            slices = (slice(start * self.each, end * self.each) for start, end in bounds)
            return [array[along(self.axis, part)] for part in slices]
        if self.is_count:
            sizes = even_sizes(int(array) // self.each, count)
            return [np.asarray(size * self.each, array.dtype) for size in sizes]
        if self.is_sum:
            return [array] + [np.zeros_like(array)] * (count - 1)
        return [array] * count


def _divide(  # noqa: PLR0911 - a kind each
    context: Context, tensor: Any, value: Value | None
) -> _Division:
    """How an array fed for a tensor is divided among the replicas. `value` is None for a root.

    Raises:
      ArgumentError: if each replica's value counts within its sub-batch, or holds the rows in
        another order.
    """
    if value is None:
        root = context.batch.root_number(*key_of(tensor))
        return _Division() if root is None else _Division(context.batch.root_axis(root))
    if not value.varies:
        return _Division()
    asked, kinds = context.batch.asked_axis(tensor), context.batch.kinds
    kind = kinds.of_tensor(tensor)
    if asked is not None:
        return _Division(asked)
    if kind is None:
        # A tensor of a backward pass may hold rows of a gradient. Of any other tensor without a
        # kind no replica's value is used.
        is_rows = not context.batch.is_forward(tensor.op) and has_batch_dimension(tensor)
        return _Division(0 if is_rows else None)
    if kind.is_rows:
        return _Division(kind.axis, _product(kind.each))
    sizes = kinds.sizes(tensor) or []
    if kind == SUM and sizes == [COUNT]:
        return _Division(each=_product(sizes[0].each), is_count=True)
    if kind.is_partial:
        raise ArgumentError(
            f"cannot feed {tensor.name!r}: it is made of row numbers or sizes of the batch, or has "
            "its rows in another order, and each replica has its own for its sub-batch. Feed what "
            "it is computed from, or what is computed from it."
        )
    return _Division(is_sum=kind == SUM)


def _product(each: tuple[Any, ...] | None) -> int:
    """The number per row of the batch; 1 if it is not known."""
    is_known = each is not None and all(isinstance(size, int) and size > 0 for size in each)
    return math.prod(each) if each is not None and is_known else 1


def _spread(value: Value, division: _Division, array: Any) -> list[Any]:
    """The feeds of the pieces of `value` when its original tensor is fed with `array`."""
    rows = division.of(array, len(value.pieces))
    if value.grid is None:
        return rows
    boxes = [
        tuple(slice(s, s + e) for s, e in zip(box.start, box.extent, strict=True))
        for box in value.grid.boxes()
    ]
    return [row[box] for row in rows for box in boxes]
