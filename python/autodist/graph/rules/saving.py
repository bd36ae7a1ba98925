"""Rule for `SaveV2`: what it reads from variables is read from their shards and replicas, in place.

The node says all there is to say: prefix, names, `shape_and_slices`, values. A value read from a variable becomes one
entry per shard and replica, under the same name. The op that saves reads them later than the original graph: where an
update of the variable waits for the original read, or takes what it returns, that very tensor is saved. A variable that
is itself a slice of a larger one (the node's slice is not empty) is cut further: the shards' boxes move by the slice's
start.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _native
from autodist.errors import UnsupportedGraphError
from autodist.graph.building.placement import PlacedVariable
from autodist.graph.building.stored_parts import StoredPart
from autodist.graph.original import op_types
from autodist.layout import Box, Grid
from autodist.private_apis.tf_internals import control_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from autodist.graph.transformer import Transformer


def lower(walk: Transformer, op: Any) -> bool:
    """Lowers `SaveV2` to `AutodistSave`; False when its names are not constants, and it is copied as it is."""
    names = tf.get_static_value(op.inputs[1])
    specs = tf.get_static_value(op.inputs[2])
    if names is None or specs is None:
        return False
    tensors = list(op.inputs)[3:]
    aggregations = attribute(op, "_autodist_aggregations", default=[b"MEAN"] * len(tensors))
    entries = _Entries(walk.builder.is_at_host)
    controls = walk.controls(op, None)
    variables = _variable_reads(walk, op)
    for name, spec, tensor, asked, variable in zip(
        names, specs, tensors, aggregations, variables, strict=True
    ):
        if variable is None:
            entries.add_tensor(name, spec, walk.fetch(tensor))
        else:
            for each in _chain(tensor):
                controls.extend(_waits(walk, each))
            how = _aggregation(variable, asked.decode())
            entries.add_variable(name, spec.decode(), variable, how, _reader(walk, variable))
    ops = _native.ops()
    with walk.builder.adding(op.name, walk.builder.host_device, controls):
        pins = []
        for where, handles in entries.handles.items():
            with tf.device(where):
                pins.append(ops.autodist_pin_variables(handles))
        if pins:
            pins = [ops.autodist_reference_variables(pins)]
        made = ops.autodist_save(
            prefix=walk.whole_of(op, 0, 0),
            tensor_names=tf.constant(entries.names, tf.string, [len(entries.names)]),
            shape_and_slices=tf.constant(entries.specs, tf.string, [len(entries.specs)]),
            aggregations=tf.constant(entries.aggregations, tf.string, [len(entries.names)]),
            pins=pins,
            tensors=entries.tensors,
            value_index=entries.value_index(),
            layout=_layout(op),
            lock=attribute(op, "_autodist_lock", default=b"block"),
            threads=attribute(op, "_autodist_threads", default=0),
            durable=attribute(op, "_autodist_durable", default=True),
        )
    walk.record_ops(op, [[made]])
    walk.stored_parts[op] = tuple(entries.parts)
    return True


class _Entries:
    """The entries of an `AutodistSave`, and the values they take.

    Args:
      is_at_host: whether a device is in the process that the op runs in.
    """

    def __init__(self, is_at_host: Callable[[str], bool]) -> None:
        self.parts: list[StoredPart] = []
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
        self.parts.append(StoredPart.of_tensor(name, spec, tensor))

    def add_variable(
        self,
        name: bytes,
        spec: str,
        variable: PlacedVariable,
        how: str,
        read: Callable[[Any], Any],
    ) -> None:
        """Every shard and replica of a variable; `read` copies one from elsewhere to a CPU of the op's process."""
        base = Box.parse(spec) if spec else None
        grid = variable.grid
        for handles in variable.handles:
            boxes: list[Box | None] = list(grid.boxes()) if grid is not None else [None]
            for handle, box in zip(handles, boxes, strict=True):
                text = spec_of(box, grid, base) or spec
                dtype = variable.logical.dtype
                self.parts.append(StoredPart.of_variable(name, text, handle, dtype, how))
                if not (_is_on_cpu(handle) and self._is_at_host(handle.device)):
                    self._add(name, text, how, (None, len(self.tensors)))
                    self.tensors.append(read(handle))
                    continue
                on_device = self.handles.setdefault(handle.device, [])
                self._add(name, text, how, (handle.device, len(on_device)))
                on_device.append(handle)

    def value_index(self) -> list[int]:
        """Per entry its place in the list of all pinned variables, device by device, then the tensors."""
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
    """`shape_and_slice` of a shard of a variable, itself the slice `base` of a larger one; "" for all of it."""
    if box is None or grid is None:
        return ""
    if base is None:
        return box.slice_spec(grid.shape)
    shape, slice_box = base
    return box.shifted(slice_box.start).slice_spec(shape)


