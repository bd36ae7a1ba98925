"""Splits batches over the replicas and takes means weighted by the parts' sizes.

A batch of B rows is split into R consecutive parts whose sizes differ by at most one. Each replica's mean loss is
a mean over its part, so the mean over the batch is the sum of the replicas' values, each times (size of its part) / B.

Where B < R some parts would be empty, and kernels exist that abort the process on zero rows (TF 2.21:
`MaxPool`). So a replica without a part computes on the last row of the batch once more, and what it
computes counts as nothing: its share is 0, and its rows are dropped where the replicas' rows are joined.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.batch import LOCAL
from autodist.graph.builder import Builder
from autodist.graph.values import Value


class Means:
    """The parts of each root, and the means over them."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._replica_count = len(builder.replica_devices)
        self._sizes: dict[int, Any] = {}
        self._shares: dict[tuple[int, Any], list[Any]] = {}
        self._counts: dict[int, list[Any]] = {}

    def split(self, root: int, batch: Any) -> Value:
        """Splits `batch`, the transformed graph's tensor for root number `root`, over the replicas."""
        count = self._replica_count
        with self._builder.adding(f"split/{batch.op.name}", batch.device):
            rows = tf.shape(batch, out_type=tf.int64)[0]
            numbers = tf.range(count, dtype=tf.int64)
            sizes = rows // count + tf.cast(numbers < rows % count, tf.int64)
            starts = tf.maximum(tf.minimum(tf.cumsum(sizes, exclusive=True), rows - 1), 0)
            ends = starts + tf.maximum(sizes, tf.minimum(rows, 1))
            parts = [batch[starts[i] : ends[i]] for i in range(count)]
            for part in parts:
                part.set_shape(batch.shape)
        self._sizes[root] = sizes
        return Value([[p] for p in parts], varies=True)

    def mean(self, tensors: list[Any], mask: int) -> Any:
        """The weighted mean of one floating or complex tensor per replica.

        Args:
          tensors: one tensor per replica, of the same shape.
          mask: the roots that they depend on.
        """
        with self._builder.adding(f"mean/{tensors[0].op.name}", tensors[0].device):
            return tf.add_n(self._scaled(tensors, mask))

    def mean_slices(self, values: list[Any], indices: list[Any], mask: int) -> tuple[Any, Any]:
        """The mean of the replicas' `tf.IndexedSlices`: all of them in replica order, each scaled by its share."""
        with self._builder.adding(f"mean/{values[0].op.name}", values[0].device):
            return (
                tf.concat(self._counted(self._scaled(values, mask), mask), 0),
                tf.concat(self._counted(indices, mask), 0),
            )

    def join(self, tensors: list[Any], mask: int) -> Any:
        """The replicas' rows in batch order; each tensor has at least one dimension."""
        with self._builder.adding(f"join/{tensors[0].op.name}", tensors[0].device):
            return tf.concat(self._counted(tensors, mask), 0)

    def mean_or_join(self, tensors: list[Any], mask: int) -> Any:
        """For tensors of unknown rank: the weighted mean of scalars, the rows of anything else."""
        with self._builder.adding(f"combine/{tensors[0].op.name}", tensors[0].device):
            is_scalar = tf.equal(tf.rank(tensors[0]), 0)
            one_if_scalar = tf.ones([tf.cast(is_scalar, tf.int32)], tf.int32)
            rows = [tf.reshape(t, tf.concat([one_if_scalar, tf.shape(t)], 0)) for t in tensors]
            mean = tf.reduce_sum(tf.concat(self._scaled(rows, mask), 0))
            joined = tf.concat(self._counted(rows, mask), 0)
            return tf.cond(is_scalar, lambda: mean, lambda: joined)

    def sum(self, tensors: list[Any], mask: int) -> Any:
        """The sum over the replicas that have a part of the batch."""
        counts = self._part_counts(mask)
        with self._builder.adding(f"sum/{tensors[0].op.name}", tensors[0].device):
            return tf.add_n([t * tf.cast(c, t.dtype) for t, c in zip(tensors, counts, strict=True)])

    def has_part(self, mask: int, replica: int) -> Any:
        """A bool scalar: whether a replica has a part of the batch; true where no batch is involved."""
        count = self._part_counts(mask)[replica]
        with self._builder.adding("has_part", count.device):
            return tf.equal(count, 1)

    def roots_in(self, mask: int) -> set[int]:
        """The numbers of the roots in `mask`."""
        return {root for root in self._sizes if root >= 0 and mask & (2 << root)}

    def sizes(self, root: int) -> Any:
        """The tensor, int64 of shape `[replicas]`, with the sizes of a root's parts."""
        return self._sizes[root]

    def _scaled(self, tensors: list[Any], mask: int) -> list[Any]:
        """Each replica's tensor times its share of the batch; nothing where the share is 0, NaN included."""
        shares = self._batch_shares(mask, tensors[0].dtype)
        return [tf.math.multiply_no_nan(t, s) for t, s in zip(tensors, shares, strict=True)]

    def _counted(self, tensors: list[Any], mask: int) -> list[Any]:
        """Each replica's rows; none of a replica without a part."""
        counts = self._part_counts(mask)
        counted = []
        for tensor, count in zip(tensors, counts, strict=True):
            rows = tensor[: tf.shape(tensor, out_type=tf.int64)[0] * count]
            rows.set_shape(tf.TensorShape([None]).concatenate(tensor.shape[1:]))
            counted.append(rows)
        return counted

    def _batch_shares(self, mask: int, dtype: Any) -> list[Any]:
        """One scalar of `dtype` per replica: its share of the batch."""
        root = _first_root(mask)
        if (root, dtype) not in self._shares:
            sizes = self._part_sizes(root)
            with self._builder.adding("batch_share", sizes.device):
                sizes = tf.cast(sizes, tf.float64)
                shares = tf.math.divide_no_nan(sizes, tf.reduce_sum(sizes))
                self._shares[root, dtype] = tf.unstack(
                    tf.cast(shares, dtype), num=self._replica_count
                )
        return self._shares[root, dtype]

    def _part_counts(self, mask: int) -> list[Any]:
        """One int64 scalar per replica: 1 where it has a part of the batch, else 0."""
        root = _first_root(mask)
        if root not in self._counts:
            sizes = self._part_sizes(root)
            with self._builder.adding("has_part", sizes.device):
                # An empty batch has empty parts; there is nothing to drop.
                has_part = (sizes > 0) | (tf.reduce_sum(sizes) == 0)
                self._counts[root] = tf.unstack(
                    tf.cast(has_part, tf.int64), num=self._replica_count
                )
        return self._counts[root]

    def _part_sizes(self, root: int) -> Any:
        """The sizes of a root's parts; equal ones where no root is involved."""
        if root < 0 and root not in self._sizes:
            with self._builder.adding("equal_parts", self._builder.replica_devices[0]):
                self._sizes[root] = tf.ones([self._replica_count], tf.int64)
        return self._sizes[root]


def _first_root(mask: int) -> int:
    roots = mask & ~LOCAL
    return (roots & -roots).bit_length() - 2
