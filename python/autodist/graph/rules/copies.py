"""The rule for every op that no other rule fits: it copies the op.

There is one copy for all replicas. If the op varies (`analysis.batch`), there is one per replica.
If it works element by element on a cut variable, there is one per shard.
"""

from __future__ import annotations

from typing import Any

from autodist.graph.building.ops import random_ops
from autodist.graph.building.values.values import common_device
from autodist.graph.context.context import Context
from autodist.graph.context.counterparts import Copies
from autodist.graph.original.ops import op_types, random_op_types
from autodist.graph.rules.table import default_rule
from autodist.layout import Grid


@default_rule
def copy(context: Context, op: Any) -> None:
    """A copy for all replicas, or one per replica or shard."""
    mask = context.batch.mask(op)
    is_per_replica = context.is_per_replica(op)
    count = context.replica_count if is_per_replica else 1
    grid = _elementwise_grid(context, op)
    rows: Copies = []
    for replica in range(count):
        controls = context.controls(op, replica if is_per_replica else None)
        if grid is None:
            inputs = _whole_inputs(context, op, replica)
            if replica and mask and random_op_types.is_stateless(op.type):
                inputs = random_ops.separate(context.builder, op, inputs, replica)
            rows.append([context.builder.copy(op, inputs, controls, replica=replica)])
        else:
            rows.append(_copy_per_shard(context, op, replica, grid, controls))
    context.record(op, rows, grid=grid, varies=bool(mask))
    if mask and op in context.batch.decisions.scaled:
        index = context.batch.decisions.scaled_output(op)
        value = context.value(op.outputs[index])
        context.replace_value(op, index, context.scaled(value, mask))
    if op.type == "Identity":
        local_variable = context.value(op.inputs[0]).local_variable
        context.value(op.outputs[0]).local_variable = local_variable


def _whole_inputs(context: Context, op: Any, replica: int) -> list[Any]:
    inputs = []
    for index, tensor in enumerate(op.inputs):
        if context.has_value(tensor):
            inputs.append(context.whole_of(op, index, replica))
        else:
            # A back edge of a while loop: until its source is made, the loop's entry stands in.
            context.add_back_edge(op, index, replica)
            inputs.append(context.value(op.inputs[0]).whole(replica))
    return inputs


def _elementwise_grid(context: Context, op: Any) -> Grid | None:
    """How an elementwise op on a cut variable is cut; None when it is not such an op."""
    if op.type not in op_types.ELEMENTWISE or len(op.outputs) != 1:
        return None
    grids = {v.grid for v in (context.input(op, t) for t in op.inputs) if v.grid is not None}
    if len(grids) != 1:
        return None
    grid: Grid = grids.pop()
    if op.type == "Identity":
        return grid
    shape = list(grid.shape)
    if op.outputs[0].shape.rank is None or op.outputs[0].shape.as_list() != shape:
        return None
    for tensor in op.inputs:
        if tensor.shape.rank is None or (tensor.shape.rank and tensor.shape.as_list() != shape):
            return None
    return grid


def _copy_per_shard(
    context: Context, op: Any, replica: int, grid: Grid, controls: list[Any]
) -> list[Any]:
    inputs = [context.input(op, tensor) for tensor in op.inputs]
    device_of_all = common_device(next(v.cut(replica, grid) for v in inputs if v.grid == grid))
    made = []
    for shard in range(grid.shard_count):
        pieces = [
            v.cut(replica, grid, device_of_all)[shard]
            if tensor.shape.rank != 0
            else v.whole(replica)
            for v, tensor in zip(inputs, op.inputs, strict=True)
        ]
        device = next(p.device for p in pieces if p.shape.rank)
        made.append(
            context.builder.copy(op, pieces, controls, replica=replica, shard=shard, device=device)
        )
    return made
