"""Rules for the ops that read a whole variable, or ask about it: one op per shard and copy.

*Plain reads*, those without control inputs, share one read op per shard. A graph leaves their order
with the updates of the same step open, and on one device they happen to come first. On several
devices they need not: in `rate = f(step); next = step.assign(step + 1)` the read for the rate could
see the next step. With one read, `next` waits for it, and other updates wait for it too
(`plain_reads_before`).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.building.ops import fast_ops
from autodist.graph.building.values.values import Value
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.context.context import Context
from autodist.graph.original.ops import op_types
from autodist.graph.rules.table import variable_rule


@variable_rule(op_types.READ)
def read(context: Context, op: Any, variables: list[PlacedVariable]) -> None:
    """A read of each shard of each copy.

    A plain one is the identity of the shared read, and can be fed alone.
    """
    variable = variables[0]
    if op.control_inputs:
        rows = _per_piece(context, op, variable)
    else:
        rows = []
        for shared in _plain_reads(context, op, variable):
            rows.append([fast_ops.identity(read.outputs[0], op.name).op for read in shared])
    context.record(
        op,
        rows,
        grid=variable.grid,
        varies=variable.is_local,
        local_variable=variable if variable.is_local else None,
    )


def plain_reads_before(context: Context, variable: PlacedVariable, update: Any) -> list[list[Any]]:
    """The shared plain reads that `update` of `variable` waits for: `[replica][shard]`.

    Empty where there are none.

    A variable that is gathered from or updated by rows has none: TensorFlow copies such a variable
    when it is read whole, which a step that does not need the copy shall not pay. An assignment has
    none, for it may be what initialises the variable.
    """
    consumers = variable.logical.consumers
    if update.type == op_types.ASSIGN or any(op_types.is_by_rows(op.type) for op in consumers):
        return []
    for op in consumers:
        if op.type == op_types.READ and not op.control_inputs and op.outputs[0].consumers():
            return _plain_reads(context, op, variable)
    return []


def _plain_reads(context: Context, op: Any, variable: PlacedVariable) -> list[list[Any]]:
    if not variable.plain_reads:
        variable.plain_reads = _per_piece(context, op, variable)
    return variable.plain_reads


@variable_rule(op_types.DISABLE_COPY)
def disable_copy_on_read(context: Context, op: Any, variables: list[PlacedVariable]) -> None:
    """The same op on each shard of each copy."""
    context.record_ops(op, _per_piece(context, op, variables[0]))


@variable_rule(op_types.SHAPE)
def variable_shape(context: Context, op: Any, variables: list[PlacedVariable]) -> None:
    """The shape of the whole variable: a constant where it is cut."""
    variable = variables[0]
    if variable.grid is None:
        handle = variable.handles[0][0]
        shape = [
            context.builder.copy(op, [handle], context.controls(op, None), device=handle.device)
        ]
        context.record(op, [shape])
        return
    with context.builder.adding(op.name, variable.handles[0][0].device, context.controls(op, None)):
        shape = tf.constant(variable.grid.shape, dtype=op.outputs[0].dtype)
    context.record_ops(op, [[shape.op]])
    context.record_value(op, 0, Value([[shape]]))


@variable_rule(op_types.IS_INITIALIZED)
def is_initialized(context: Context, op: Any, variables: list[PlacedVariable]) -> None:
    """True when every shard of every copy is initialized."""
    pieces = [new.outputs[0] for row in _per_piece(context, op, variables[0]) for new in row]
    if len(pieces) > 1:
        with context.builder.adding(op.name, pieces[0].device):
            pieces = [tf.reduce_all(tf.stack(pieces))]
    context.record_ops(op, [[pieces[0].op]])
    context.record_value(op, 0, Value([[pieces[0]]]))


def _per_piece(context: Context, op: Any, variable: PlacedVariable) -> list[list[Any]]:
    """Copies `op`, whose only input is a handle, for each shard of each copy of the variable."""
    rows = []
    for replica, handles in enumerate(variable.handles):
        controls = context.controls(op, replica if variable.is_local else None)
        shards = range(len(handles)) if variable.grid is not None else [None]
        rows.append(
            [
                context.builder.copy(
                    op, [handle], controls, replica=replica, shard=shard, device=handle.device
                )
                for shard, handle in zip(shards, handles, strict=True)
            ]
        )
    return rows
