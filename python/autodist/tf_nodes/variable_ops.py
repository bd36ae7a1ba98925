"""Finds the variable that a tensor is read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

RESOURCE = "VarHandleOp"
REFS = ("VariableV2", "Variable")
READ = "ReadVariableOp"
ASSIGNS = ("Assign", "AssignVariableOp")


def read_chain(tensor: Any) -> tuple[Any, ...]:
    """Returns the `Identity` ops that pass a tensor on, and the op before them.

    Args:
        tensor: The `tf.Tensor`. Its own op comes first.
    """
    chain = [tensor.op]
    while chain[-1].type == "Identity":
        chain.append(chain[-1].inputs[0].op)
    return tuple(chain)


def variable_of(tensor: Any) -> Any:
    """Returns the variable op whose value a tensor is, unchanged; `None` for any other tensor.

    Args:
        tensor: The `tf.Tensor`.
    """
    op = read_chain(tensor)[-1]
    if op.type in REFS:
        return op
    if op.type == READ and op.inputs[0].op.type == RESOURCE:
        return op.inputs[0].op
    return None


def reads_to_origin(tensor: Any) -> list[Any]:
    """Returns the ops from a tensor back through `Identity` and `ReadVariableOp` to what they read.

    Args:
        tensor: The `tf.Tensor`. Its own op comes first; a variable, if it is read from one, comes
            last.
    """
    ops = [tensor.op]
    while ops[-1].type in {"Identity", READ}:
        ops.append(ops[-1].inputs[0].op)
    return ops


def control_input_of(ops: Iterable[Any]) -> Any:
    """Returns an op that one of some ops waits for by a control edge; `None` if none does.

    `DisableCopyOnRead`, with which TensorFlow prepares a read, does not count. What it waits for
    does.

    Args:
        ops: The operations.
    """
    for op in ops:
        waiting = list(op.control_inputs)
        while waiting:
            source = waiting.pop()
            if source.type != "DisableCopyOnRead":
                return source
            waiting.extend(source.control_inputs)
    return None
