"""Reads `SaveV2` nodes: names, slices, values, and the variables behind the values."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autodist import errors, layout
from autodist.tf_nodes import constants, marks, variable_ops

# Inputs of `SaveV2` before the values: prefix, tensor_names, shape_and_slices.
_FIRST_VALUE = 3


@dataclasses.dataclass(frozen=True)
class Entry:
    """One value that a `SaveV2` node writes.

    Attributes:
        name: The name in the checkpoint.
        slice_spec: TensorFlow's text form of a slice; empty for a whole tensor.
        tensor: The `tf.Tensor` that is written.
    """

    name: str
    slice_spec: str
    tensor: Any


def find(graph: Any, saver_def: Any) -> list[Any]:
    """Returns the `SaveV2` operations that write to the file name of a `SaverDef`.

    A node is found by its edges: it takes its prefix from the tensor that the saver feeds. Nodes
    of a sharded saver are not found, since they take theirs from a `ShardedFilename` per device.
    Nor are those of the V1 format, which are not `SaveV2`.

    Args:
        graph: The `tf.Graph`; `None` has no nodes.
        saver_def: The `SaverDef`; its nodes may be missing from the graph.
    """
    if graph is None:
        return []
    try:
        filename = graph.get_tensor_by_name(saver_def.filename_tensor_name)
    except (KeyError, ValueError):
        return []
    return [op for op in filename.consumers() if op.type == "SaveV2" and op.inputs[0] is filename]


def values(save_op: Any) -> list[Any]:
    """Returns the tensors that a `SaveV2` writes."""
    return list(save_op.inputs)[_FIRST_VALUE:]


def aggregations(save_op: Any) -> list[bytes]:
    """Returns how the replicas of each value of a `SaveV2` become one, in the order of the node."""
    asked = marks.read_save(save_op).aggregations
    return [b"MEAN"] * len(values(save_op)) if asked is None else list(asked)


def read_entries(save_op: Any) -> list[Entry]:
    """Returns what a `SaveV2` operation writes, in its order.

    Args:
        save_op: The `tf.Operation`.

    Raises:
        UnsupportedGraphError: Its names or slices are not constants.
    """
    pairs = constants.names_and_slices(save_op)
    if pairs is None:
        raise errors.UnsupportedGraphError(
            f"{save_op.name}: the tensor names and slices of a SaveV2 node must be constants, "
            "but they are computed"
        )
    return [
        Entry(tf.compat.as_str(name), tf.compat.as_str(spec), value)
        for (name, spec), value in zip(pairs, values(save_op), strict=True)
    ]


def read_request(save_op: Any) -> layout.SaveRequest | None:
    """Returns what a `SaveV2` operation asks for; `None` if its names or slices are computed.

    Args:
        save_op: The `tf.Operation`.
    """
    pairs = constants.names_and_slices(save_op)
    if pairs is None:
        return None
    marked = marks.read_save(save_op)
    entries = []
    for (name, spec), how, tensor in zip(
        pairs, aggregations(save_op), values(save_op), strict=True
    ):
        variable = variable_ops.variable_of(tensor)
        if variable is None:
            entries.append(layout.RequestEntry.of_tensor(name, spec, tensor))
        else:
            handle = variable.outputs[0]
            entries.append(
                layout.RequestEntry.of_variable(
                    name, spec, handle, tensor.dtype.base_dtype, how.decode()
                )
            )
    return layout.SaveRequest(
        tuple(entries), marked.layout, marked.lock, marked.threads, marked.durable
    )


def reads_resource_variables(save_op: Any) -> bool:
    """Tells whether a `SaveV2` writes the value of a resource variable.

    Args:
        save_op: The node.
    """
    return any(map(_is_of_resource_variable, values(save_op)))


def may_share_memory(save_op: Any) -> bool:
    """Tells whether a `SaveV2` may take memory of ref variables, in which updates are made.

    Args:
        save_op: The node.
    """
    if all(map(_is_of_resource_variable, values(save_op))):
        return False
    return any(op.type in variable_ops.REFS for op in save_op.graph.get_operations())


def _is_of_resource_variable(tensor: Any) -> bool:
    origin = variable_ops.variable_of(tensor)
    return origin is not None and origin.type == variable_ops.RESOURCE


def awaited_operation(save_op: Any) -> Any:
    """Returns an operation that a `SaveV2`, or a read of a variable for it, waits for.

    `None` if none does.

    A run of the node runs that operation too, so only a session on the node's own graph can save as
    the graph says.

    Args:
        save_op: The node.
    """
    ops = [save_op, *(tensor.op for tensor in save_op.inputs[:_FIRST_VALUE])]
    for tensor in values(save_op):
        reads = variable_ops.reads_to_origin(tensor)
        # The user's session computes any other value.
        if reads[-1].type in {*variable_ops.REFS, variable_ops.RESOURCE}:
            ops.extend(reads)
    return variable_ops.control_input_of(ops)


def sliced_variables(save_op: Any) -> dict[str, list[Entry]]:
    """Returns what a `SaveV2` operation writes as slices, by name in the checkpoint.

    Args:
        save_op: The `tf.Operation`. One whose names are computed has no slices that are known
            beforehand.
    """
    try:
        entries = read_entries(save_op)
    except errors.UnsupportedGraphError:
        return {}
    variables: dict[str, list[Entry]] = collections.defaultdict(list)
    for entry in entries:
        if entry.slice_spec:
            variables[entry.name].append(entry)
    return variables


def dtypes_of_several_slices(variables: Mapping[str, list[Entry]]) -> set[tf.DType]:
    """Returns the dtypes of the variables that have several slices.

    Args:
        variables: As `sliced_variables` returns them.
    """
    several = [
        entries
        for entries in variables.values()
        if len({entry.slice_spec for entry in entries}) > 1
    ]
    return {entry.tensor.dtype.base_dtype for entries in several for entry in entries}


def names_with_gaps(variables: Mapping[str, list[Entry]]) -> list[str]:
    """Returns the names of the variables whose slices leave elements out, sorted.

    Args:
        variables: As `sliced_variables` returns them.
    """
    return sorted(name for name, entries in variables.items() if _has_gaps(entries))


def _has_gaps(entries: list[Entry]) -> bool:
    try:
        parsed = [layout.Box.parse(spec) for spec in {entry.slice_spec for entry in entries}]
    except ValueError:
        # A saveable object of the user's with a bad slice: the save op refuses it.
        return False
    shape = parsed[0][0]
    return sum(box.element_count for _, box in parsed) < math.prod(shape)
