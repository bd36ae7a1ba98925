"""What an op may do to a variable whose handle it takes, functions included."""

from __future__ import annotations

from typing import Any

from autodist.graph import op_kinds

_READS = op_kinds.READ_ONLY | {op_kinds.DISABLE_COPY}
_PASS_ON = frozenset({"Identity", "Enter", "Switch", "Merge", "NextIteration", "Exit", "IdentityN"})


def may_write(op: Any, index: int) -> bool:
    """Whether `op` may change the variable whose handle is its input `index`.

    Control-flow ops that only hand the handle on do not write; the ops behind them do, and are refused where
    they are met.
    """
    if op.type in _READS or op.type in _PASS_ON:
        return False
    if op.type in op_kinds.FUNCTION_CALLS:
        return any(
            _function_may_write(op.graph, name, index - offset)
            for name, offset in _called(op)
            if index >= offset
        )
    return True


def _called(op: Any) -> list[tuple[str, int]]:
    """The functions that `op` calls, each with the number of the op's inputs it does not take."""
    offset = 1 if op.type in ("If", "StatelessIf", "Case", "StatelessCase") else 0
    names: list[tuple[str, int]] = []
    for attr in op.node_def.attr.values():
        if attr.WhichOneof("value") == "func":
            names.append((attr.func.name, offset))
        names.extend((f.name, offset) for f in attr.list.func)
    return names


def _function_may_write(graph: Any, name: str, argument: int) -> bool:
    definitions = {f.signature.name: f for f in graph.as_graph_def().library.function}
    return _argument_is_written(definitions, name, argument, set())


def _argument_is_written(
    definitions: dict[str, Any], name: str, argument: int, visited: set[tuple[str, int]]
) -> bool:
    if (name, argument) in visited:
        return False
    visited.add((name, argument))
    definition = definitions.get(name)
    if definition is None:
        return True
    aliases = {definition.signature.input_arg[argument].name}
    for node in definition.node_def:
        for position, text in enumerate(i for i in node.input if not i.startswith("^")):
            if text.split(":")[0] not in aliases:
                continue
            if node.op in _PASS_ON:
                aliases.add(node.name)
            elif node.op in op_kinds.FUNCTION_CALLS:
                offset = 1 if "If" in node.op or "Case" in node.op else 0
                called = [
                    f.name for a in node.attr.values() for f in [a.func, *a.list.func] if f.name
                ]
                if any(
                    _argument_is_written(definitions, f, position - offset, visited) for f in called
                ):
                    return True
            elif node.op not in _READS:
                return True
    return False
