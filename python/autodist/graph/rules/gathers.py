"""Rule for `ResourceGather`: gathers rows from each shard that holds some, in order."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.building.values.values import Value, assemble
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.building.variables.row_numbers import split_rows
from autodist.graph.context.context import Context
from autodist.graph.original.ops import op_types
from autodist.graph.rules.table import variable_rule
from autodist.layout import Grid


def _needs_whole(_: tuple[int, ...], op: Any) -> str:
    return "gathers with batch dimensions" if op.get_attr("batch_dims") else ""


@variable_rule(op_types.GATHER, blocker=_needs_whole)
def gather(context: Context, op: Any, variables: list[PlacedVariable]) -> None:
    """Gathers rows: from the whole variable, or from each shard the rows that lie in it."""
    variable = variables[0]
    mask = context.batch.mask(op)
    rows = []
    for replica in range(context.replica_count if mask else 1):
        handles = variable.handles[replica if variable.copy_count > 1 else 0]
        controls = context.controls(op, replica if mask else None)
        indices = context.whole_of(op, 1, replica)
        if variable.grid is None:
            made = context.builder.copy(
                op, [handles[0], indices], controls, replica=replica, device=handles[0].device
            )
            rows.append([made.outputs[0]])
        else:
            with context.builder.adding(op.name, handles[0].device, controls):
                gathered = _gather_shards(handles, variable.grid, indices, op.outputs[0].dtype)
            rows.append([gathered])
    context.record_ops(op, [[row[0].op] for row in rows])
    context.record_value(op, 0, Value(rows, varies=bool(mask)))


def _gather_shards(handles: list[Any], grid: Grid, indices: Any, dtype: Any) -> Any:
    """Gathers rows `indices` (any shape) of a variable cut by `grid`."""
    flat = tf.reshape(indices, [-1])
    numbers, positions = split_rows(flat, grid, tf.range(tf.size(flat)))
    per_range = grid.shard_count // grid.counts[0]
    inner = Grid(((1,), *grid.sizes[1:]))
    parts = []
    for part, rows in enumerate(numbers):
        shards = handles[part * per_range : (part + 1) * per_range]
        gathered = []
        for handle in shards:
            with tf.device(handle.device):
                gathered.append(
                    tf.raw_ops.ResourceGather(resource=handle, indices=rows, dtype=dtype)
                )
        parts.append(assemble(gathered, inner, handles[0].device))
    found = parts[0] if len(parts) == 1 else tf.dynamic_stitch(positions, parts)
    shape = tf.concat([tf.shape(indices), tf.constant(grid.shape[1:], tf.int32)], 0)
    found = tf.reshape(found, shape)
    found.set_shape(indices.shape.concatenate(list(grid.shape[1:])))
    return found
