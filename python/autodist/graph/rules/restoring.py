"""Rule for `RestoreV2`: restores a cut variable shard by shard.

Each output that goes to a cut variable becomes one entry per shard, with the shard's slice. So no
whole tensor is ever made. The node is marked like those of a `Saver`. If our op library runs it, it
reads every stored byte once and writes it into the shards and replicas in place.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.building.values.values import Value
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.context.context import Context
from autodist.graph.original.ops import op_types
from autodist.graph.rules.saving import has_known_names, spec_of
from autodist.graph.rules.table import rule
from autodist.layout import Box, Grid, RequestEntry
from autodist.tf_nodes import constants, marks, restore_nodes


def _has_known_names(context: Context, op: Any) -> bool:
    return has_known_names(context, op) and not context.batch.mask(op)


@rule(op_types.RESTORE, applies=_has_known_names)
def restore(context: Context, op: Any) -> None:
    """A `RestoreV2` with an entry for each shard of a variable that it is assigned to."""
    pairs = constants.names_and_slices(op, may_fold=True) or []
    outputs = list(op.outputs)
    entries: list[tuple[bytes, str, Any, Box | None]] = []
    grids: list[Grid | None] = []
    for (name, spec), output in zip(pairs, outputs, strict=True):
        target = _target(context, output)
        grid = None if target is None else target.grid
        grids.append(grid)
        text = spec.decode()
        base = Box.parse(text) if text else None
        boxes = [None] if grid is None else grid.boxes()
        entries += [(name, spec_of(box, grid, base) or text, output.dtype, box) for box in boxes]
    with context.builder.adding(op.name, context.builder.host_device, context.controls(op, None)):
        restored = tf.raw_ops.RestoreV2(
            prefix=context.whole_of(op, 0, 0),
            tensor_names=tf.constant([name for name, *_ in entries], tf.string, [len(entries)]),
            shape_and_slices=tf.constant([e[1] for e in entries], tf.string, [len(entries)]),
            dtypes=[dtype for _, _, dtype, _ in entries],
        )
    made = restored[0].op
    marks.mark_restore(made, marks.read_restore(op))
    pieces = iter(zip(restored, entries, strict=True))
    context.record_ops(op, [[made]])
    parts: list[RequestEntry] = []
    for index, grid in enumerate(grids):
        shards: list[Any] = []
        target = _target(context, outputs[index])
        for _ in range(1 if grid is None else grid.shard_count):
            tensor, (name, text, dtype, box) = next(pieces)
            tensor.set_shape(outputs[index].shape if box is None else box.extent)
            if target is None:
                parts.append(RequestEntry.of_tensor(name, text, tensor))
            else:
                copies = [handles[len(shards)] for handles in target.handles]
                parts += [RequestEntry.of_variable(name, text, h, dtype) for h in copies]
            shards.append(tensor)
        context.record_value(op, index, Value([shards], grid=grid))
    context.stored_parts[op] = tuple(parts)


def _target(context: Context, tensor: Any) -> PlacedVariable | None:
    """The variable that a restored tensor is assigned to; if there are several, one that is cut.

    None if there is none.
    """
    found = None
    for assign in restore_nodes.assigning_ops(tensor):
        variable = context.placed(assign.inputs[0]) if assign.type == op_types.ASSIGN else None
        if variable is not None and (found is None or found.grid is None):
            found = variable
    return found
