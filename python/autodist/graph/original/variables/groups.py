"""Finds variables that are updated together, which must be cut alike and lie on the same devices.

Two variables belong together if one op takes the handles of both to update them, also inside a
function, branch or loop. They also belong together if, inside an optimizer's call, the new value of
one is computed element by element from the other (Keras optimizers).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autodist.graph.original.ops import op_types
from autodist.graph.original.ops.functions import uses_behind
from autodist.graph.original.variables.roles import LogicalVariable

Pair = tuple[LogicalVariable, LogicalVariable]


def split_into_groups(
    variables: list[LogicalVariable],
    known: Mapping[Any, LogicalVariable],
    optimizer_calls: Iterable[list[Any]],
) -> list[list[LogicalVariable]]:
    """Splits `variables` into groups that lie alike.

    The first created of a group, its primary, comes first.

    Args:
      variables: in order of creation.
      known: the graph's variables by handle op.
      optimizer_calls: the ops that each optimizer call created.
    """
    parent = {v: v for v in variables}
    order = {v: i for i, v in enumerate(variables)}

    def root(v: LogicalVariable) -> LogicalVariable:
        while parent[v] is not v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    pairs = [*_used_by_one_op(variables, known)]
    for ops in optimizer_calls:
        pairs.extend(_computed_elementwise(ops, known))
    for a, b in pairs:
        if a in parent and b in parent:
            first, second = sorted((root(a), root(b)), key=lambda v: order[v])
            parent[second] = first
    members: dict[LogicalVariable, list[LogicalVariable]] = {}
    for variable in variables:
        members.setdefault(root(variable), []).append(variable)
    return list(members.values())


def _used_by_one_op(
    variables: list[LogicalVariable], known: Mapping[Any, LogicalVariable]
) -> Iterator[Pair]:
    met: dict[tuple[Any, ...], LogicalVariable] = {}
    for variable in variables:
        for op, index in variable.uses:
            if op_types.is_update(op.type):
                others = (known.get(t.op) for t in op.inputs)
                yield from ((variable, other) for other in others if other is not None)
            elif op.type in op_types.FUNCTION_CALLS or op.type in op_types.HANDLE_PASSES:
                for use in uses_behind(op, index):
                    yield variable, met.setdefault(use, variable)


def _computed_elementwise(ops: list[Any], known: Mapping[Any, LogicalVariable]) -> Iterator[Pair]:
    inside = set(ops)
    for update in ops:
        if update.type not in op_types.ASSIGNS:
            continue
        target = known.get(update.inputs[0].op)
        if target is None or not target.shape:
            continue
        pending, seen = [update.inputs[1].op], set()
        while pending:
            op = pending.pop()
            if op in seen or op not in inside:
                continue
            seen.add(op)
            if op.type == op_types.READ:
                source = known.get(op.inputs[0].op)
                if source is not None and source.shape == target.shape:
                    yield target, source
            elif op.type in op_types.ELEMENTWISE:
                # Only tensors of the variable's shape are followed. A norm that divides all
                # gradients has another shape.
                pending.extend(t.op for t in op.inputs if t.shape.is_compatible_with(target.shape))
