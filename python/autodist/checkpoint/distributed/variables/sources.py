"""What a node that saves reads: for each value its name, its slice, and the variable and task it lies on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.variables import own_graph_handles

# Inputs of `SaveV2` before the values.
_FIRST_VALUE = 3


@dataclasses.dataclass(frozen=True)
class Source:
    """One value that is saved.

    Attributes:
        name: The name in the checkpoint.
        slice_spec: TensorFlow's text form of a slice; empty for a whole tensor.
        aggregation: How replicas become one value.
        tensor: The `tf.Tensor` that is saved, or the variable's handle.
        variable: The operation that holds the variable, or where a session has put it (`variables.Variable`); `None`
            for any other value.
    """

    name: bytes
    slice_spec: bytes
    aggregation: bytes
    # Symbolic tensors compare by adding an op to their graph.
    tensor: Any = dataclasses.field(compare=False)
    variable: Any

    @property
    def dtype(self) -> Any:
        """The dtype of the value."""
        if self.variable is not None:
            return tf.as_dtype(self.variable.get_attr("dtype"))
        return self.tensor.dtype.base_dtype

    @property
    def is_encoded(self) -> bool:
        """Whether its elements vary in size: strings and variants."""
        return self.dtype in (tf.string, tf.variant)

    @property
    def is_pinned(self) -> bool:
        """Whether it is read in place, where it lies."""
        return (
            self.variable is not None
            and own_graph_handles.is_pinnable(self.variable)
            and not self.is_encoded
        )

    @property
    def goes_to_chief(self) -> bool:
        """Whether the chief gets its value as a whole before the save."""
        return self.is_encoded or self.variable is None

    @property
    def is_resource(self) -> bool:
        """Whether it is a resource variable."""
        return self.variable is not None and self.variable.type == own_graph_handles.RESOURCE


@dataclasses.dataclass(frozen=True)
class SaveNode:
    """What a node that saves says.

    Attributes:
        sources: Its values.
        layout: `'original'`, `'slices'` or `'restorable'`.
        lock: `'block'` or `'copy'`.
        threads: How many threads write; 0 lets the machine decide.
        durable: Whether all is synced.
        device: Where the node lies; empty: at the session's master.
        name: Its name in the graph that the saver is in.
        names: The constant of its tensor names; `None` in a distributed session.
    """

    sources: tuple[Source, ...]
    layout: str
    lock: str
    threads: int
    durable: bool
    device: str
    name: str
    names: Any


def read(op: Any) -> SaveNode | None:
    """Returns what a tagged `SaveV2` says; `None` if its names are computed."""
    names, specs = (constant(tensor) for tensor in op.inputs[1:_FIRST_VALUE])
    if names is None or specs is None:
        return None
    tensors = list(op.inputs)[_FIRST_VALUE:]
    aggregations = attribute(op, "_autodist_aggregations", default=[b"MEAN"] * len(tensors))
    sources = tuple(
        Source(name, spec, aggregation, tensor, _variable(tensor))
        for name, spec, aggregation, tensor in zip(names, specs, aggregations, tensors, strict=True)
    )
    return SaveNode(
        sources,
        attribute(op, "_autodist_layout", default=b"restorable").decode(),
        attribute(op, "_autodist_lock", default=b"block").decode(),
        attribute(op, "_autodist_threads", default=0),
        attribute(op, "_autodist_durable", default=True),
        op.device,
        op.name,
        op.inputs[1].op,
    )


def what_else_runs(save_op: Any) -> Any:
    """Returns an operation that a `SaveV2`, or a read of a variable for it, waits for; `None` if none does.

    Whoever runs the node runs that operation too: only the session that has both does what the graph says.

    Args:
        save_op: The node.
    """
    ops = [save_op, *(tensor.op for tensor in save_op.inputs[:_FIRST_VALUE])]
    for tensor in save_op.inputs[_FIRST_VALUE:]:
        reads = [tensor.op]
        while reads[-1].type in {"Identity", "ReadVariableOp"}:
            reads.append(reads[-1].inputs[0].op)
        # The session computes any other value.
        if reads[-1].type in {*own_graph_handles.REFS, own_graph_handles.RESOURCE}:
            ops.extend(reads)
    return waits_for(ops)


def waits_for(ops: Iterable[Any]) -> Any:
    """Returns an operation that one of some operations waits for; `None` if none does.

    Those that only prepare a read of TensorFlow's own do not count.

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


def _variable(tensor: Any) -> Any:
    """Returns the operation of the variable that a tensor is the plain value of."""
    op = tensor.op
    while op.type == "Identity":
        op = op.inputs[0].op
    if op.type in own_graph_handles.REFS:
        return op
    if op.type == "ReadVariableOp" and op.inputs[0].op.type == own_graph_handles.RESOURCE:
        return op.inputs[0].op
    return None


def constant(tensor: Any) -> list[bytes] | None:
    """Returns the elements of a constant of strings, else `None`."""
    if tensor.op.type != "Const":
        return None
    return [bytes(value) for value in tf.make_ndarray(tensor.op.get_attr("value")).ravel()]


def attribute(op: Any, name: str, *, default: Any) -> Any:
    """Returns an attribute of an operation that it may lack."""
    try:
        return op.get_attr(name)
    except ValueError:
        return default
