"""Builds the ops of a restore on several tasks, in a graph of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _native
from autodist.checkpoint.distributed.tasks import task_names
from autodist.checkpoint.distributed.variables import own_graph_handles

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.variables.restore_targets import (
        PlacedRestore,
        RestoreTarget,
    )


class RestoreGraph:
    """The ops of one restore; those that move bytes are built when they are first needed.

    Attributes:
        tasks: All tasks, the chief first.
        joins: By number of a task, the numbers of its targets and its `AutodistJoinRestore`.
        parts: By number of a task, the placeholders of its part of the plan and of its names.
        touch_ops: For each task an op that renews its lease and returns how many bytes it has
            moved.
        publish: The op that gives the variables the restored values.
        drop: The op that ends the restore.
    """

    def __init__(self, graph: Any, placed: PlacedRestore, homes: Sequence[str], chief: str) -> None:
        """Builds the ops that begin and end a restore.

        Args:
            graph: The graph to build in.
            placed: What is restored.
            homes: The task of each restore_target.
            chief: The task that reads the index.
        """
        self._graph = graph
        self._placed = placed
        self.tasks = [chief, *sorted(set(homes) - {chief})]
        self._fills: dict[tuple[int, bool, bool], tuple[Any, Any, Any]] = {}
        self._streams: dict[tuple[int, bool], tuple[Any, Any, Any]] = {}
        self._sums: dict[int, tuple[Any, Any]] = {}
        self.joins: dict[int, tuple[list[int], Any]] = {}
        self.parts: dict[int, tuple[Any, Any]] = {}
        with graph.as_default():
            self.restore_id = tf.compat.v1.placeholder(tf.string, [])
            self.prefix = tf.compat.v1.placeholder(tf.string, [])
            self.path = tf.compat.v1.placeholder(tf.string, [])
            self.fingerprint = tf.compat.v1.placeholder(tf.int64, [])
            self.lease = tf.compat.v1.placeholder(tf.int64, [])
            self.swap = tf.compat.v1.placeholder(tf.bool, [])
            self._build(homes)

    def _build(self, homes: Sequence[str]) -> None:
        ops = _native.ops()
        with self._on(0):
            self.open = ops.autodist_open_restore(self.restore_id, self.prefix, self.lease)
        handles = own_graph_handles.OwnHandles(
            restore_target.variable for restore_target in self._placed.targets
        )
        published, drops, touches = [], [], []
        by_home: dict[str, list[int]] = {}
        for number, home in enumerate(homes):
            by_home.setdefault(home, []).append(number)
        for index, task in enumerate(self.tasks):
            here = by_home.get(task)
            if here:
                self.joins[index] = self._join(index, here, handles)
                published += self._publish(index, handles)
            with self._on(index):
                drops.append(ops.autodist_drop_restore(self.restore_id, withdraw=False))
                none = tf.zeros([0], tf.int64)
                touches.append(ops.autodist_sum_ranges(self.restore_id, none).moved_bytes)
        self.publish = tf.group(*published)
        self.drop = tf.group(*drops)
        self.touch_ops = touches

    def _join(
        self, index: int, here: list[int], handles: own_graph_handles.OwnHandles
    ) -> tuple[list[int], Any]:
        targets = self._placed.targets
        pinned = {
            number for number in here if own_graph_handles.is_pinnable(targets[number].variable)
        }
        numbers, pins = handles.pin(sorted(pinned), may_be_uninitialized=True)
        numbers += [number for number in here if number not in pinned]
        with self._on(index):
            part = tf.compat.v1.placeholder(tf.int64, [None])
            names = tf.compat.v1.placeholder(tf.string, [None])
            self.parts[index] = part, names
            outputs = _native.ops().autodist_join_restore(
                restore_id=self.restore_id,
                prefix=self.path,
                fingerprint=self.fingerprint,
                lease_seconds=self.lease,
                part=part,
                names=names,
                swap=self.swap,
                pins=pins,
                shapes=[targets[i].shape for i in numbers],
                validate_shapes=[targets[i].validate_shape for i in numbers],
            )
        return numbers, outputs

    def _publish(self, index: int, handles: own_graph_handles.OwnHandles) -> list[Any]:
        """Returns the ops that publish what a task holds."""
        targets = self._placed.targets
        assigned = [
            number
            for number in self.joins[index][0]
            if not own_graph_handles.is_pinnable(targets[number].variable)
        ]
        with self._on(index):
            published = _native.ops().autodist_publish_restore(
                self.restore_id, dtypes=[targets[i].dtype for i in assigned]
            )
        if not assigned:
            return [published]
        return [
            _assign(targets[number], handles.handle(number), tensor)
            for number, tensor in zip(assigned, published, strict=True)
        ]

    def sum(self, index: int) -> tuple[Any, Any]:
        """Returns the fetch that sums ranges on a task, and the placeholder of these."""
        if index not in self._sums:
            with self._graph.as_default(), self._on(index):
                ranges = tf.compat.v1.placeholder(tf.int64, [None])
                sums, _ = _native.ops().autodist_sum_ranges(
                    self.restore_id, ranges, threads=self._placed.request.threads
                )
            self._sums[index] = sums, ranges
        return self._sums[index]

    def fill(self, index: int, *, live: bool, sent: bool) -> tuple[Any, Any, Any]:
        """Returns the fetch that fills targets, the placeholder of ranges, and that of sent bytes.

        Args:
            index: The number of the task.
            live: Whether the targets are those that have a value.
            sent: Whether the chief reads the bytes and sends them.
        """
        key = index, live, sent
        if key not in self._fills:
            ops, threads = _native.ops(), self._placed.request.threads
            with self._graph.as_default():
                ranges, reads = (tf.compat.v1.placeholder(tf.int64, [None]) for _ in range(2))
                buffers = []
                if sent:
                    with self._on(0):
                        buffers = [
                            ops.autodist_read_ranges(self.restore_id, reads, threads=threads)
                        ]
                with self._on(index):
                    sums = ops.autodist_fill_ranges(
                        self.restore_id, ranges, buffers, live=live, threads=threads
                    )
            self._fills[key] = sums, ranges, reads
        return self._fills[key]

    def stream(self, index: int, *, live: bool, number: Any) -> tuple[Any, Any, Any]:
        """Returns the fetch that fills targets over a data connection, and two placeholders.

        The placeholders are of the ranges of entries and of files. The first element of the fetch
        is the sums.

        Args:
            index: The number of the task.
            live: Whether the targets are those that have a value.
            number: The placeholder of the task's number.
        """
        key = index, live
        if key not in self._streams:
            ops = _native.ops()
            with self._graph.as_default():
                ranges, reads = (tf.compat.v1.placeholder(tf.int64, [None]) for _ in range(2))
                with self._on(0):
                    sent = ops.autodist_send_ranges(self.restore_id, reads, number)
                with self._on(index):
                    sums = ops.autodist_receive_ranges(self.restore_id, ranges, live=live)
            self._streams[key] = (sums, sent), ranges, reads
        return self._streams[key]

    def _on(self, index: int) -> Any:
        return tf.device(task_names.processor_of(self.tasks[index]))


def _assign(restore_target: RestoreTarget, handle: Any, tensor: Any) -> Any:
    """Returns an op that gives a variable a value."""
    with tf.device(handle.device):
        if restore_target.is_resource:
            return tf.raw_ops.AssignVariableOp(resource=handle, value=tensor)
        return tf.raw_ops.Assign(
            ref=handle, value=tensor, validate_shape=restore_target.validate_shape
        ).op
