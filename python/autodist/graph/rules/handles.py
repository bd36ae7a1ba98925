"""Rule for `VarHandleOp`: the handles of the variable's shards and replicas stand for it."""

from __future__ import annotations

from typing import Any

from autodist.graph.building.values.values import Value
from autodist.graph.context.context import Context
from autodist.graph.original.ops import op_types
from autodist.graph.rules.table import rule


@rule(op_types.HANDLE)
def variable_handle(context: Context, op: Any) -> None:
    """Records the handles that were made when the variable was placed."""
    variable = context.placed_by(op)
    assert variable is not None
    context.record_ops(op, [[h.op for row in variable.handles for h in row]])
    context.record_value(
        op, 0, Value(variable.handles, grid=variable.grid, varies=variable.is_local)
    )
