"""Where fed values go in the transformed graph.

A split tensor is fed whole, before it is split. Any other fed tensor takes the place of what was computed for
it: one value for all replicas, or, where the replicas' values differ and it holds rows of the batch, a part for each.
Such a tensor replaces what its roots would have given, so the sizes of their parts are fed with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autodist.errors import ArgumentError
from autodist.graph.roles import has_batch_dimension, key_of
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
        self._replica_count = walk.replica_count
        walk.require(t.op for t in self._tensors)
        fed_whole = {walk.batch.root_number(*key_of(t)) for t in (*self._tensors, *others)}
        self._values = [
            None if walk.batch.root_number(*key_of(t)) is not None else walk.value(t)
            for t in self._tensors
        ]
        self.targets: list[Any] = []
        self._batches: list[int] = []
        sizes: dict[int, int] = {}
        for index, (tensor, value) in enumerate(zip(self._tensors, self._values, strict=True)):
            is_batch = has_batch_dimension(tensor) and (value is None or value.varies)
            if is_batch:
                self._batches.append(index)
            if value is None:
                self.targets.append(walk.unsplit(tensor))
                continue
            self.targets.extend(piece for row in value.pieces for piece in row)
            if is_batch:
                # What is computed from the batch is fed in its place: the parts have the sizes of what is fed.
                for root in walk.means.roots_in(walk.batch.tensor_mask(tensor)) - fed_whole:
                    sizes[root] = index
        self.targets.extend(walk.means.sizes(root) for root in sizes)
        self._sizes_of = list(sizes.values())

    def lengths(self, arrays: Sequence[Any]) -> dict[str, int]:
        """The number of rows of each fed batch, by the tensor's name."""
        return {self._tensors[i].name: arrays[i].shape[0] for i in self._batches if arrays[i].ndim}

    def spread(self, arrays: Sequence[Any]) -> list[Any]:
        """What to feed to each of `targets`.

        Args:
          arrays: one array per original tensor.

        Raises:
          ArgumentError: if batches that are split have different lengths.
        """
        check_lengths(self.lengths(arrays))
        found: list[Any] = []
        for tensor, value, array in zip(self._tensors, self._values, arrays, strict=True):
            found.extend([array] if value is None else _spread(value, tensor, array))
        found.extend(even_sizes(len(arrays[i]), self._replica_count) for i in self._sizes_of)
        return found


def check_lengths(lengths: Mapping[str, int]) -> None:
    """Refuses batches of different lengths.

    Raises:
      ArgumentError: naming the tensors and their lengths.
    """
    if len(set(lengths.values())) > 1:
        raise ArgumentError(
            f"the fed batches have different lengths: {dict(lengths)}. Every tensor whose first dimension is "
            "unknown is split over the replicas, so all must be fed the same number of rows."
        )


def _spread(value: Value, tensor: Any, array: Any) -> list[Any]:
    """What to feed to each of the pieces of `value` when `tensor`, for which it stands, is fed with `array`."""
    rows = [array] * len(value.pieces)
    if value.varies and has_batch_dimension(tensor):
        rows = [array[start:end] for start, end in part_bounds(len(array), len(value.pieces))]
    if value.grid is None:
        return rows
    boxes = [
        tuple(slice(s, s + e) for s, e in zip(box.start, box.extent, strict=True))
        for box in value.grid.boxes()
    ]
    return [row[box] for row in rows for box in boxes]
