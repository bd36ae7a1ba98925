"""Finds what an op may do to a variable by its handle, also in functions that it calls."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from autodist.graph.original.ops import op_types, random_op_types
from autodist.private_apis import tf_graphs

_READS = op_types.READ_ONLY | {op_types.DISABLE_COPY}
# These take a predicate or a branch number first, which the functions they call do not.
_BRANCHES = re.compile(r"(Stateless)?(If|Case)")


def may_write(op: Any, index: int) -> bool:
    """Whether `op` itself may change the variable whose handle is its input `index`.

    Control-flow ops that only hand the handle on do not write; the ops behind them may, see
    `written_behind`.
    """
    if op.type in _READS or op.type in op_types.HANDLE_PASSES:
        return False
    if op.type not in op_types.FUNCTION_CALLS:
        return True
    visited: set[tuple[str, int]] = set()
    return any(
        _argument_is_written(op.graph, name, argument, visited)
        for name, argument in _calls(op.type, op.node_def.attr, index)
    )


def handle_behind(tensor: Any) -> Any:
    """The op that made the handle `tensor`, looked up through v1 control flow.

    For other tensors, their own op.
    """
    op = tensor.op
    while tensor.dtype == tf.resource and op.type in op_types.HANDLE_PASSES and len(op.inputs):
        op = op.inputs[0].op
    return op


def written_behind(op: Any, index: int) -> Any:
    """The op that may change the variable behind input `index` of `op` where no rule sees it.

    Else None.

    That is a function call or an op without a rule, reached at once or through v1 control flow.
    Such an op is made once, or once per replica, however many copies the variable has.
    """
    pending, seen = [(op, index)], set()
    is_direct = True
    while pending:
        user, position = pending.pop()
        if user in seen:
            continue
        seen.add(user)
        if user.type in op_types.HANDLE_PASSES:
            is_direct = False
            for tensor in user.outputs:
                for consumer in tensor.consumers():
                    pending.extend(
                        (consumer, i) for i, t in enumerate(consumer.inputs) if t is tensor
                    )
        elif may_write(user, position):
            has_rule = op_types.changes_variable(user.type)
            if not (has_rule and is_direct):
                return user
    return None


def uses_behind(op: Any, index: int) -> set[tuple[Any, ...]]:
    """Identifies the ops in called functions that take the handle at input `index` of `op`.

    Two variables with an identification in common are used by one op (an optimizer's update with
    its slots).
    """
    found: set[tuple[Any, ...]] = set()
    pending, seen = [(op, index)], set()
    while pending:
        user, position = pending.pop()
        if (user, position) in seen:
            continue
        seen.add((user, position))
        if user.type in op_types.HANDLE_PASSES:
            for tensor in user.outputs:
                for consumer in tensor.consumers():
                    pending.extend(
                        (consumer, i) for i, t in enumerate(consumer.inputs) if t is tensor
                    )
        elif user.type in op_types.FUNCTION_CALLS:
            for name, argument in _calls(user.type, user.node_def.attr, position):
                _find_uses(user.graph, name, argument, (user,), found)
        else:
            found.add((user,))
    return found


def _find_uses(
    graph: Any, name: str, argument: int, path: tuple[Any, ...], found: set[tuple[Any, ...]]
) -> None:
    body = _body_of(graph, name)
    if body is None or name in path:
        return
    for node, index in body.uses_of_argument(argument):
        if node.op in op_types.FUNCTION_CALLS:
            for inner, inner_argument in _calls(node.op, node.attr, index):
                _find_uses(graph, inner, inner_argument, (*path, name, node.name), found)
        else:
            found.add((*path, name, node.name))


class _Body:
    """The nodes of a function's body, by the argument or node whose output they take.

    Args:
      definition: the `FunctionDef`.
    """

    def __init__(self, definition: Any) -> None:
        self._arguments = [argument.name for argument in definition.signature.input_arg]
        self._users: dict[str, list[tuple[Any, int]]] = {}
        for node in definition.node_def:
            for index, text in enumerate(t for t in node.input if not t.startswith("^")):
                self._users.setdefault(text.split(":")[0], []).append((node, index))

    def uses_of_argument(self, number: int) -> Iterator[tuple[Any, int]]:
        """The nodes that take an argument, directly or passed on, and the inputs that take it."""
        pending, seen = [self._arguments[number]], set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            for node, index in self._users.get(name, ()):
                if node.op in op_types.HANDLE_PASSES:
                    pending.append(node.name)
                else:
                    yield node, index


# A cache: a function is looked at once per argument, and each reading of its definition takes time.
_bodies: weakref.WeakKeyDictionary[Any, dict[str, _Body]] = weakref.WeakKeyDictionary()


def _body_of(graph: Any, name: str) -> _Body | None:
    """The body of a function of `graph`; None where it is not known."""
    bodies = _bodies.setdefault(graph, {})
    if name not in bodies:
        definition = tf_graphs.function_definition(graph, name)
        if definition is None:
            return None
        bodies[name] = _Body(definition)
    return bodies[name]


def _calls(op_type: str, attrs: Any, index: int) -> list[tuple[str, int]]:
    """The functions that an op calls, and the argument that is the op's input `index`."""
    argument = index - 1 if _BRANCHES.fullmatch(op_type) else index
    return [(name, argument) for name in _names(attrs)] if argument >= 0 else []


