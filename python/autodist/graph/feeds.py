"""Where fed values go in the transformed graph.

A split tensor is fed whole, before it is split. Any other fed tensor takes the place of what was computed for
it: one value for all replicas, or, where the replicas' values differ and it holds rows of the batch, a part for each.
Such a tensor replaces what its roots would have given, so the sizes of their parts are fed with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autodist.errors import ArgumentError
from autodist.graph.means import along
from autodist.graph.roles import key_of
from autodist.graph.values import Value
from autodist.layout import even_sizes, part_bounds

if TYPE_CHECKING:
    from autodist.graph.lowering import Transformer


class FeedPlan:
    """What to feed when certain original tensors are fed.

    Args:
      walk: the transformer.
      tensors: the original tensors that are fed.
      others: original tensors that are fed in other parts of the same partial run.

    Attributes:
      targets: the transformed tensors to feed, in the order of what `spread` returns.
    """

    def __init__(self, walk: Transformer, tensors: Sequence[Any], others: Iterable[Any] = ()):
        self._tensors = list(tensors)
        self._names = [t.name for t in self._tensors]
        self._replica_count = walk.replica_count
        walk.require(t.op for t in self._tensors)
        fed_whole = {walk.batch.root_number(*key_of(t)) for t in (*self._tensors, *others)}
        self._values = [
            None if walk.batch.root_number(*key_of(t)) is not None else walk.value(t)
            for t in self._tensors
        ]
        self.targets: list[Any] = []
        self._axes: list[int | None] = []
        self._has_whole: list[bool] = []
        sizes: dict[int, int] = {}
        for index, (tensor, value) in enumerate(zip(self._tensors, self._values, strict=True)):
            axis = _batch_axis(walk, tensor, value)
            self._axes.append(axis)
            if value is None:
                self.targets.append(walk.unsplit(tensor))
                self._has_whole.append(False)
                continue
            self.targets.extend(piece for row in value.pieces for piece in row)
            whole = walk.whole_value(tensor) if value.varies else None
            if whole is not None:
                self.targets.append(whole)
            self._has_whole.append(whole is not None)
            if axis is not None:
                # What is computed from the batch is fed in its place: the parts have the sizes of what is fed.
                for root in walk.means.roots_in(walk.batch.tensor_mask(tensor)) - fed_whole:
                    sizes[root] = index
        self.targets.extend(walk.means.sizes(root) for root in sizes)
        self._sizes_of = list(sizes.values())

    def lengths(self, arrays: Sequence[Any]) -> dict[str, int]:
        """The number of rows of each fed batch, by the tensor's name."""
        found = {}
        for name, axis, array in zip(self._names, self._axes, arrays, strict=True):
            if axis is not None and axis < array.ndim:
                found[name] = array.shape[axis]
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
        parts = zip(self._values, self._axes, self._has_whole, arrays, strict=True)
        for value, axis, has_whole, array in parts:
            found.extend([array] if value is None else _spread(value, axis, array))
            found.extend([array] if has_whole else [])
        for index in self._sizes_of:
            rows = arrays[index].shape[self._axes[index]]
            found.append(even_sizes(rows, self._replica_count))
        return found


def check_lengths(lengths: Mapping[str, int]) -> None:
    """Refuses batches of different lengths.

    Raises:
      ArgumentError: naming the tensors and their lengths.
    """
    if len(set(lengths.values())) > 1:
        raise ArgumentError(
            f"the fed batches have different lengths: {dict(lengths)}. Every tensor whose first dimension is "
            "unknown, or that batch_dims names a dimension of, is split over the replicas, so all must be fed the same "
            "number of rows. For one that is no batch: create_distributed_session(batch_dims={tensor: None})."
        )


def _batch_axis(walk: Transformer, tensor: Any, value: Value | None) -> int | None:
    """The dimension of a fed tensor that is split; None where none is. `value` is None for a root."""
    if value is None:
        root = walk.batch.root_number(*key_of(tensor))
        return None if root is None else walk.batch.root_axis(root)
    return walk.batch.batch_axis(tensor, value.pieces[0][0]) if value.varies else None


def _spread(value: Value, axis: int | None, array: Any) -> list[Any]:
    """What to feed to each of the pieces of `value` when the tensor for which it stands is fed with `array`."""
    rows = [array] * len(value.pieces)
    if axis is not None:
        bounds = part_bounds(array.shape[axis], len(value.pieces))
        rows = [array[along(axis, slice(start, end))] for start, end in bounds]
    if value.grid is None:
        return rows
    boxes = [
        tuple(slice(s, s + e) for s, e in zip(box.start, box.extent, strict=True))
        for box in value.grid.boxes()
    ]
    return [row[box] for row in rows for box in boxes]
