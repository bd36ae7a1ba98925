"""Ops in a graph of our own for the variables of the user's session."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from autodist import _native
from autodist.tf_nodes import device_memory, variable_ops

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
    return _is_processor(variable.device)


@functools.lru_cache(maxsize=10_000)
def _is_processor(device: str) -> bool:
    return bool(tf.DeviceSpec.from_string(device).device_type == "CPU")


def is_pinnable(variable: PlacedVariable) -> bool:
    """Tells whether a variable can be read and written in place, where it lies."""
    return variable.type == variable_ops.RESOURCE and (
        is_in_processor_memory(variable)
        or device_memory.is_in_place(variable.device, tf.as_dtype(variable.get_attr("dtype")))
    )


class OwnHandles:
    """Variables of the user's session, for the ops of a graph of our own.

    What reads or writes variables in place finds them by name. Only any other op needs a handle,
    which is an op of the graph: making one takes as long as all else that a variable needs.
    """

    def __init__(self, variables: Iterable[PlacedVariable | None]) -> None:
        """Makes no op yet.

        Args:
            variables: The variables; `None` for another value. Their numbers are their places here.
        """
        self._variables = list(variables)
        self._handles: dict[int, Any] = {}

    def device(self, number: int) -> str:
        """Returns the device of a variable."""
        return str(self._placed(number).device)

    def handle(self, number: int) -> Any:
        """Returns an op's output for a variable, on its device; adds it to the default graph."""
        if number not in self._handles:
            self._handles[number] = _handle_of(self._placed(number))
        return self._handles[number]

    def pin(self, numbers: Sequence[int], **arguments: Any) -> tuple[list[int], list[Any]]:
        """Adds ops that look up resource variables, one for each device.

        Args:
            numbers: Which of the variables.
            **arguments: Of `AutodistPinNamedVariables`.

        Returns:
            The numbers in the order of the outputs of the ops, and these outputs.
        """
        by_device: dict[str, list[int]] = {}
        for number in numbers:
            by_device.setdefault(self.device(number), []).append(number)
        pins = []
        ordered: list[int] = []
        for device, on_device in by_device.items():
            variables = [self._placed(number) for number in on_device]
            with tf.device(device):
                pins.append(
                    _native.ops().autodist_pin_named_variables(
                        containers=[variable.get_attr("container") for variable in variables],
                        names=[variable.get_attr("shared_name") for variable in variables],
                        **arguments,
                    )
                )
            ordered.extend(on_device)
        return ordered, pins

    def reference(self, numbers: Sequence[int], device: str) -> tuple[list[int], list[Any]]:
        """Adds ops that refer to the values of variables of one task, all at one instant.

        Args:
            numbers: Which of the variables.
            device: The processor of the task.

        Returns:
            The numbers in the order of the values, and the input of an op that saves them.
        """
        ordered, pins = self.pin(numbers)
        if not pins:
            return ordered, []
        with tf.device(device):
            return ordered, [_native.ops().autodist_reference_variables(pins, prefix="")]

    def _placed(self, number: int) -> PlacedVariable:
        variable = self._variables[number]
        if variable is None:
            raise ValueError(f"value {number} is no variable")
        return variable


def _handle_of(variable: PlacedVariable) -> Any:
    attributes = {name: variable.get_attr(name) for name in _ATTRIBUTES}
    if variable.type != variable_ops.RESOURCE:
        # Without a shared name the node's name is the variable's.
        attributes["shared_name"] = attributes["shared_name"] or variable.name.encode()
    with tf.device(variable.device):
        make = (
            tf.raw_ops.VarHandleOp
            if variable.type == variable_ops.RESOURCE
            else tf.raw_ops.VariableV2
        )
        return make(**attributes)
