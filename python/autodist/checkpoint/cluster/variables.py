"""Variables of a session's graph, as a graph of our own names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from autodist import _native

RESOURCE = "VarHandleOp"
REFS = ("VariableV2", "Variable")
_ATTRIBUTES = ("container", "shared_name", "dtype", "shape")


def is_pinnable(op: Any) -> bool:
    """Tells whether a variable can be read and written in place: a resource variable in a processor's memory.

    Args:
        op: The operation that holds the variable.
    """
    device_type = tf.DeviceSpec.from_string(op.device or "").device_type
    return op.type == RESOURCE and device_type in (None, "CPU")


def stand_in(op: Any) -> Any:
    """Adds an op for the same variable to the default graph, on the same device.

    Args:
        op: The operation that holds the variable.
    """
    attributes = {name: op.get_attr(name) for name in _ATTRIBUTES}
    # Without a shared name the node's name is the variable's.
    attributes["shared_name"] = attributes["shared_name"] or op.name.encode()
    with tf.device(op.device):
        make = tf.raw_ops.VarHandleOp if op.type == RESOURCE else tf.raw_ops.VariableV2
        return make(**attributes)


def pin(
    numbers: Sequence[int], handles: Sequence[Any], **arguments: Any
) -> tuple[list[int], list[Any]]:
    """Adds the ops that look resource variables up, one for each device.

    Args:
        numbers: Which of the handles.
        handles: The variables' handles.
        **arguments: Of `AutodistPinVariables`.

    Returns:
        The numbers in the order of what the ops return, and that.
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
