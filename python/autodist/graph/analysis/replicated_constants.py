"""Finds the ops of which each replica gets a copy although they do not vary.

*Small constants, and what is computed from them.* TensorFlow would send a single copy to the other
replicas at each step, which costs more than a constant on each. And some tensors belong to one step
of one replica, such as the empty list that a loop fills. A single copy would tie the replicas'
loops to one device.

*Ops that only wait for ops of each replica* (`NoOp`). A single copy would make each replica wait
for all: `tf.gradients` makes such an op for almost every op of the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autodist.graph.original.ops import op_types

# An op with a larger output has one copy for all replicas.
_MOST_ELEMENTS = 1 << 14


class ReplicatedConstants:
    """The ops of which each replica gets a copy; grows as the graph grows."""

    def __init__(self) -> None:
        self._constant: set[Any] = set()
        self._replicated: set[Any] = set()

    def __contains__(self, op: Any) -> bool:
        return op in self._replicated

    def extend(self, ordered: list[Any], is_per_replica: Callable[[Any], bool]) -> None:
        """Analyses ops added to the original graph.

        Args:
          ordered: the ops, each after what it depends on.
          is_per_replica: whether an op is made once per replica for a reason of its own.
        """
        new = set()
        for op in ordered:
            if self._is_constant(op):
                new.add(op)
                self._constant.add(op)
            elif op.type == "NoOp" and any(
                source in self._replicated or is_per_replica(source) for source in op.control_inputs
            ):
                self._replicated.add(op)
        for op in reversed(ordered):
            if op in self._replicated or is_per_replica(op):
                self._replicated.update(t.op for t in op.inputs if t.op in new)

    def _is_constant(self, op: Any) -> bool:
        """Whether `op` has the same small outputs whenever and wherever it runs."""
        inputs = op.inputs
        if op.type != "Const" and not (inputs and all(t.op in self._constant for t in inputs)):
            return False
        if (
            op.type in op_types.CONTROL_FLOW
            or op.type in op_types.FUNCTION_CALLS
            or op.control_inputs
        ):
            return False
        return not op.op_def.is_stateful and all(_is_small(tensor) for tensor in op.outputs)


def _is_small(tensor: Any) -> bool:
    count = tensor.shape.num_elements()
    return count is None or bool(count <= _MOST_ELEMENTS)
