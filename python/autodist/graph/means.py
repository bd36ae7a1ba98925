"""Splits batches over the replicas and takes means weighted by the parts' sizes.

A batch of B rows is split into R consecutive parts whose sizes differ by at most one. Each replica's mean loss is
a mean over its part, so the mean over the batch is the sum of the replicas' values, each times (size of its part) / B.
A part may be empty (B < R): what its replica computes is NaN, and counts as nothing.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.builder import Builder
from autodist.graph.values import Value


class Means:
    """The parts of each root, and the means over them.

    Attributes:
      fed: per root, the tensor of the transformed graph that holds the whole batch.
    """

    def __init__(self, builder: Builder, roots: list[Any]) -> None:
        self._builder = builder
        self._roots = roots
        self._replica_count = len(builder.replica_devices)
        self._sizes: dict[int, Any] = {}
        self._weights: dict[tuple[int, Any], list[Any]] = {}

    def split(self, root: int, batch: Any) -> Value:
        """Splits `batch`, the transformed graph's tensor for root number `root`."""
        count = self._replica_count
        with self._builder.adding(f"split/{batch.op.name}", batch.device):
            rows = tf.shape(batch, out_type=tf.int64)[0]
            sizes = rows // count + tf.cast(
                tf.range(count, dtype=tf.int64) < rows % count, tf.int64
            )
            parts = tf.split(batch, sizes, num=count)
            for part in parts:
                part.set_shape(batch.shape)
        self._sizes[root] = sizes
        return Value([[p] for p in parts], varies=True)

    def weights(self, mask: int, dtype: Any) -> list[Any]:
        """One scalar of `dtype` per replica: its share of the first root in `mask`."""
        root = (mask & -mask).bit_length() - 1
        if (root, dtype) not in self._weights:
            sizes = self._sizes[root]
            with self._builder.adding("batch_share", sizes.device):
                sizes = tf.cast(sizes, tf.float64)
                shares = tf.math.divide_no_nan(sizes, tf.reduce_sum(sizes))
                self._weights[root, dtype] = tf.unstack(
                    tf.cast(shares, dtype), num=self._replica_count
                )
        return self._weights[root, dtype]

    def mean(self, value: Value, mask: int) -> Any:
        """The weighted mean of the replicas' tensors."""
        return self.mean_of([value.whole(r) for r in range(self._replica_count)], mask)

    def mean_of(self, tensors: list[Any], mask: int) -> Any:
        """The weighted mean of one floating or complex tensor per replica."""
        weights = self.weights(mask, tensors[0].dtype)
        with self._builder.adding(f"mean/{tensors[0].op.name}", tensors[0].device):
            terms = [tf.math.multiply_no_nan(t, w) for t, w in zip(tensors, weights, strict=True)]
            return tf.add_n(terms)

    def mean_slices(self, values: Value, indices: Value, mask: int) -> tuple[Any, Any]:
        """The mean of the replicas' `tf.IndexedSlices`: all of them in replica order, each scaled by its share."""
        replicas = range(self._replica_count)
        rows = [values.whole(r) for r in replicas]
        weights = self.weights(mask, rows[0].dtype)
        with self._builder.adding(f"mean/{rows[0].op.name}", rows[0].device):
            scaled = [tf.math.multiply_no_nan(t, w) for t, w in zip(rows, weights, strict=True)]
            return (
                tf.concat(scaled, 0),
                tf.concat([indices.whole(r) for r in replicas], 0),
            )
