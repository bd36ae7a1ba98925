"""Ops in a graph of our own for the variables of the user's session."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from autodist import _native
from autodist.tf_nodes import variable_ops

_ATTRIBUTES = ("container", "shared_name", "dtype", "shape")


@dataclasses.dataclass(frozen=True)
class PlacedVariable:
    """A variable, and where the user's session has put it.

    Attributes:
        op: The operation that holds the variable.
        device: The whole name of its device.
    """

    op: Any
    device: str

    @property
    def type(self) -> str:
        """The type of the operation."""
        return str(self.op.type)

    @property
    def name(self) -> str:
        """The name of the operation."""
        return str(self.op.name)

    def get_attr(self, name: str) -> Any:
        """Returns an attribute of the operation."""
        return self.op.get_attr(name)


def is_in_processor_memory(variable: PlacedVariable) -> bool:
    """Tells whether a variable lies in the memory of a processor, not of an accelerator."""
    return bool(tf.DeviceSpec.from_string(variable.device).device_type == "CPU")


def is_pinnable(variable: PlacedVariable) -> bool:
    """Tells whether a variable can be read and written in place, in a CPU's memory."""
    return variable.type == variable_ops.RESOURCE and is_in_processor_memory(variable)


def handle_of(variable: PlacedVariable) -> Any:
    """Adds an op for the same variable to the default graph, on the same device."""
    attributes = {name: variable.get_attr(name) for name in _ATTRIBUTES}
    # Without a shared name the node's name is the variable's.
    attributes["shared_name"] = attributes["shared_name"] or variable.name.encode()
    with tf.device(variable.device):
        make = (
            tf.raw_ops.VarHandleOp
            if variable.type == variable_ops.RESOURCE
            else tf.raw_ops.VariableV2
        )
        return make(**attributes)


def pin(
    numbers: Sequence[int], handles: Sequence[Any], **arguments: Any
) -> tuple[list[int], list[Any]]:
    """Adds ops that look up resource variables, one for each device.

    Args:
        numbers: Which of the handles.
        handles: The variables' handles.
        **arguments: Of `AutodistPinVariables`.

    Returns:
        The numbers in the order of the outputs of the ops, and these outputs.
    """
    by_device: dict[str, list[int]] = {}
    for number in numbers:
        by_device.setdefault(handles[number].device, []).append(number)
    pins = []
    ordered: list[int] = []
    for device, on_device in by_device.items():
        with tf.device(device):
            pins.append(
                _native.ops().autodist_pin_variables([handles[i] for i in on_device], **arguments)
            )
        ordered.extend(on_device)
    return ordered, pins


def reference(
    numbers: Sequence[int], handles: Sequence[Any], device: str
) -> tuple[list[int], list[Any]]:
    """Adds ops that refer to the values of variables of one task, all at one instant.

    Args:
        numbers: Which of the handles.
        handles: The variables' handles.
        device: The processor of the task.

    Returns:
        The numbers in the order of the values, and the input of an op that saves them.
    """
    ordered, pins = pin(numbers, handles)
    if not pins:
        return ordered, []
    with tf.device(device):
        return ordered, [_native.ops().autodist_reference_variables(pins, prefix="")]
