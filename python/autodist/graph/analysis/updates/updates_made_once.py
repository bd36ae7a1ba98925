"""Proves that an update of a variable can be made once, with one node's inputs.

The replicas compute on sub-batches, but a variable has one value. An op may write a value that
depends on the batch to a variable. Such an op is *made once* if each of its inputs can be computed
for the whole batch:

* the input's kind is known (`kinds`): the replicas' rows are joined, their means, sums and extremes
  are combined; or
* an op computes it that can be run once more, on one node's values of its inputs: it lies outside
  of loops and has no lasting effect.

So the proof assumes nothing of the op that writes, nor of the ops that take means and sums on the
way to it.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.analysis.batch.decisions import Obstacle
from autodist.graph.analysis.batch.dependence import Dependence
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.original.ops import op_types
from autodist.graph.original.ops.functions import has_effect
from autodist.private_apis import tf_graphs

_READS = op_types.READ_ONLY | {"LookupTableFind", "LookupTableFindV2", "LookupTableSizeV2"}


class Proof:
    """Finds out what can be computed for the whole batch.

    Args:
      batch: knows what differs from replica to replica.
      kinds: the kinds of tensors.
    """

    def __init__(self, batch: Dependence, kinds: Kinds) -> None:
        self._batch = batch
        self._kinds = kinds
        self._proved: set[Any] = set()

    def obstacle(self, writer: Any) -> Obstacle | None:
        """Why `writer`, which varies, cannot be made once; None if it can."""
        if self._batch.is_in_loop(writer):
            return Obstacle(
                writer, "is in a loop, each step of which would need the values of all replicas"
            )
        for index, tensor in enumerate(writer.inputs):
            if not self._batch.varies(writer, tensor):
                continue
            if tensor.dtype == tf.resource:
                return Obstacle(writer, "is in a branch that some replicas may take and others not")
            if op_types.argument_names(writer)[index] == "grad":
                return Obstacle(writer, "takes a gradient that differs from replica to replica")
            found = self._obstacle_before(writer, tensor)
            if found is not None:
                return found
        return self._obstacle_behind(writer)

    def obstacle_to(self, tensor: Any) -> Obstacle | None:
        """Why one node's value of a tensor that varies cannot be computed.

        None if it can.
        """
        return self._obstacle_before(None, tensor)

    def _obstacle_before(self, writer: Any, wanted: Any) -> Obstacle | None:
        """Why `wanted`, as `writer` sees it, cannot be computed for the whole batch."""
        pending, seen = [(writer, wanted)], set()
        while pending:
            user, tensor = pending.pop()
            op = tensor.op
            if user is not None and not self._batch.varies(user, tensor):
                continue
            if user is not None and self._batch.second_derivative(user, tensor) is not None:
                return Obstacle(user, "goes back through a gradient for a second derivative")
            if self._kinds.joinable(tensor) is not None or op in self._proved or op in seen:
                continue
            found = self._cannot_run_again(op)
            if found is not None:
                return found
            seen.add(op)
            pending.extend((op, t) for t in op.inputs)
        self._proved |= seen
        return None

    def _cannot_run_again(self, op: Any) -> Obstacle | None:
        if self._batch.is_in_loop(op):
            return Obstacle(op, "is in a loop of TensorFlow's v1 control flow")
        if not tf_graphs.is_at_top_level(op) and any(
            self._batch.mask(source) for source in op.control_inputs
        ):
            return Obstacle(op, "is in a branch that some replicas may take and others not")
        if has_effect(op):
            return Obstacle(op, "has an effect, or a state, and cannot be run once more")
        is_reader = op.type in _READS or tf_graphs.takes_functions(op.type)
        for tensor in op.inputs:
            if tensor.dtype == tf.resource and (not is_reader or self._batch.varies(op, tensor)):
                return Obstacle(op, "works on what a step keeps for each replica")
        return None

    def _obstacle_behind(self, writer: Any) -> Obstacle | None:
        """Why the outputs of `writer` cannot be one value for all replicas."""
        pending, seen = [], set()
        for tensor in writer.outputs:
            consumers = tensor.consumers()
            if consumers and (tensor.shape.rank is None or None in tensor.shape.as_list()):
                return Obstacle(
                    writer, f"returns {tensor.name!r}, which may hold rows of the batch"
                )
            pending.extend(consumers)
        while pending:
            op = pending.pop()
            if op in seen:
                continue
            seen.add(op)
            if not self._batch.is_forward(op):
                return Obstacle(writer, f"returns what the gradient op {op.name!r} depends on")
            pending.extend(user for tensor in op.outputs for user in tensor.consumers())
        return None
