"""Makes the one value that is fetched for a tensor whose replicas' values differ.

| the original tensor | what is fetched |
|---|---|
| a gradient with respect to a variable | the mean over the batch |
| a variable's handle (`"v:0"`) | the variable's value |
| a read, also of rows, of a variable whose copies differ | the copies, aggregated as in saves |
| of a kind that is proved (`kinds`) | the replicas' values, joined or combined as the kind says |
| anything else | computed once more, from one node's values of what it was computed from |
| with an effect, or a state, on the way | refused |
| the rows of a gradient whose order is not known (`gradient_rows`) | refused |
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.graph.analysis.batch.dependence import LOCAL
from autodist.graph.building.values.combining import aggregate
from autodist.graph.building.values.values import Value
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.context.changed_inputs import ChangedInputs
from autodist.graph.context.counterparts import Counterparts
from autodist.graph.context.gradients import Gradients
from autodist.graph.context.whole_values import WholeValues
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import Key, key_of


class FetchedValues:
    """The transformed tensors that are fetched in place of original ones; each is made once.

    Args:
      made: has the value that stands for each original tensor.
      changed: what later ops see in place of a tensor's own value.
      gradients: the means of gradients.
      whole_values: one node's values.
    """

    def __init__(
        self,
        made: Counterparts,
        changed: ChangedInputs,
        gradients: Gradients,
        whole_values: WholeValues,
    ) -> None:
        self._made = made
        self._changed = changed
        self._gradients = gradients
        self._whole_values = whole_values
        self._fetched: dict[Key, Any] = {}

    def get(self, tensor: Any) -> Any:
        """The one tensor of the transformed graph that is fetched in place of `tensor`."""
        key = key_of(tensor)
        if key not in self._fetched:
            self._fetched[key] = self._combine(tensor)
        return self._fetched[key]

    def _combine(self, tensor: Any) -> Any:
        made = self._made
        variable = made.placed(tensor)
        if variable is not None:
            return read_variable(made, variable)
        is_gradient = tensor in self._gradients
        if made.batch.is_in_unknown_order(tensor):
            raise _refusal_of_rows(tensor)
        value = self._gradients.mean(tensor) if is_gradient else self._changed.weighted(tensor)
        if not value.varies:
            return value.whole(0)
        axis = made.batch.asked_axis(tensor)
        if axis is not None:
            return made.means.join(made.replicas(value), made.batch.tensor_mask(tensor), axis)
        if value.local_variable is not None:
            return aggregate(made.builder, value.local_variable, made.replicas(value))
        source = made.placed(tensor.op.inputs[0]) if tensor.op.type in op_types.READ_ONLY else None
        if source is not None and made.batch.tensor_mask(tensor) == LOCAL:
            return aggregate(made.builder, source, made.replicas(value))
        obstacle = made.batch.obstacle_to(tensor)
        if obstacle is not None:
            raise _refusal(tensor, obstacle)
        return self._whole_values.of(tensor)


def read_variable(
    made: Counterparts, variable: PlacedVariable, controls: list[Any] | None = None
) -> Any:
    """The value of a variable whose handle is fetched, mostly by a ref variable's name `v:0`.

    Args:
      made: has the value that stands for each original tensor.
      variable: the variable.
      controls: ops of the transformed graph that the read waits for.
    """
    name, device = f"fetch/{variable.logical.name}", variable.handles[0][0].device
    copies: list[list[Any]] = []
    with made.builder.adding(name, device, controls):
        for handles in variable.handles:
            copies.append([])
            for handle in handles:
                with tf.device(handle.device):
                    dtype = variable.logical.dtype
                    copies[-1].append(tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype))
    value = Value(copies, grid=variable.grid)
    if variable.is_local:
        return aggregate(made.builder, variable, made.replicas(value))
    return value.whole(0)


def _refusal(tensor: Any, obstacle: Any) -> UnsupportedGraphError:
    return UnsupportedGraphError(
        f"cannot fetch {tensor.name!r} ({tensor.dtype.name}, shape {tensor.shape}): each replica "
        "has its own value, computed from its sub-batch, and one node's value cannot be "
        f"computed: {obstacle}. Fetch what it was computed from, or leave the batch out of "
        "batch_dims, so that it is not split."
    )


def _refusal_of_rows(tensor: Any) -> UnsupportedGraphError:
    return UnsupportedGraphError(
        f"cannot fetch {tensor.name!r}: it belongs to a gradient as tf.IndexedSlices, and the "
        "lookups that it is made of are hidden in a loop, branch or function, so that the order of "
        "its rows is not known. Fetch tf.convert_to_tensor(gradient), made before the session, "
        "which has a row for each row of the variable."
    )
