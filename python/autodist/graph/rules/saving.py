"""Rule for `SaveV2`: it saves the shards and replicas of variables in place.

A value that the node reads from a variable becomes one entry per shard and replica, under the same
name. The op that saves reads them later than the original graph does. So if an update of the
variable waits for the original read, or takes its value, the rule saves the tensor that was read. A
variable may itself be a slice of a larger one: then the node's slice is not empty. It is cut
further, and the boxes of its shards move by the start of the slice.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from autodist import _native
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.context.context import Context
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.saved_reads import SavedRead, reading_chain
from autodist.graph.rules.table import rule
from autodist.layout import Box, Grid, RequestEntry
from autodist.tf_nodes import constants, device_memory, marks, save_nodes


def has_known_names(_: Context, op: Any) -> bool:
    """Whether the names and slices of a `SaveV2` or `RestoreV2` are constants."""
    return constants.names_and_slices(op, may_fold=True) is not None


@rule(op_types.SAVE, applies=has_known_names)
def save(context: Context, op: Any) -> None:
    """An `AutodistSave` with an entry for each shard and replica of a variable that is saved."""
    pairs = constants.names_and_slices(op, may_fold=True) or []
    marked = marks.read_save(op)
    entries = _Entries(context.builder.is_at_host)
    controls = context.controls(op, None)
    variables = _variable_reads(context, op)
    for (name, spec), tensor, asked, variable in zip(
        pairs, save_nodes.values(op), save_nodes.aggregations(op), variables, strict=True
    ):
        if variable is None:
            entries.add_tensor(name, spec, context.fetch(tensor))
        else:
            for each in reading_chain(tensor):
                controls.extend(_waits(context, each))
            how = _aggregation(variable, asked.decode())
            entries.add_variable(name, spec.decode(), variable, how, _reader(context, variable))
    ops = _native.ops()
    with context.builder.adding(op.name, context.builder.host_device, controls):
        pins = []
        for where, handles in entries.handles.items():
            with tf.device(where):
                pins.append(ops.autodist_pin_variables(handles))
        if pins:
            pins = [ops.autodist_reference_variables(pins, context.whole_of(op, 0, 0))]
        made = ops.autodist_save(
            prefix=context.whole_of(op, 0, 0),
            tensor_names=tf.constant(entries.names, tf.string, [len(entries.names)]),
            shape_and_slices=tf.constant(entries.specs, tf.string, [len(entries.specs)]),
            aggregations=tf.constant(entries.aggregations, tf.string, [len(entries.names)]),
            pins=pins,
            tensors=entries.tensors,
            value_index=entries.value_index(),
            layout=marked.distributed_layout,
            lock=marked.lock,
            threads=marked.threads,
            durable=marked.durable,
        )
    context.record_ops(op, [[made]])
    context.stored_parts[op] = tuple(entries.parts)


class _Entries:
    """The entries of an `AutodistSave`, and the values they take.

    Args:
      is_at_host: whether a device is in the process that the op runs in.
    """

    def __init__(self, is_at_host: Callable[[str], bool]) -> None:
        self.parts: list[RequestEntry] = []
        self._is_at_host = is_at_host
        self.names: list[bytes] = []
        self.specs: list[str | bytes] = []
        self.aggregations: list[str] = []
        self.handles: dict[str, list[Any]] = {}
        self.tensors: list[Any] = []
        self._places: list[tuple[str | None, int]] = []

    def add_tensor(self, name: bytes, spec: bytes, tensor: Any) -> None:
        """A value that is not read from a variable."""
        self._add(name, spec, "MEAN", (None, len(self.tensors)))
        self.tensors.append(tensor)
        self.parts.append(RequestEntry.of_tensor(name, spec, tensor))

    def add_variable(
        self,
        name: bytes,
        spec: str,
        variable: PlacedVariable,
        how: str,
        read: Callable[[Any], Any],
    ) -> None:
        """Every shard and replica of a variable.

        `read` copies one that is not read in place to a CPU of the op's process.
        """
        base = Box.parse(spec) if spec else None
        grid = variable.grid
        for handles in variable.handles:
            boxes: list[Box | None] = list(grid.boxes()) if grid is not None else [None]
            for handle, box in zip(handles, boxes, strict=True):
                text = spec_of(box, grid, base) or spec
                dtype = variable.logical.dtype
                self.parts.append(RequestEntry.of_variable(name, text, handle, dtype, how))
                if not (
                    device_memory.is_in_place(handle.device, dtype)
                    and self._is_at_host(handle.device)
                ):
                    self._add(name, text, how, (None, len(self.tensors)))
                    self.tensors.append(read(handle))
                    continue
                on_device = self.handles.setdefault(handle.device, [])
                self._add(name, text, how, (handle.device, len(on_device)))
                on_device.append(handle)

    def value_index(self) -> list[int]:
        """Per entry its index in the pinned variables, by device, followed by the tensors."""
        first: dict[str | None, int] = {}
        count = 0
        for device, handles in self.handles.items():
            first[device] = count
            count += len(handles)
        first[None] = count
        return [first[device] + index for device, index in self._places]

    def _add(self, name: bytes, spec: str | bytes, how: str, place: tuple[str | None, int]) -> None:
        self.names.append(name)
        self.specs.append(spec)
        self.aggregations.append(how)
        self._places.append(place)


def spec_of(box: Box | None, grid: Grid | None, base: tuple[tuple[int, ...], Box] | None) -> str:
    """`shape_and_slice` of a shard of a variable, itself the slice `base` of a larger one.

    "" for all of it.
    """
    if box is None or grid is None:
        return ""
    if base is None:
        return box.slice_spec(grid.shape)
    shape, slice_box = base
    return box.shifted(slice_box.start).slice_spec(shape)


def _variable_reads(context: Context, save: Any) -> list[PlacedVariable | None]:
    """For each value of `save`, the variable whose unchanged value it is.

    None if the tensor itself must be saved.
    """
    chains = [reading_chain(tensor) for tensor in save_nodes.values(save)]
    counts = collections.Counter(chain[-1] for chain in chains if chain)
    found: list[PlacedVariable | None] = []
    for chain in chains:
        variable = context.placed(chain[-1].inputs[0]) if chain else None
        read = SavedRead(save, chain)
        # A variable that is saved twice has one value.
        if variable is None or counts[chain[-1]] > 1 or read.update_behind() is not None:
            found.append(None)
            continue
        context.saved_reads.setdefault(chain[-1].inputs[0].op, []).append(read)
        found.append(variable)
    return found


def _waits(context: Context, op: Any) -> list[Any]:
    """The ops that a read waits for, except those that would let stock TensorFlow read in place.

    They switch off what keeps updates by rows out of a buffer that is being read.
    """
    waits = context.controls(op, None, without=op_types.DISABLE_COPY)
    for source in op.control_inputs:
        if source.type == op_types.DISABLE_COPY:
            waits.extend(_waits(context, source))
    return waits


def _aggregation(variable: PlacedVariable, asked: str) -> str:
    """The aggregation of copies: the variable's where they differ, else the saver's."""
    if variable.is_local:
        return str(variable.logical.aggregation.name)
    return asked


def _reader(context: Context, variable: PlacedVariable) -> Callable[[Any], Any]:
    """Copies a shard from elsewhere.

    The op reads in place what its process has (`device_memory`).
    """

    def read(handle: Any) -> Any:
        name = f"save/{variable.logical.name}"
        with context.builder.adding(name, handle.device):
            value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable.logical.dtype)
            with tf.device(context.builder.host_device):
                return tf.identity(value)

    return read
