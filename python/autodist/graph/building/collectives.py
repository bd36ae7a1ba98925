"""TensorFlow's collectives in the transformed graph: the ops that every task runs, or none.

Each task gives its tensor and all get the sum, along a ring. A task whose part is missing makes the others wait for
ever, so a run must have all parts or none: the first task's result waits for the others' ops (`sum_over_tasks`), and
whatever takes one of the results takes the first, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from autodist.graph.building.builder import Builder

_OP = "CollectiveReduceV2"
_DTYPES = frozenset({tf.float16, tf.bfloat16, tf.float32, tf.float64})
_MAX_KEY = 2**31 - 1


def can_reduce(tensor: Any) -> bool:
    """Whether collectives take a tensor; they keep the shape of a tensor that they have seen."""
    return tensor.dtype in _DTYPES and bool(tensor.shape.is_fully_defined())


class Collectives:
    """Makes collective ops and finds them again.

    Args:
      builder: of the transformed graph.
    """

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        # Servers that outlive a session keep its groups under their keys.
        self._group_key = zlib.crc32(builder.container.encode()) % _MAX_KEY + 1
        self._count = 0
        self._is_behind: dict[Any, bool] = {}

    def sum_over_tasks(self, name: str, parts: list[Any], timeout_seconds: float = 0) -> list[Any]:
        """The sum of one tensor per task, on each of the tasks.

        Args:
          name: for the new ops.
          parts: one tensor per task, for which `can_reduce`, of one shape; each on a device of its task.
          timeout_seconds: 0: none, for whoever watches the servers ends the run.
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
        """Whether making `elements`, ops and tensors, runs a collective."""
        if not self._count:
            return False
        return any(self._runs_one(getattr(e, "op", e)) for e in elements)

    def _runs_one(self, op: Any) -> bool:
        """Whether `op` is a collective or depends on one; what is found is kept, since ops do not change."""
        found, seen, pending = False, [], [op]
        visited = {op}
        while pending:
            current = pending.pop()
            if current in self._is_behind:
                found = found or self._is_behind[current]
                continue
            seen.append(current)
            found = found or current.type == _OP
            for source in [t.op for t in current.inputs] + list(current.control_inputs):
                if source not in visited:
                    visited.add(source)
                    pending.append(source)
        if not found:
            self._is_behind.update(dict.fromkeys(seen, False))
        self._is_behind[op] = found
        return found
