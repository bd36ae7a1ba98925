"""Reads `RestoreV2` nodes: names, slices, and the variables that take the values."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

import tensorflow as tf

from autodist import layout
from autodist.tf_nodes import constants, variable_ops


@dataclasses.dataclass(frozen=True)
class Entry:
    """One value that a `RestoreV2` node reads.

    Attributes:
        name: The name in the checkpoint.
        full_shape: Shape of the variable of which it is a slice, or to which it is assigned as a
            whole; `None` if it is not known.
        dtype: The `tf.DType` that is read.
    """

    name: str
    full_shape: tuple[int, ...] | None
    dtype: Any


@dataclasses.dataclass(frozen=True)
class Assignment:
    """An operation that assigns an output of a `RestoreV2` to a variable.

    Attributes:
        op: The operation.
        restore_op: The `RestoreV2`.
        output: The number of the output.
        between: The `Identity` ops that pass the value on.
    """

    op: Any
    restore_op: Any
    output: int
    between: tuple[Any, ...] = ()


def find(graph: Any, saver_def: Any) -> list[Any]:
    """Returns the `RestoreV2` operations that read from the file name of a `SaverDef`.

    Args:
        graph: The `tf.Graph`.
        saver_def: The `SaverDef`; its nodes may be missing from the graph.
    """
    try:
        filename = graph.get_tensor_by_name(saver_def.filename_tensor_name)
    except (KeyError, ValueError):
        return []
    return [op for op in filename.consumers() if op.type == "RestoreV2"]


def read_entries(restore_op: Any) -> list[Entry]:
    """Returns what a `RestoreV2` operation reads, in its order; nothing if that is computed.

    Args:
        restore_op: The `tf.Operation`.
    """
    pairs = constants.names_and_slices(restore_op, may_fold=True) or []
    return [
        Entry(
            tf.compat.as_str(name),
            _full_shape(tf.compat.as_str(spec), output),
            output.dtype.base_dtype,
        )
        for (name, spec), output in zip(pairs, restore_op.outputs if pairs else [], strict=True)
    ]


def assigning_ops(output: Any) -> Iterator[Any]:
    """Yields the ops that assign a restored tensor to a variable, also through `Identity`.

    Args:
        output: An output of a `RestoreV2`.
    """
    for consumer in output.consumers():
        if consumer.type == "Identity":
            yield from assigning_ops(consumer.outputs[0])
        elif consumer.type in variable_ops.ASSIGNS:
            yield consumer


def ops_of_group(restore_all: Any) -> Iterator[Any]:
    """Yields the operations that a saver's `restore_all`, a `NoOp`, groups."""
    waiting, seen = [restore_all], set()
    while waiting:
        op = waiting.pop()
        if op in seen:
            continue
        seen.add(op)
        if op.type == "NoOp":
            waiting.extend(op.control_inputs)
        else:
            yield op


def assignment_by(op: Any, nodes: Collection[Any]) -> Assignment | None:
    """Returns which restored value of fixed-size elements an operation assigns.

    `None` if it does something else.

    Args:
        op: The operation.
        nodes: The `RestoreV2` operations of the saver; a set or dict, to look each up at once.
    """
    if op.type not in variable_ops.ASSIGNS or op.inputs[0].op.type not in (
        variable_ops.RESOURCE,
        *variable_ops.REFS,
    ):
        return None
    value = op.inputs[1]
    between = []
    while value.op.type == "Identity":
        between.append(value.op)
        value = value.op.inputs[0]
    if value.op not in nodes or value.dtype.base_dtype in (tf.string, tf.variant):
        return None
    return Assignment(op, value.op, value.value_index, tuple(between))


def entry_of(assignment: Assignment, name: bytes, spec: bytes) -> layout.RequestEntry:
    """Returns the variable that an assignment writes, as an entry of a restore request.

    Args:
        assignment: The assignment.
        name: The name of its value in the checkpoint.
        spec: The slice of its value; empty for a whole tensor.
    """
    handle = assignment.op.inputs[0]
    variable = handle.op
    return layout.RequestEntry(
        name.decode(),
        spec.decode(),
        tf.as_dtype(variable.get_attr("dtype")),
        "",
        handle.device,
        variable.name,
        validate_shape=bool(assignment.op.get_attr("validate_shape")),
    )


def waits_for_others(nodes: list[Any], assignments: list[Assignment]) -> bool:
    """Tells whether a restore runs more than a saver's own nodes.

    Then the user's session must run it.

    Args:
        nodes: The `RestoreV2` operations of the saver.
        assignments: What assigns their values.
    """
    own = {assignment.op for assignment in assignments}
    ops = [op for node in nodes for op in (node, *(tensor.op for tensor in node.inputs))]
    for assignment in assignments:
        ops += [assignment.op, *assignment.between]
    return any(source not in own for op in ops for source in op.control_inputs)


def _full_shape(slice_spec: str, output: Any) -> tuple[int, ...] | None:
    """Returns the shape that a slice names, or that of the variable that takes the value."""
    if slice_spec:
        return tuple(int(dimension) for dimension in slice_spec.split()[:-1])
    for op in assigning_ops(output):
        if op.type == "Assign":
            shape = op.inputs[0].shape
        elif op.inputs[0].op.type == variable_ops.RESOURCE:
            shape = tf.TensorShape(op.inputs[0].op.get_attr("shape"))
        else:
            continue
        return tuple(shape.as_list()) if shape.is_fully_defined() else None
    return None