def _names(attrs: Any) -> list[str]:
    """The names of the functions that attributes name."""
    names = []
    for attr in attrs.values():
        if attr.WhichOneof("value") == "func":
            names.append(attr.func.name)
        names.extend(f.name for f in attr.list.func)
    return names


def _argument_is_written(
    graph: Any, name: str, argument: int, visited: set[tuple[str, int]]
) -> bool:
    if (name, argument) in visited:
        return False
    visited.add((name, argument))
    body = _body_of(graph, name)
    if body is None:
        return True
    for node, index in body.uses_of_argument(argument):
        if node.op in op_types.FUNCTION_CALLS:
            calls = _calls(node.op, node.attr, index)
            if any(_argument_is_written(graph, f, a, visited) for f, a in calls):
                return True
        elif node.op not in _READS:
            return True
    return False


_LOOKS_ONLY = _READS | {"LookupTableFind", "LookupTableFindV2", "LookupTableSizeV2"}


def only_looks(op_type: str) -> bool:
    """Whether ops of this type read a variable or table, and do nothing else."""
    return op_type in _LOOKS_ONLY


def is_repeatable(op: Any) -> bool:
    """Whether an op that calls functions is repeatable and has no effect.

    An op does not count if the user gave a gradient function inside it: that need not be a
    derivative.
    """
    return not has_effect(op) and not _is_special(op.graph, op.type, op.node_def.attr, set())


def _is_special(graph: Any, op_type: str, attrs: Any, visited: set[str]) -> bool:
    """Whether a node, or a function it calls, draws random numbers or has a custom gradient."""
    if random_op_types.draws(op_type, attrs):
        return True
    if not tf_graphs.takes_functions(op_type):
        return "_gradient_op_type" in attrs
    for name in _names(attrs):
        definition = tf_graphs.function_definition(graph, name)
        if definition is None:
            return True
        if name not in visited:
            visited.add(name)
            if any(_is_special(graph, n.op, n.attr, visited) for n in definition.node_def):
                return True
    return False


def has_effect(op: Any) -> bool:
    """Whether an op, or a function it calls, may change something that lasts when run again."""
    return _node_has_effect(op.graph, op.type, op.node_def.attr, set())


_PER_STEP = re.compile(r"TensorArray\w*|Stack\w*|Assert|Print|PrintV2|Timestamp")


def has_lasting_effect(op: Any) -> bool:
    """Whether an op run again may change something that outlasts the step, except prints."""
    return _PER_STEP.fullmatch(op.type) is None and has_effect(op)


def _node_has_effect(graph: Any, op_type: str, attrs: Any, visited: set[str]) -> bool:
    if tf_graphs.takes_functions(op_type):
        return any(_function_has_effect(graph, name, visited) for name in _names(attrs))
    if op_type in _LOOKS_ONLY or op_type in (
        "Placeholder",
        "Assert",
        "CheckNumerics",
        "CheckNumericsV2",
    ):
        return False
    return tf_graphs.is_stateful(op_type) and not random_op_types.draws(op_type, attrs)


def _function_has_effect(graph: Any, name: str, visited: set[str]) -> bool:
    if name in visited:
        return False
    visited.add(name)
    definition = tf_graphs.function_definition(graph, name)
    if definition is None:
        return True
    return any(_node_has_effect(graph, n.op, n.attr, visited) for n in definition.node_def)
