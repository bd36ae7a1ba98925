"""Splits batches over the replicas and takes means weighted by the sub-batches' sizes.

A batch of B rows is split into R consecutive sub-batches whose sizes differ by at most one. Each
replica's mean loss is a mean over its sub-batch. So the mean over the batch is the sum of the
replicas' values, each times (size of its sub-batch) / B.

Where B < R some sub-batches would be empty, and some kernels abort the process on zero rows
(`MaxPool` in TensorFlow 2.21). So a replica without a sub-batch computes on the last row of the
batch again. Its result counts as nothing: its share is 0, and its rows are dropped where the
replicas' rows are joined.

A split, a mean and a join along the first dimension are one op of our library each (`cc/ops`).
TensorFlow's own ops would be several times as many, and read and write each gradient once more per
replica.

Replicas may be on several tasks of a cluster. Then each task averages its own values, times its
share of the batch, and a collective adds the tasks' results (`mean_on_tasks`).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist import _native
from autodist.graph.building.ops import fast_ops
from autodist.graph.building.ops.builder import Builder, cpu_beside
from autodist.graph.building.values.collectives import Collectives, can_reduce
from autodist.graph.building.values.values import Value


class Means:
    """The parts of each root, and the means over them.

    Args:
      builder: of the transformed graph.
      collectives: its collectives.
    """

    def __init__(self, builder: Builder, collectives: Collectives) -> None:
        self._builder = builder
        self._collectives = collectives
        self._tasks = _tasks(builder.replica_devices)
        self._replica_count = len(builder.replica_devices)
        self._ops = _native.ops()
        self._sizes: dict[int, Any] = {}
        self._batches: dict[int, Any] = {}
        self._sources: dict[tuple[int, int], tuple[int, ...]] = {}
        self._common_sizes: dict[tuple[int, ...], Any] = {}
        self._counts: dict[tuple[int, ...], list[Any]] = {}
        self._share_factors: dict[tuple[tuple[int, ...], bool], list[Any]] = {}
        self._task_shares: dict[tuple[int, ...], list[Any]] = {}

    def split(self, root: int, batch: Any, axis: int) -> Value:
        """Splits `batch`, the transformed tensor of root `root`, over the replicas along `axis`."""
        split = self._split_rows if axis == 0 else self._split_along
        parts, self._sizes[root] = split(batch, axis)
        self._batches[root] = batch
        return Value([[p] for p in parts], varies=True)

    def _split_rows(self, batch: Any, _: int) -> tuple[list[Any], Any]:
        with self._builder.adding_on_cpu(f"split/{batch.op.name}", batch.device):
            parts, sizes = self._ops.autodist_split_batch(batch=batch, N=self._replica_count)
        return parts, sizes

    def _split_along(self, batch: Any, axis: int) -> tuple[list[Any], Any]:
        count = self._replica_count
        with self._builder.adding(f"split/{batch.op.name}", batch.device):
            rows = tf.shape(batch, out_type=tf.int64)[axis]
            numbers = tf.range(count, dtype=tf.int64)
            sizes = rows // count + tf.cast(numbers < rows % count, tf.int64)
            starts = tf.maximum(tf.minimum(tf.cumsum(sizes, exclusive=True), rows - 1), 0)
            ends = starts + tf.maximum(sizes, tf.minimum(rows, 1))
            parts = [batch[along(axis, slice(starts[i], ends[i]))] for i in range(count)]
            for part in parts:
                part.set_shape(_without_size(batch.shape, axis))
        return parts, sizes

    def mean(self, tensors: list[Any], mask: int) -> Any:
        """The weighted mean of one floating or complex tensor per replica.

        Args:
          tensors: one tensor per replica, of the same shape.
          mask: the roots that they depend on.
        """
        first = tensors[0]
        made = fast_ops.make(
            first.graph,
            "AutodistMeanOfReplicas",
            [*tensors, self._sizes_of(mask)],
            {"N": len(tensors), "T": first.dtype},
            name=f"mean/{first.op.name}",
            device=cpu_beside(first.device),
        )
        return made.outputs[0]

    def can_mean_on_tasks(self, tensors: list[Any]) -> bool:
        """Whether there are several tasks, and collectives that take such tensors."""
        return len(self._tasks) > 1 and all(can_reduce(tensor) for tensor in tensors)

    def mean_on_tasks(self, tensors: list[Any], mask: int) -> list[Any]:
        """The weighted mean, one tensor per replica, each on the replica's task.

        No task gathers all tensors.

        Args:
          tensors: one tensor per replica, for which `can_mean_on_tasks`.
          mask: the roots that they depend on.
        """
        name = f"mean/{tensors[0].op.name}"
        sizes = self._sizes_of(mask)
        shares = self._shares_of_tasks(mask)
        parts = []
        for replicas, share in zip(self._tasks, shares, strict=True):
            first = tensors[replicas.start]
            with self._builder.adding_on_cpu(f"{name}/local", first.device):
                local = self._ops.autodist_mean_of_replicas(
                    values=tensors[replicas.start : replicas.stop],
                    sizes=sizes[replicas.start : replicas.stop],
                )
                # A task without a sub-batch has no weight, even if it computed NaN.
                parts.append(tf.math.multiply_no_nan(local, tf.cast(share, local.dtype)))
        sums = self._collectives.sum_over_tasks(name, parts)
        return [each for each, replicas in zip(sums, self._tasks, strict=True) for _ in replicas]

    def _shares_of_tasks(self, mask: int) -> list[Any]:
        """Each task's share of the batch, a float64 scalar."""
        roots = self._sources_in(mask)
        if roots not in self._task_shares:
            sizes = self._sub_batch_sizes(roots)
            with self._builder.adding("task_shares", sizes.device):
                # An empty batch has no shares; all replicas count alike.
                counted = tf.where(tf.reduce_sum(sizes) > 0, sizes, tf.ones_like(sizes))
                weights = tf.cast(counted, tf.float64) / tf.cast(tf.reduce_sum(counted), tf.float64)
                self._task_shares[roots] = [
                    tf.reduce_sum(weights[replicas.start : replicas.stop])
                    for replicas in self._tasks
                ]
        return self._task_shares[roots]

    def mean_slices(self, values: list[Any], indices: list[Any], mask: int) -> tuple[Any, Any]:
        """Joins the replicas' `tf.IndexedSlices` in replica order, each scaled by its share."""
        return self._join_weighted(values, mask), self.join(indices, mask)

    def rows_of_replicas(self, rows: Any, values: list[Any], mask: int) -> list[Any]:
        """Reverses `mean_slices`: splits `rows`, one per row of all `values`, by replica."""
        counts = self.sub_batch_counts(mask)
        with self._builder.adding(f"part/{values[0].op.name}", values[0].device):
            sizes = [tf.shape(v, out_type=tf.int64)[0] for v in values]
            counted = tf.stack([s * c for s, c in zip(sizes, counts, strict=True)])
            parts = tf.split(rows, counted, num=self._replica_count)
            for i, part in enumerate(parts):
                # A replica without a sub-batch has rows all the same. They get no gradient.
                missing = (sizes[i] - counted[i])[tf.newaxis]
                shape = tf.concat([missing, tf.shape(part, out_type=tf.int64)[1:]], 0)
                parts[i] = tf.concat([part, tf.zeros(shape, rows.dtype)], 0)
                parts[i].set_shape(values[i].shape)
            return list(parts)

    def join(self, tensors: list[Any], mask: int, axis: int = 0) -> Any:
        """The replicas' rows, which lie along `axis`, in batch order."""
        name, device = f"join/{tensors[0].op.name}", tensors[0].device
        if axis:
            with self._builder.adding(name, device):
                return tf.concat(self._counted(tensors, mask, axis), axis)
        sizes = self._sizes_of(mask)
        with self._builder.adding_on_cpu(name, device):
            return self._ops.autodist_join_replicas(values=tensors, sizes=sizes)

    def _join_weighted(self, tensors: list[Any], mask: int) -> Any:
        sizes = self._sizes_of(mask)
        with self._builder.adding_on_cpu(f"mean/{tensors[0].op.name}", tensors[0].device):
            return self._ops.autodist_join_weighted_replicas(values=tensors, sizes=sizes)

    def sum(self, tensors: list[Any], mask: int) -> Any:
        """The sum over the replicas that have a sub-batch."""
        counts = self.sub_batch_counts(mask)
        with self._builder.adding(f"sum/{tensors[0].op.name}", tensors[0].device):
            # Not a product with 0, which is NaN where a tensor holds infinity.
            counted = [
                tf.where(count > 0, tensor, tf.zeros_like(tensor))
                for tensor, count in zip(tensors, counts, strict=True)
            ]
            return tf.add_n(counted)

    def times_shares(self, tensors: list[Any], mask: int, *, is_inverse: bool) -> list[Any]:
        """Each replica's tensor times its share of the rows, or times the inverse of its share.

        A replica without a sub-batch is treated as one with all rows. What it computes has no
        weight elsewhere.

        Args:
          tensors: one floating or complex tensor per replica.
          mask: the roots whose sub-batches give the shares.
          is_inverse: whether to multiply by the inverse.
        """
        made = []
        for factor, tensor in zip(self._factors(mask, is_inverse), tensors, strict=True):
            with self._builder.adding(f"share/{tensor.op.name}", tensor.device):
                made.append(tensor * tf.cast(factor, tensor.dtype))
        return made

    def _factors(self, mask: int, is_inverse: bool) -> list[Any]:
        """Each replica's share, or the inverse, as float64 scalars."""
        key = (self._sources_in(mask), is_inverse)
        if key not in self._share_factors:
            sizes = self._sub_batch_sizes(key[0])
            with self._builder.adding("shares", sizes.device):
                # In an empty batch every sub-batch is empty.
                total = tf.maximum(tf.reduce_sum(sizes), 1)
                counted = tf.cast(tf.where(sizes > 0, sizes, total), tf.float64)
                shares = counted / tf.cast(total, tf.float64)
                factors = 1 / shares if is_inverse else shares
                self._share_factors[key] = tf.unstack(factors, num=self._replica_count)
        return self._share_factors[key]

    def has_rows(self, mask: int, replica: int) -> Any:
        """A bool scalar: whether a replica has a sub-batch.

        True where no batch is involved.
        """
        count = self.sub_batch_counts(mask)[replica]
        with self._builder.adding("has_rows", count.device):
            return tf.equal(count, 1)

    def roots_in(self, mask: int) -> set[int]:
        """The numbers of the roots in `mask`."""
        found, rest = set(), mask >> 1
        while rest:
            lowest = rest & -rest
            found.add(lowest.bit_length() - 1)
            rest ^= lowest
        return found & self._sizes.keys()

    def sizes(self, root: int) -> Any:
        """The tensor, int64 of shape `[replicas]`, with the sizes of a root's sub-batches."""
        return self._sizes[root]

    def _counted(self, tensors: list[Any], mask: int, axis: int) -> list[Any]:
        """Each replica's rows; none of a replica without a sub-batch."""
        counts = self.sub_batch_counts(mask)
        counted = []
        for tensor, count in zip(tensors, counts, strict=True):
            size = tf.shape(tensor, out_type=tf.int64)[axis] * count
            rows = tensor[along(axis, slice(size))]
            rows.set_shape(_without_size(tensor.shape, axis))
            counted.append(rows)
        return counted

    def sub_batch_counts(self, mask: int) -> list[Any]:
        """One int64 scalar per replica: 1 where it has a sub-batch, else 0."""
        roots = self._sources_in(mask)
        if roots not in self._counts:
            sizes = self._sub_batch_sizes(roots)
            with self._builder.adding("has_rows", sizes.device):
                # An empty batch has empty sub-batches; there is nothing to drop.
                has_rows = (sizes > 0) | (tf.reduce_sum(sizes) == 0)
                self._counts[roots] = tf.unstack(
                    tf.cast(has_rows, tf.int64), num=self._replica_count
                )
        return self._counts[roots]

    def _sources_in(self, mask: int) -> tuple[int, ...]:
        """The roots in `mask`, one of each op: the outputs of an iterator have one length."""
        key = (mask, len(self._sizes))
        if key not in self._sources:
            first: dict[Any, int] = {}
            for root in sorted(self.roots_in(mask)):
                first.setdefault(self._batches[root].op, root)
            self._sources[key] = tuple(first.values())
        return self._sources[key]

    def _sizes_of(self, mask: int) -> Any:
        """The sizes that weigh what depends on the roots in `mask`."""
        return self._sub_batch_sizes(self._sources_in(mask))

    def _sub_batch_sizes(self, roots: tuple[int, ...]) -> Any:
        """The sizes of the roots' sub-batches, checked to be the same.

        Without roots, all sizes are 1.
        """
        if len(roots) == 1:
            return self._sizes[roots[0]]
        if roots not in self._common_sizes:
            with self._builder.adding("sub_batch_sizes", self._builder.replica_devices[0]):
                self._common_sizes[roots] = (
                    self._checked_sizes(roots)
                    if roots
                    else tf.ones([self._replica_count], tf.int64)
                )
        return self._common_sizes[roots]

    def _checked_sizes(self, roots: tuple[int, ...]) -> Any:
        """The sizes of the first root's sub-batches, asserted to be those of the others."""
        sizes = [self._sizes[root] for root in roots]
        names = ", ".join(repr(self._batches[root].name) for root in roots)
        problem = (
            f"the split tensors {names} have different numbers of rows. Sizes of their sub-batches:"
        )
        checks = [
            tf.raw_ops.Assert(
                condition=tf.reduce_all(tf.equal(sizes[0], other)), data=[problem, sizes[0], other]
            )
            for other in sizes[1:]
        ]
        with tf.control_dependencies(checks):
            return tf.identity(sizes[0])


def _tasks(replica_devices: tuple[str, ...]) -> list[range]:
    """The replicas of each task, which are consecutive."""
    tasks = [_task_of(device) for device in replica_devices]
    starts = [i for i, task in enumerate(tasks) if i == 0 or task != tasks[i - 1]]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(tasks)], strict=True)]


def _task_of(device: str) -> tuple[Any, Any]:
    spec = tf.DeviceSpec.from_string(device)
    return spec.job, spec.task


def along(axis: int, part: slice) -> tuple[slice, ...]:
    """The index of a tensor or an array that takes `part` of its dimension `axis`."""
    return (*(slice(None),) * axis, part)


def _without_size(shape: Any, axis: int) -> Any:
    """`shape` with dimension `axis` unknown."""
    if shape.rank is None:
        return shape
    return shape[:axis].concatenate([None]).concatenate(shape[axis + 1 :])
