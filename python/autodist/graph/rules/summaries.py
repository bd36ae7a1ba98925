"""Rule for summaries: one op on one node's values."""

from __future__ import annotations

from typing import Any

from autodist.graph.context.context import Context
from autodist.graph.original.ops import op_types
from autodist.graph.rules.table import rule


@rule(*op_types.SUMMARIES)
def summary(context: Context, op: Any) -> None:
    """A summary of one node's values."""
    inputs = [
        value.whole(0) if not value.varies else context.fetch(tensor)
        for tensor, value in ((t, context.input(op, t)) for t in op.inputs)
    ]
    context.record(op, [[context.builder.copy(op, inputs, context.controls(op, None))]])
