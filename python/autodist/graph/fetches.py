"""How the replicas' values of one original tensor become one.

The rule for a tensor whose replicas differ:

| the original tensor | what is fetched |
|---|---|
| a gradient with respect to a variable | the mean over the batch |
| a variable's handle (`"v:0"`) | the variable's value |
| a read from a variable whose copies differ, or of some of its rows | the copies, aggregated by the code that saves |
| computed from such values alone, outside of branches and loops | the same, computed from the aggregated values |
| with a batch dimension (`batch_axis`) | the replicas' tensors, concatenated in batch order |
| the largest or smallest over the rows, `reduce_all`, `reduce_any` | the same of the replicas' |
| floating or complex of unknown rank | a scalar: the weighted mean; else concatenated |
| floating or complex, static first dimension or scalar | the mean, weighted by the parts of the batch |
| a sum of integers | the sum |
| anything else | refused: there is no right answer |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _native, tf_internals
from autodist.errors import UnsupportedGraphError
from autodist.graph import op_kinds
from autodist.graph.batch import LOCAL
from autodist.graph.placement import PlacedVariable
from autodist.graph.scalars import extreme_of, is_integer_sum
from autodist.graph.values import Value

if TYPE_CHECKING:
    from autodist.graph.lowering import Transformer

SUMMARIES = frozenset({"ScalarSummary", "HistogramSummary"})


def combine(walk: Transformer, tensor: Any) -> Any:
    """The one tensor of the transformed graph that is fetched in place of `tensor`."""
    variable = walk.placed(tensor)
    if variable is not None:
        return read(walk, variable)
    value = walk.mean(tensor) if walk.is_gradient(tensor) else walk.value(tensor)
    if not value.varies:
        return value.whole(0)
    pieces = walk.replicas(value)
    if value.local_variable is not None:
        return aggregate(walk, value.local_variable, pieces)
    mask = walk.batch.tensor_mask(tensor)
    source = _variable_read(walk, tensor.op)
    if mask == LOCAL and source is not None:
        return aggregate(walk, source, pieces)
    if mask == LOCAL and not _is_in_control_flow(tensor.op):
        return _recompute(walk, tensor)
    return _combine_parts(walk, tensor, pieces, mask)


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


def _combine_parts(walk: Transformer, tensor: Any, pieces: list[Any], mask: int) -> Any:
    """One tensor of what the replicas computed from their parts of the batch."""
    is_numeric = tensor.dtype.is_floating or tensor.dtype.is_complex
    axis = walk.batch.batch_axis(tensor, pieces[0])
    if axis is not None:
        return walk.means.join(pieces, mask, axis)
    extreme = extreme_of(tensor)
    if extreme is not None:
        return extreme_of_replicas(walk, pieces, extreme)
    if is_numeric and tensor.shape.rank is None:
        return walk.means.mean_or_join(pieces, mask)
    if is_numeric:
        return walk.means.mean(pieces, mask)
    if tensor.shape.rank is not None and is_integer_sum(tensor):
        return walk.means.sum(pieces, mask)
    raise _refusal(tensor)


def extreme_of_replicas(walk: Transformer, pieces: list[Any], kind: str) -> Any:
    """The extreme of the replicas' extremes; one without a part has that of a row that others have, too."""
    raw = tf.raw_ops
    with walk.builder.adding(f"{kind}/{pieces[0].op.name}", pieces[0].device):
        stacked = tf.stack(pieces)
        if pieces[0].dtype == tf.bool:
            return (raw.Any if kind in ("Any", "Max") else raw.All)(input=stacked, axis=0)
        return (raw.Max if kind in ("Any", "Max") else raw.Min)(input=stacked, axis=0)


def _recompute(walk: Transformer, tensor: Any) -> Any:
    """What depends on local variables alone is computed from their aggregated values.

    A metric's value, for one, is total / count: the ratio of the means is right, the mean of the ratios is not.
    """
    op = tensor.op
    inputs = [walk.fetch(t) for t in op.inputs]
    return walk.builder.copy(op, inputs, walk.controls(op, None)).outputs[tensor.value_index]


def _variable_read(walk: Transformer, op: Any) -> PlacedVariable | None:
    """The variable that `op` reads all or some of; None for any other op."""
    return walk.placed(op.inputs[0]) if op.type in op_kinds.READ_ONLY else None


def _is_in_control_flow(op: Any) -> bool:
    """Whether `op` has an effect of its own, or belongs to a branch or loop: what cannot be computed once more."""
    if op.op_def.is_stateful or not tf_internals.is_at_top_level(op):
        return True
    return op.type in ("Merge", "Exit")


def aggregate(walk: Transformer, variable: PlacedVariable, pieces: list[Any]) -> Any:
    """The value of a local variable's copies, by the reduction that saves use: the bits that are saved."""
    ops = _native.ops()
    with walk.builder.adding_on_cpu(f"fetch/{variable.logical.name}", pieces[0].device):
        return ops.autodist_aggregate_replicas(
            values=pieces, aggregation=variable.logical.aggregation.name
        )


def lower_summary(walk: Transformer, op: Any) -> Any:
    """A summary of all replicas: of the mean of a scalar, of all values of a histogram."""
    tags, values = op.inputs
    value = walk.input(op, values)
    if not value.varies:
        summarised = value.whole(0)
    elif op.type == "ScalarSummary":
        summarised = walk.fetch(values)
    else:
        with walk.builder.adding(f"summary/{op.name}", walk.builder.replica_devices[0]):
            flat = [tf.reshape(p, [-1]) for p in walk.replicas(value)]
        summarised = walk.means.join(flat, walk.batch.tensor_mask(values))
    return walk.builder.copy(
        op, [walk.input(op, tags).whole(0), summarised], walk.controls(op, None)
    )


def _refusal(tensor: Any) -> UnsupportedGraphError:
    return UnsupportedGraphError(
        f"cannot fetch {tensor.name!r} ({tensor.dtype.name}, shape {tensor.shape}): each replica has its own value, "
        "computed from its part of the batch, and there is no rule that makes one of them. Expected a tensor "
        "whose first dimension is the batch (unknown), a floating-point tensor (its mean is fetched), a sum of "
        "integers or an extreme over the rows. Cast it to a float, or fetch what it was computed from."
    )
