"""What a node that saves reads: for each value its name, its slice, and the variable and task it lies on."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

_RESOURCE_VARIABLE = "VarHandleOp"
_REF_VARIABLES = ("VariableV2", "Variable")
# Inputs of `SaveV2` before the values, and of `AutodistSave` before the pins.
_FIRST_VALUE = 3
_FIRST_PIN = 4


@dataclasses.dataclass(frozen=True)
class Source:
    """One value that is saved.

    Attributes:
        name: The name in the checkpoint.
        slice_spec: TensorFlow's text form of a slice; empty for a whole tensor.
        aggregation: How replicas become one value.
        tensor: The `tf.Tensor` or handle in the graph that was read.
        variable: The operation that holds the variable; `None` for any other value.
    """

    name: bytes
    slice_spec: bytes
    aggregation: bytes
    tensor: Any
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
    def is_resource(self) -> bool:
        """Whether it is a resource variable."""
        return self.variable is not None and self.variable.type == _RESOURCE_VARIABLE


@dataclasses.dataclass(frozen=True)
class SaveNode:
    """What a node that saves says.

    Attributes:
        sources: Its values.
        layout: `'original'`, `'slices'` or `'restorable'`.
        lock: `'block'` or `'copy'`.
        threads: How many threads write; 0 lets the machine decide.
        durable: Whether all is synced.
        device: Where the graph puts the node.
    """

    sources: tuple[Source, ...]
    layout: str
    lock: str
    threads: int
    durable: bool
    device: str


def read(op: Any) -> SaveNode | None:
    """Returns what a tagged `SaveV2` or an `AutodistSave` says; `None` if its names are computed."""
    names, specs = (_constant(tensor) for tensor in op.inputs[1:3])
    if names is None or specs is None:
        return None
    prefix = "" if op.type == "AutodistSave" else "_autodist_"
    if op.type == "AutodistSave":
        tensors = _values(op)
        aggregations = _constant(op.inputs[3])
        if aggregations is None:
            return None
    else:
        tensors = list(op.inputs)[_FIRST_VALUE:]
        aggregations = _attribute(op, "_autodist_aggregations", [b"MEAN"] * len(tensors))
    sources = tuple(
        Source(name, spec, aggregation, tensor, _variable(tensor))
        for name, spec, aggregation, tensor in zip(names, specs, aggregations, tensors, strict=True)
    )
    return SaveNode(
        sources,
        _attribute(op, prefix + "layout", b"restorable").decode(),
        _attribute(op, prefix + "lock", b"block").decode(),
        _attribute(op, prefix + "threads", 0),
        _attribute(op, prefix + "durable", True),
        op.device,
    )


def _values(op: Any) -> list[Any]:
    """Returns the value or handle of each entry of an `AutodistSave`."""
    pins = op.get_attr("num_pins")
    values: list[Any] = []
    for pin in op.inputs[_FIRST_PIN : _FIRST_PIN + pins]:
        values.extend(pin.op.inputs)
    values.extend(op.inputs[_FIRST_PIN + pins :])
    return [values[index] for index in op.get_attr("value_index")]


def _variable(tensor: Any) -> Any:
    """Returns the operation of the variable that a tensor is the plain value or the handle of."""
    op = tensor.op
    if tensor.dtype == tf.resource:
        return op if op.type == _RESOURCE_VARIABLE else None
    while op.type == "Identity":
        op = op.inputs[0].op
    if op.type in _REF_VARIABLES:
        return op
    if op.type == "ReadVariableOp" and op.inputs[0].op.type == _RESOURCE_VARIABLE:
        return op.inputs[0].op
    return None


def _constant(tensor: Any) -> list[bytes] | None:
    """Returns the elements of a constant of strings, else `None`."""
    if tensor.op.type != "Const":
        return None
    return [bytes(value) for value in tf.make_ndarray(tensor.op.get_attr("value")).ravel()]


def _attribute(op: Any, name: str, default: Any) -> Any:
    try:
        return op.get_attr(name)
    except ValueError:
        return default
