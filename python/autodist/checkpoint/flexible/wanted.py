"""What a saver restores: the outputs of its `RestoreV2` nodes, and the ops that take them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.layout import Box
from autodist.tf_nodes import constants, restore_nodes, variable_ops

_PLACEHOLDERS = ("Placeholder", "PlaceholderV2")


@dataclasses.dataclass(frozen=True)
class WantedValue:
    """An output of a `RestoreV2`.

    Attributes:
        node: The `RestoreV2`.
        output: The number of the output.
        name: The saver's name for it.
        spec: TensorFlow's text form of a slice; empty for a whole tensor.
        shape: The shape of the variable, whole; `None` if it is not known.
        dtype: The `tf.DType` that is wanted.
    """

    node: Any
    output: int
    name: str
    spec: str
    shape: tuple[int, ...] | None
    dtype: Any

    @property
    def tensor(self) -> Any:
        """The `tf.Tensor`."""
        return self.node.outputs[self.output]

    @property
    def box(self) -> Box | None:
        """The part of the variable; `None` if its shape is not known."""
        if self.spec:
            return Box.parse(self.spec)[1]
        return None if self.shape is None else Box((0,) * len(self.shape), self.shape)

    @property
    def size_bytes(self) -> int:
        """Its size; 0 if its shape is not known."""
        return 0 if self.box is None else self.box.element_count * int(self.dtype.size)


@dataclasses.dataclass(frozen=True)
class RestoringOp:
    """An operation of a saver that takes restored values.

    Attributes:
        op: The operation.
        values: What it takes.
        variable: The operation that holds the variable, if it assigns one value to one; else
            `None`.
    """

    op: Any
    values: tuple[WantedValue, ...]
    variable: Any


def read(graph: Any, saver_def: Any) -> list[RestoringOp]:
    """Returns what a saver restores.

    Args:
        graph: The graph of the saver's nodes.
        saver_def: The saver's `SaverDef`.

    Raises:
        UnsupportedGraphError: The names that a node reads are computed, or how a value gets into a
            variable cannot be told.
    """
    values: dict[Any, list[WantedValue]] = {}
    for node in restore_nodes.find(graph, saver_def):
        pairs = constants.names_and_slices(node)
        if pairs is None:
            raise errors.UnsupportedGraphError(
                f"{node.name}: a restore with missing, unexpected, name_map, grow, cast or dry_run "
                "needs tensor names and slices that are constants, but they are computed. Build "
                "the Saver in this program"
            )
        entries = restore_nodes.read_entries(node)
        values[node] = [
            WantedValue(node, number, entry.name, spec.decode(), entry.full_shape, entry.dtype)
            for number, (entry, (_, spec)) in enumerate(zip(entries, pairs, strict=True))
        ]
    found = []
    for op in restore_nodes.ops_of_group(graph.get_operation_by_name(saver_def.restore_op_name)):
        taken = [values[source][number] for source, number in _sources(op, values)]
        if not taken:
            raise _unclear(
                f"{op.name!r} is run by the restore, but takes no value of the checkpoint"
            )
        found.append(RestoringOp(op, tuple(taken), _variable(op) if len(taken) == 1 else None))
    used = {(value.node, value.output) for value in values_of(found)}
    for value in [value for of_node in values.values() for value in of_node]:
        # One without consumers is read and dropped by every restore.
        if (value.node, value.output) not in used and value.tensor.consumers():
            raise _unclear(f"no op that the restore runs takes {value.name!r} as its input")
    return sorted(found, key=lambda each: (each.values[0].node.name, each.values[0].output))


def _unclear(what: str) -> errors.UnsupportedGraphError:
    return errors.UnsupportedGraphError(
        f"{what}, so a restore with missing, unexpected, name_map, grow, cast or dry_run cannot tell "
        "what it would restore. Let restore() of each saveable object return the op that assigns, "
        "or restore without these options"
    )


def ops_before(ops: Iterable[Any]) -> set[Any]:
    """Returns all operations that run if some do.

    Args:
        ops: The operations.
    """
    waiting, seen = list(ops), set()
    while waiting:
        op = waiting.pop()
        if op not in seen:
            seen.add(op)
            waiting += [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
    return seen


class Initializers:
    """The variables of a graph, found by their operations, with their initial values."""

    def __init__(self, graph: Any) -> None:
        """Looks at the collections of a graph.

        Args:
            graph: The graph.
        """
        self._variables: dict[Any, Any] = {}
        for key in graph.get_all_collection_keys():
            for item in graph.get_collection_ref(key):
                if isinstance(item, tf.Variable):
                    self._variables[item.op] = item

    def variable(self, wanted: RestoringOp) -> Any:
        """Returns the variable that takes a value; `None` if there is none."""
        return self._variables.get(wanted.variable)

    def initializer(self, wanted: RestoringOp) -> Any:
        """Returns the op that initializes the variable that takes a value; `None` without one."""
        variable = self.variable(wanted)
        return None if variable is None else variable.initializer

    def initial_value(self, wanted: RestoringOp) -> Any:
        """Returns the tensor that the initializer assigns; `None` without one."""
        initializer = self.initializer(wanted)
        is_assign = initializer is not None and initializer.type in variable_ops.ASSIGNS
        return initializer.inputs[1] if is_assign else None


def placeholder_before(op: Any) -> Any:
    """Returns a placeholder that an op needs a value for; `None` if there is none."""
    return next((each for each in ops_before([op]) if each.type in _PLACEHOLDERS), None)


def names_of(values: Iterable[WantedValue]) -> list[str]:
    """Returns the names of some values, each once, in order."""
    return list(dict.fromkeys(value.name for value in values))


def values_of(ops: Sequence[RestoringOp]) -> list[WantedValue]:
    """Returns all values that some ops take."""
    return [value for op in ops for value in op.values]


def _sources(op: Any, values: dict[Any, Any]) -> list[tuple[Any, int]]:
    """Returns the outputs of `RestoreV2` nodes that an op is computed from."""
    waiting, seen = list(op.inputs), set()
    found: dict[tuple[Any, int], None] = {}
    while waiting:
        tensor = waiting.pop()
        if tensor.op in values:
            found[tensor.op, tensor.value_index] = None
        elif tensor.op not in seen:
            seen.add(tensor.op)
            waiting += tensor.op.inputs
    return sorted(found, key=lambda source: (source[0].name, source[1]))


def _variable(op: Any) -> Any:
    is_assign = op.type in variable_ops.ASSIGNS
    held = op.inputs[0].op if is_assign else None
    kinds = (variable_ops.RESOURCE, *variable_ops.REFS)
    return held if held is not None and held.type in kinds else None
