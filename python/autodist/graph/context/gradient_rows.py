"""Makes the mean of `tf.IndexedSlices` in the order, and with the number of rows, of one node.

The gradient of a table that is looked up several times holds the rows of the first lookup, then
those of the second, and so on. Each replica has such a gradient. Its parts follow from its row
numbers:

| the row numbers of a lookup | the mean holds |
|---|---|
| belong to the rows of the batch | the replicas' rows, in batch order |
| are the same for all replicas (`[GO]`, sampled classes) | one row for each, the mean of the replicas' |
| are not known | the parts of the first replica, then those of the second, and so on |
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.analysis.gradients.lookups import Lookup, lookups
from autodist.graph.context.counterparts import Counterparts


class GradientRows:
    """Joins the replicas' rows of gradients, and takes them apart again.

    Args:
      made: what stands for each original tensor.
    """

    def __init__(self, made: Counterparts) -> None:
        self._made = made

    def mean(self, indices: Any, rows: list[Any], numbers: list[Any], mask: int) -> tuple[Any, Any]:
        """The rows and row numbers of the mean.

        Args:
          indices: the original row numbers.
          rows: the replicas' rows.
          numbers: the replicas' row numbers.
          mask: the roots that they depend on.
        """
        means, parts = self._made.means, self._parts(indices)
        if parts is None or [part.axis for part in parts] == [0]:
            return means.mean_slices(rows, numbers, mask)
        split_rows, split_numbers = self._apart(parts, rows), self._apart(parts, numbers)
        found_rows, found_numbers = [], []
        for part, own_rows, own_numbers in zip(parts, split_rows, split_numbers, strict=True):
            if part.axis is None:
                found_rows.append(means.mean(own_rows, mask))
                found_numbers.append(own_numbers[0])
                continue
            pair = means.mean_slices(
                self._to_front(part, own_rows), self._to_front(part, own_numbers), mask
            )
            found_rows.append(self._from_front([pair[0]], own_rows)[0])
            found_numbers.append(self._from_front([pair[1]], own_numbers)[0])
        return self._concat(found_rows, rows[0]), self._concat(found_numbers, numbers[0])

    def of_replicas(self, indices: Any, joined: Any, rows: list[Any], mask: int) -> list[Any]:
        """Divides a tensor with one row for each row of the mean into the replicas' own rows.

        Args:
          indices: the original row numbers.
          joined: one row for each row of the mean.
          rows: the replicas' rows, of which the mean was made.
          mask: the roots that they depend on.
        """
        means, parts = self._made.means, self._parts(indices)
        if parts is None or [part.axis for part in parts] == [0]:
            return means.rows_of_replicas(joined, rows, mask)
        fronts = [
            own if part.axis is None else self._to_front(part, own)
            for part, own in zip(parts, self._apart(parts, rows), strict=True)
        ]
        counts = means.sub_batch_counts(mask)
        with self._made.builder.adding(f"apart/{joined.op.name}", joined.device):
            sizes = []
            for part, own in zip(parts, fronts, strict=True):
                each = [tf.shape(t, out_type=tf.int64) for t in own]
                if part.axis is None:
                    sizes.append(each[0][0])
                else:
                    total = tf.add_n([e[0] * c for e, c in zip(each, counts, strict=True)])
                    sizes.append(total * tf.reduce_prod(each[0][1:3]))
            pieces = tf.split(joined, tf.stack(sizes), num=len(parts))
        found: list[list[Any]] = []
        for part, own, piece in zip(parts, fronts, pieces, strict=True):
            if part.axis is None:
                found.append([piece] * len(rows))
                continue
            front = self._to_front(part, [piece])[0]
            found.append(self._from_front(means.rows_of_replicas(front, own, mask), rows))
        return [
            self._concat(list(each), rows[i]) for i, each in enumerate(zip(*found, strict=True))
        ]

    def _parts(self, indices: Any) -> list[Lookup] | None:
        """The lookups whose row numbers are concatenated; None if they are not known."""
        made = self._made
        found = lookups(indices, made.batch, made.batch.kinds)
        if found is None:
            return None
        return [p if made.value(p.numbers).varies else Lookup(p.numbers, None) for p in found]

    def _apart(self, parts: list[Lookup], tensors: list[Any]) -> list[list[Any]]:
        """By part: each replica's rows."""
        made, found = self._made, []
        for i, tensor in enumerate(tensors):
            with made.builder.adding(f"apart/{tensor.op.name}", tensor.device):
                sizes = [
                    tf.size(made.value(part.numbers).whole(i), out_type=tf.int64) for part in parts
                ]
                found.append(tf.split(tensor, tf.stack(sizes), num=len(parts)))
        return [list(pieces) for pieces in zip(*found, strict=True)]

    def _to_front(self, part: Lookup, tensors: list[Any]) -> list[Any]:
        """Moves the batch dimension of rows to the front: `[n, outer, inner, elements]`."""
        found, axis = [], part.axis
        if axis is None:
            return tensors
        for i, tensor in enumerate(tensors):
            numbers = self._made.value(part.numbers).whole(i)
            with self._made.builder.adding(f"front/{tensor.op.name}", tensor.device):
                shape = tf.shape(numbers, out_type=tf.int64)
                outer, inner = tf.reduce_prod(shape[:axis]), tf.reduce_prod(shape[axis + 1 :])
                size = tf.shape(tensor, out_type=tf.int64)
                count = size[0] // tf.maximum(outer * inner, 1)
                four = tf.stack([outer, count, inner, tf.reduce_prod(size[1:])])
                found.append(tf.transpose(tf.reshape(tensor, four), [1, 0, 2, 3]))
        return found

    def _from_front(self, tensors: list[Any], like: list[Any]) -> list[Any]:
        """The reverse of `_to_front`; each row has the shape of one in `like`."""
        found = []
        for tensor, example in zip(tensors, like, strict=False):
            with self._made.builder.adding(f"back/{tensor.op.name}", tensor.device):
                four = tf.shape(tensor, out_type=tf.int64)
                rest = tf.shape(example, out_type=tf.int64)[1:]
                shape = tf.concat([tf.reduce_prod(four[:3])[tf.newaxis], rest], 0)
                found.append(tf.reshape(tf.transpose(tensor, [1, 0, 2, 3]), shape))
        return found

    def _concat(self, pieces: list[Any], like: Any) -> Any:
        """The parts one behind the other; each row has the static shape of one in `like`."""
        with self._made.builder.adding(f"parts/{like.op.name}", like.device):
            joined = tf.concat(pieces, 0)
        if like.shape.rank:
            joined.set_shape([None, *like.shape[1:]])
        return joined