def _variable_reads(walk: Transformer, save: Any) -> list[PlacedVariable | None]:
    """For each value of `save` the variable that it is the plain value of; None where that very tensor is saved."""
    chains = [_chain(tensor) for tensor in list(save.inputs)[3:]]
    counts = collections.Counter(chain[-1] for chain in chains if chain)
    found: list[PlacedVariable | None] = []
    for chain in chains:
        variable = walk.placed(chain[-1].inputs[0]) if chain else None
        read = SavedRead(save, chain)
        # What is saved twice has one value.
        if variable is None or counts[chain[-1]] > 1 or read.update_behind() is not None:
            found.append(None)
            continue
        walk.saved_reads.setdefault(chain[-1].inputs[0].op, []).append(read)
        found.append(variable)
    return found


def _chain(tensor: Any) -> tuple[Any, ...]:
    """The ops that read a variable and pass its value on to `tensor`, from there backwards; of another tensor none."""
    chain = [tensor.op]
    while chain[-1].type == "Identity":
        chain.append(chain[-1].inputs[0].op)
    return tuple(chain) if chain[-1].type == op_types.READ else ()


@dataclasses.dataclass(frozen=True)
class SavedRead:
    """A read of a variable that a save makes in its own way, and later than the original graph.

    Attributes:
      save: the original `SaveV2`.
      chain: the original ops that read the value and pass it on to `save`, from there backwards.
    """

    save: Any
    chain: tuple[Any, ...]

    def update_behind(self) -> Any:
        """An op that may update the variable and comes after the read, but not after `save`; None if there is none.

        After such an op the variable no longer has the value that is to be saved.
        """
        handle = self.chain[-1].inputs[0]
        pending, seen = list(self.chain), {self.save, *self.chain}
        while pending:
            op = pending.pop()
            found = [taker for output in op.outputs for taker in output.consumers()]
            for taker in [*found, *control_outputs(op)]:
                if taker in seen:
                    continue
                seen.add(taker)
                if _may_update(taker, handle):
                    return taker
                pending.append(taker)
        return None


def _may_update(op: Any, handle: Any) -> bool:
    """Whether an op takes a variable's handle and is not known only to read it."""
    return op.type not in op_types.READ_ONLY and any(each is handle for each in op.inputs)


def check_reads(walk: Transformer, new_ops: list[Any]) -> None:
    """Refuses new updates that come after a read of the variable which a save was lowered without.

    Raises:
      UnsupportedGraphError: naming both.
    """
    updated = {
        tensor.op
        for op in new_ops
        if op.type not in op_types.READ_ONLY
        for tensor in op.inputs
        if tensor.op in walk.saved_reads
    }
    for handle in updated:
        for read in walk.saved_reads[handle]:
            update = read.update_behind()
            if update is not None:
                raise UnsupportedGraphError(
                    f"op {update.name!r} ({update.type}) may update variable {handle.name!r} after "
                    f"{read.chain[-1].name!r} has read it for {read.save.name!r}, but the session that there is "
                    "saves the variable by itself. Let the op take another read of the variable, or create it "
                    "before create_distributed_session()."
                )


def _waits(walk: Transformer, op: Any) -> list[Any]:
    """The ops that a read waits for, but for those that would let stock TensorFlow read in place.

    They switch off what keeps updates by rows out of a buffer that is being read.
    """
    waits = walk.controls(op, None, without=op_types.DISABLE_COPY)
    for source in op.control_inputs:
        if source.type == op_types.DISABLE_COPY:
            waits.extend(_waits(walk, source))
    return waits


def _aggregation(variable: PlacedVariable, asked: str) -> str:
    """How copies are combined: as the variable says where they differ, else as the saver was asked."""
    if variable.is_local:
        return str(variable.logical.aggregation.name)
    return asked


def _reader(walk: Transformer, variable: PlacedVariable) -> Callable[[Any], Any]:
    """Copies a shard from an accelerator or another task; the op reads in place what its process has in CPU memory."""

    def read(handle: Any) -> Any:
        name = f"save/{variable.logical.name}"
        with walk.builder.adding(name, handle.device):
            value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable.logical.dtype)
            with tf.device(walk.builder.host_device):
                return tf.identity(value)

    return read


def _is_on_cpu(handle: Any) -> bool:
    return bool(tf.DeviceSpec.from_string(handle.device).device_type == "CPU")


def _layout(op: Any) -> bytes:
    """Whole variables, unless slices are asked for: how we cut them is no concern of the checkpoint's readers."""
    asked: bytes = attribute(op, "_autodist_layout", default=b"original")
    return b"slices" if asked == b"slices" else b"original"


def attribute(op: Any, name: str, *, default: Any) -> Any:
    """An attribute of an original op that it may lack."""
    try:
        return op.get_attr(name)
    except ValueError:
        return default
