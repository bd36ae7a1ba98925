"""How the replicas' values of one original tensor become one.

The rule for a tensor whose replicas differ:

| the original tensor | what is fetched |
|---|---|
| a gradient with respect to a variable | the mean over the batch |
| a variable's handle (`"v:0"`) | the variable's value |
| a read from a variable whose copies differ, or of some of its rows | the copies, aggregated by the code that saves |
| of a kind that is proved (`kinds`) | the replicas' values, joined or combined as the kind says |
| anything else | computed once more, from one node's values of what it was computed from |
| with an effect, or a state, on the way | refused |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _native
from autodist.errors import UnsupportedGraphError
from autodist.graph.analysis.batch import LOCAL
from autodist.graph.building.placement import PlacedVariable
from autodist.graph.building.values import Value
from autodist.graph.original import op_types

if TYPE_CHECKING:
    from autodist.graph.transformer import Transformer


def combine(walk: Transformer, tensor: Any) -> Any:
    """The one tensor of the transformed graph that is fetched in place of `tensor`."""
    variable = walk.placed(tensor)
    if variable is not None:
        return read(walk, variable)
    value = walk.mean(tensor) if walk.is_gradient(tensor) else walk.weighted(tensor)
    if not value.varies:
        return value.whole(0)
    axis = walk.batch.asked_axis(tensor)
    if axis is not None:
        return walk.means.join(walk.replicas(value), walk.batch.tensor_mask(tensor), axis)
    if value.local_variable is not None:
        return aggregate(walk, value.local_variable, walk.replicas(value))
    source = walk.placed(tensor.op.inputs[0]) if tensor.op.type in op_types.READ_ONLY else None
    if source is not None and walk.batch.tensor_mask(tensor) == LOCAL:
        return aggregate(walk, source, walk.replicas(value))
    obstacle = walk.batch.obstacle_to(tensor)
    if obstacle is not None:
        raise _refusal(tensor, obstacle)
    return walk.one_value(tensor)


def read(walk: Transformer, variable: PlacedVariable, controls: list[Any] | None = None) -> Any:
    """The value of a variable whose handle is fetched, by the name `v:0` as a rule, which is a ref variable's value.

    Args:
      walk: the transformer.
      variable: the variable.
      controls: ops of the transformed graph that the read waits for.
    """
    name, device = f"fetch/{variable.logical.name}", variable.handles[0][0].device
    copies: list[list[Any]] = []
    with walk.builder.adding(name, device, controls):
        for handles in variable.handles:
            copies.append([])
            for handle in handles:
                with tf.device(handle.device):
                    dtype = variable.logical.dtype
                    copies[-1].append(tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype))
    value = Value(copies, grid=variable.grid)
    if variable.is_local:
        return aggregate(walk, variable, walk.replicas(value))
    return value.whole(0)


def extreme_of_replicas(walk: Transformer, pieces: list[Any], kind: str) -> Any:
    """The extreme of the replicas' extremes; one without a part has that of a row that others have, too."""
    raw = tf.raw_ops
    with walk.builder.adding(f"{kind}/{pieces[0].op.name}", pieces[0].device):
        stacked = tf.stack(pieces)
        if pieces[0].dtype == tf.bool:
            return (raw.Any if kind in ("Any", "Max") else raw.All)(input=stacked, axis=0)
        return (raw.Max if kind in ("Any", "Max") else raw.Min)(input=stacked, axis=0)


def aggregate(walk: Transformer, variable: PlacedVariable, pieces: list[Any]) -> Any:
    """The value of a local variable's copies, by the reduction that saves use: the bits that are saved."""
    ops = _native.ops()
    with walk.builder.adding_on_cpu(f"fetch/{variable.logical.name}", pieces[0].device):
        return ops.autodist_aggregate_replicas(
            values=pieces, aggregation=variable.logical.aggregation.name
        )


def lower_summary(walk: Transformer, op: Any) -> Any:
    """A summary of what one node has."""
    inputs = [
        value.whole(0) if not value.varies else walk.fetch(tensor)
        for tensor, value in ((t, walk.input(op, t)) for t in op.inputs)
    ]
    return walk.builder.copy(op, inputs, walk.controls(op, None))


def _refusal(tensor: Any, obstacle: Any) -> UnsupportedGraphError:
    return UnsupportedGraphError(
        f"cannot fetch {tensor.name!r} ({tensor.dtype.name}, shape {tensor.shape}): each replica has its own value, "
        f"computed from its part of the batch, and one node's value cannot be computed: {obstacle}. Fetch what it was "
        "computed from, or leave the batch out of batch_dims, so that it is not split."
    )
