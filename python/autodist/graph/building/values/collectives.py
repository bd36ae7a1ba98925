"""TensorFlow's collectives in the transformed graph: sums over all tasks of a cluster.

Each task gives a tensor, and all get the sum, along a ring. If one task's op does not run, the
others wait without end. So a run must have all of the ops or none. The first task's result waits
for the others' ops (`sum_over_tasks`), and each op that takes a result also takes the first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from autodist.graph.building.ops.builder import Builder

_OP = "CollectiveReduceV2"
_DTYPES = frozenset({tf.float16, tf.bfloat16, tf.float32, tf.float64})
_MAX_KEY = 2**31 - 1


def can_reduce(tensor: Any) -> bool:
    """Whether collectives take a tensor.

    Its shape must be static, since a collective keeps the shape that it saw first.
    """
    return tensor.dtype in _DTYPES and bool(tensor.shape.is_fully_defined())


class Collectives:
    """Makes collective ops, and finds what depends on them.

    Args:
      builder: of the transformed graph.
    """

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        # Servers that outlive a session keep its groups under their keys.
        self._group_key = zlib.crc32(builder.container.encode()) % _MAX_KEY + 1
        self._count = 0
        # The ops that are collectives or depend on one, among the first `_seen` of the graph.
        self._behind: set[Any] = set()
        self._seen = 0
        self._version: int | None = None

    def sum_over_tasks(self, name: str, parts: list[Any], timeout_seconds: float = 0) -> list[Any]:
        """The sum of one tensor per task, on each of the tasks.

        Args:
          name: for the new ops.
          parts: one tensor per task, for which `can_reduce`, of one shape; each on a device of its
            task.
          timeout_seconds: 0: none; the runner, which watches the servers, ends the run.
        """
        self._count += 1
        made = []
        for task, part in enumerate(parts):
            with self._builder.adding(f"{name}/task_{task}", part.device):
                made.append(
                    tf.raw_ops.CollectiveReduceV2(
                        input=part,
                        group_size=len(parts),
                        group_key=self._group_key,
                        instance_key=self._count,
                        ordering_token=[],
                        merge_op="Add",
                        final_op="Id",
                        communication_hint="ring",
                        timeout_seconds=timeout_seconds,
                    )
                )
        with self._builder.adding(f"{name}/all", made[0].device, [t.op for t in made[1:]]):
            return [tf.identity(made[0]), *made[1:]]

    def are_behind(self, elements: Iterable[Any]) -> bool:
        """Whether a run of `elements`, transformed ops and tensors, contains a collective."""
        if not self._count:
            return False
        self._look_at_new_ops()
        return any(getattr(e, "op", e) in self._behind for e in elements)

    def _look_at_new_ops(self) -> None:
        """Finds the new ops that are collectives or depend on one.

        Again while a loop's back edge adds some.
        """
        graph = self._builder.graph
        if graph.version == self._version:
            return
        self._version = graph.version
        ops = graph.get_operations()
        new, self._seen = ops[self._seen :], len(ops)
        count = None
        while count != len(self._behind):
            count = len(self._behind)
            for op in new:
                if op not in self._behind and self._follows(op):
                    self._behind.add(op)

    def _follows(self, op: Any) -> bool:
        behind = self._behind
        return (
            op.type == _OP
            or any(tensor.op in behind for tensor in op.inputs)
            or any(source in behind for source in op.control_inputs)
        )
