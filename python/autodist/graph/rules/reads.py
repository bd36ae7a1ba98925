"""Rules for the ops that read a variable: reads become one read per shard, gathers one gather per shard.

*Plain reads*, those without control inputs, share one read op per shard. A graph leaves their order with the updates of
the same step open, and on one device they happen to come first. On several devices they need not: in
`rate = f(step); next = step.assign(step + 1)` the read for the rate could see the next step. With one read, `next`
waits for it, and other updates are made to wait for it too (`plain_reads_before`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.graph.building import fast_ops
from autodist.graph.building.placement import PlacedVariable
from autodist.graph.building.row_numbers import split_rows
from autodist.graph.building.values import Value, assemble
from autodist.graph.original import op_types
from autodist.layout import Grid

if TYPE_CHECKING:
    from autodist.graph.transformer import Transformer


def lower_read(walk: Transformer, op: Any, variable: PlacedVariable) -> None:
    """A read of each shard of each copy; a plain one is the identity of the shared read, and can be fed alone."""
    if op.control_inputs:
        rows = _per_piece(walk, op, variable)
    else:
        rows = []
        for shared in _plain_reads(walk, op, variable):
            rows.append([fast_ops.identity(read.outputs[0], op.name).op for read in shared])
    walk.record(
        op,
        rows,
        grid=variable.grid,
        varies=variable.is_local,
        local_variable=variable if variable.is_local else None,
    )


def plain_reads_before(walk: Transformer, variable: PlacedVariable, update: Any) -> list[list[Any]]:
    """The shared plain reads that `update` of `variable` waits for: `[replica][shard]`; empty where there are none.

    A variable that is gathered from or updated by rows has none: TensorFlow copies such a variable when it is
    read whole, which a step that does not need the copy shall not pay. An assignment has none, for it may be what
    initialises the variable.
    """
    consumers = variable.logical.consumers
    if update.type == op_types.ASSIGN or any(op_types.is_by_rows(op.type) for op in consumers):
        return []
    for op in consumers:
        if op.type == op_types.READ and not op.control_inputs and op.outputs[0].consumers():
            return _plain_reads(walk, op, variable)
    return []


def _plain_reads(walk: Transformer, op: Any, variable: PlacedVariable) -> list[list[Any]]:
    if not variable.plain_reads:
        variable.plain_reads = _per_piece(walk, op, variable)
    return variable.plain_reads


def lower_disable_copy(walk: Transformer, op: Any, variable: PlacedVariable) -> None:
    """The same op on each shard of each copy."""
    walk.record_ops(op, _per_piece(walk, op, variable))


def lower_shape(walk: Transformer, op: Any, variable: PlacedVariable) -> None:
    """The shape of the whole variable: a constant where it is cut."""
    if variable.grid is None:
        handle = variable.handles[0][0]
        shape = [walk.builder.copy(op, [handle], walk.controls(op, None), device=handle.device)]
        walk.record(op, [shape])
        return
    with walk.builder.adding(op.name, variable.handles[0][0].device, walk.controls(op, None)):
        shape = tf.constant(variable.grid.shape, dtype=op.outputs[0].dtype)
    walk.record_ops(op, [[shape.op]])
    walk.record_value(op, 0, Value([[shape]]))


def lower_is_initialized(walk: Transformer, op: Any, variable: PlacedVariable) -> None:
    """True when every shard of every copy is initialized."""
    pieces = [new.outputs[0] for row in _per_piece(walk, op, variable) for new in row]
    if len(pieces) > 1:
        with walk.builder.adding(op.name, pieces[0].device):
            pieces = [tf.reduce_all(tf.stack(pieces))]
    walk.record_ops(op, [[pieces[0].op]])
    walk.record_value(op, 0, Value([[pieces[0]]]))


def lower_gather(walk: Transformer, op: Any, variable: PlacedVariable) -> None:
    """Gathers rows: from the whole variable, or from each shard the rows that lie in it."""
    mask = walk.batch.mask(op)
    rows = []
    for replica in range(walk.replica_count if mask else 1):
        handles = variable.handles[replica if variable.copy_count > 1 else 0]
        controls = walk.controls(op, replica if mask else None)
        indices = walk.whole_of(op, 1, replica)
        if variable.grid is None:
            made = walk.builder.copy(
                op, [handles[0], indices], controls, replica=replica, device=handles[0].device
            )
            rows.append([made.outputs[0]])
        else:
            with walk.builder.adding(op.name, handles[0].device, controls):
                gathered = _gather_shards(handles, variable.grid, indices, op.outputs[0].dtype)
            rows.append([gathered])
    walk.record_ops(op, [[row[0].op] for row in rows])
    walk.record_value(op, 0, Value(rows, varies=bool(mask)))


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


def _per_piece(walk: Transformer, op: Any, variable: PlacedVariable) -> list[list[Any]]:
    """A copy of `op`, whose only input is the handle, for each shard of each copy of the variable."""
    rows = []
    for replica, handles in enumerate(variable.handles):
        controls = walk.controls(op, replica if variable.is_local else None)
        shards = range(len(handles)) if variable.grid is not None else [None]
        rows.append(
            [
                walk.builder.copy(
                    op, [handle], controls, replica=replica, shard=shard, device=handle.device
                )
                for shard, handle in zip(shards, handles, strict=True)
            ]
        )
    return rows


RULES: dict[str, Callable[[Transformer, Any, PlacedVariable], None]] = {
    op_types.READ: lower_read,
    op_types.DISABLE_COPY: lower_disable_copy,
    op_types.SHAPE: lower_shape,
    op_types.IS_INITIALIZED: lower_is_initialized,
    op_types.GATHER: lower_gather,
}
