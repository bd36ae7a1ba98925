"""Rule for the ops that change a variable: one update per shard and copy.

A dense update is elementwise: shard i takes the shard's part of every tensor of the variable's
shape and every scalar as it is. A sparse update takes the rows that lie in the shard, counted from
its first row. On every copy of a variable that does not vary the same values are applied, so that
equal copies stay equal.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.graph.building.ops import fast_ops
from autodist.graph.building.values.values import common_device
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.building.variables.row_numbers import split_rows
from autodist.graph.context.context import Context
from autodist.graph.original.ops import op_types
from autodist.graph.rules.reads import plain_reads_before
from autodist.graph.rules.table import variable_rule
from autodist.layout import Grid


def _needs_whole(shape: tuple[int, ...], op: Any) -> str:
    if op.type in op_types.ASSIGNS or op.type in op_types.SCATTERS:
        return ""
    if op.type == op_types.DESTROY or op_types.is_sparse_apply(op.type):
        return ""
    if not op_types.is_dense_apply(op.type):
        return "needs the whole variable"
    for name, tensor in zip(op_types.argument_names(op), op.inputs, strict=True):
        if name in op_types.ELEMENT_ARGUMENTS and not tensor.shape.is_compatible_with(shape):
            return f"updates it with a tensor of shape {tensor.shape}, not element by element"
    return ""


@variable_rule(matching=op_types.changes_variable, blocker=_needs_whole)
def update(context: Context, op: Any, touched: list[PlacedVariable]) -> None:
    """Makes the update `op` on every shard of every copy of the variables it takes."""
    target = touched[0]
    for other in touched[1:]:
        if other.grid != target.grid or other.copy_count != target.copy_count:
            raise UnsupportedGraphError(
                f"op {op.name!r} ({op.type}) updates {target.logical.name!r} ({target.reason}) "
                f"together with {other.logical.name!r} ({other.reason}): variables that are "
                "updated together must lie alike. Create the op before "
                "create_distributed_session(), or have the strategy place both in the same way."
            )
    rows = []
    reads = [plain_reads_before(context, variable, op) for variable in touched]
    for replica in range(target.copy_count):
        controls = context.controls(op, replica if target.is_local else None)
        controls = controls + [read for found in reads if found for read in found[replica]]
        if target.grid is None:
            inputs = [_whole_input(context, op, i, replica) for i in range(len(op.inputs))]
            inputs = _of_local(context, op, target, inputs, replica)
            device = inputs[0].device
            rows.append(
                [context.builder.copy(op, inputs, controls, replica=replica, device=device)]
            )
        else:
            rows.append(
                _assign_at_once(context, op, target, replica, controls)
                or _update_shards(context, op, target.grid, replica, controls)
            )
    context.record_ops(op, rows)
    context.updates_made.append((op, target, rows))


def _whole_input(context: Context, op: Any, index: int, replica: int) -> Any:
    variable = context.placed(op.inputs[index])
    if variable is not None:
        return variable.handles[replica][0]
    return context.whole_of(op, index, replica)


def _of_local(
    context: Context, op: Any, target: PlacedVariable, inputs: list[Any], replica: int
) -> list[Any]:
    """The value that an assignment gives to one copy of a local variable.

    A replica without a sub-batch leaves its copy as it is. A value that does not vary,
    assigned to a variable whose copies are summed, goes to the first copy, and the others become
    zero.
    """
    if not target.is_local or op.type not in op_types.ASSIGNS:
        return inputs
    handle, value = inputs
    mask = context.batch.mask(op)
    if mask:
        has_rows = context.means.has_rows(mask, replica)
        with context.builder.adding(op.name, handle.device, context.controls(op, replica)):
            if op.type != op_types.ASSIGN:
                return [handle, tf.where(has_rows, value, tf.zeros_like(value))]
            old = tf.raw_ops.ReadVariableOp(resource=handle, dtype=value.dtype)
            return [handle, tf.where(has_rows, value, old)]
    if target.logical.aggregation == tf.VariableAggregation.SUM and replica > 0:
        with context.builder.adding(op.name, handle.device):
            return [handle, tf.zeros_like(value)]
    return inputs


def _assign_at_once(
    context: Context, op: Any, target: PlacedVariable, replica: int, controls: list[Any]
) -> list[Any]:
    """The one op that assigns a whole value to all shards; none where each shard has its own."""
    grid, handles = target.grid, target.handles[replica]
    device = common_device(handles)
    if op.type != op_types.ASSIGN or grid is None or device is None:
        return []
    value = context.input(op, op.inputs[1])
    if value.grid == grid:
        return []
    whole = value.whole(replica)
    if not fast_ops.can_assign_shards(whole, device):
        return []
    name = f"replica_{replica}/{op.name}" if replica else op.name
    return [fast_ops.assign_shards(handles, whole, grid, controls, name)]


def _update_shards(
    context: Context,
    op: Any,
    grid: Grid,
    replica: int,
    controls: list[Any],
) -> list[Any]:
    names = op_types.argument_names(op)
    columns: list[list[Any]] = []
    rows_at = next((i for i, n in enumerate(names) if n in ("grad", "updates")), None)
    indices_at = names.index("indices") if "indices" in names else None
    if indices_at is not None and rows_at is not None:
        with context.builder.adding(op.name, context.builder.replica_devices[0]):
            split_indices, split_values = _split_sparse(
                context.whole_of(op, indices_at, replica),
                context.whole_of(op, rows_at, replica),
                grid,
            )
    for index, tensor in enumerate(op.inputs):
        variable = context.placed(tensor)
        if variable is not None:
            columns.append(variable.handles[replica])
        elif indices_at is not None and index == indices_at:
            columns.append(split_indices)
        elif indices_at is not None and index == rows_at:
            columns.append(split_values)
        elif names[index] in op_types.ELEMENT_ARGUMENTS:
            handles = columns[0]
            columns.append(context.input(op, tensor).cut(replica, grid, common_device(handles)))
        else:
            columns.append([context.whole_of(op, index, replica)] * grid.shard_count)
    made = []
    for shard in range(grid.shard_count):
        inputs = [column[shard] for column in columns]
        made.append(
            context.builder.copy(
                op, inputs, controls, replica=replica, shard=shard, device=inputs[0].device
            )
        )
    return made


def _split_sparse(indices: Any, rows: Any, grid: Grid) -> tuple[list[Any], list[Any]]:
    """Splits `indices` and their rows by shard, in row-major order of the grid."""
    row_shape = list(grid.shape[1:])
    is_scalar = rows.shape.rank == 0
    if indices.shape.rank != 1:
        indices = tf.reshape(indices, [-1])
    if not is_scalar and rows.shape.rank != 1 + len(row_shape):
        rows = tf.reshape(rows, [-1, *row_shape])
    carried = tf.range(tf.size(indices)) if is_scalar else rows
    numbers, parts = split_rows(indices, grid, carried)
    per_range = grid.shard_count // grid.counts[0]
    split_indices, split_values = [], []
    for shard, box in enumerate(grid.boxes()):
        part = shard // per_range
        split_indices.append(numbers[part])
        if is_scalar:
            split_values.append(rows)
        elif per_range == 1:
            split_values.append(parts[part])
        else:
            split_values.append(tf.slice(parts[part], [0, *box.start[1:]], [-1, *box.extent[1:]]))
    return split_indices, split_values
