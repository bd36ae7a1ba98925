"""Restore targets: the variables that take values, with their names and slices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.distributed.variables.request_value import RequestValue
from autodist.layout import RequestEntry, RestoreRequest
from autodist.tf_nodes import constants, marks, restore_nodes, variable_ops


@dataclasses.dataclass(frozen=True)
class RestoreTarget(RequestValue):
    """A variable, or a shard or replica of one, that takes a value.

    Attributes:
        variable: The operation that holds the variable, or where a session has put it
            (`PlacedVariable`).
    """

    variable: Any

    @property
    def validate_shape(self) -> bool:
        """Whether a variable without a fixed shape keeps the shape that it has."""
        return self.entry.validate_shape

    @property
    def shape(self) -> Any:
        """The static shape that the value must be compatible with."""
        if self.is_resource or self.validate_shape:
            return tf.TensorShape(self.variable.get_attr("shape"))
        return tf.TensorShape(None)

    @property
    def is_resource(self) -> bool:
        """Whether it is a resource variable."""
        return bool(self.variable.type == variable_ops.RESOURCE)


@dataclasses.dataclass(frozen=True)
class Selection:
    """Some of what a saver restores, perhaps under other names.

    Attributes:
        ops: The operations of the saver that run.
        names: The names in the checkpoint, by those in the saver's nodes.
    """

    ops: frozenset[Any]
    names: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class PlacedRestore:
    """A restore request, with the variables that take values and the node's place.

    Attributes:
        request: What is restored, and how.
        targets: The variables of fixed-size elements, in the order of the request.
        others: The operations of the session's graph that restore all else.
        device: The device of the saver's node; empty: at the session's master.
        names: The constant of the node's tensor names; `None` in a distributed session.
    """

    request: RestoreRequest
    targets: tuple[RestoreTarget, ...]
    others: tuple[Any, ...]
    device: str
    names: Any

    @property
    def variable_devices(self) -> list[str | None]:
        """The device of each variable."""
        return [restore_target.variable.device for restore_target in self.targets]


def read(session: Any, saver_def: Any, selection: Selection | None = None) -> PlacedRestore | None:
    """Returns what a saver restores in a session; `None` if TensorFlow's own nodes have to do it.

    Args:
        session: The session.
        saver_def: The saver's `SaverDef`.
        selection: What of it; `None`: all.
    """
    graph = session.graph
    nodes = restore_nodes.find(graph, saver_def)
    if not nodes or not all(map(marks.is_marked, nodes)):
        return None
    names: dict[Any, list[tuple[bytes, bytes]]] = {}
    for node in nodes:
        pairs = constants.names_and_slices(node)
        if pairs is None:
            return None
        names[node] = pairs
    assignments, others = [], []
    for op in restore_nodes.ops_of_group(graph.get_operation_by_name(saver_def.restore_op_name)):
        if selection is not None and op not in selection.ops:
            continue
        assignment = restore_nodes.assignment_by(op, names)
        if assignment is None:
            others.append(op)
        else:
            assignments.append(assignment)
    if restore_nodes.waits_for_others(nodes, assignments):
        return None
    first = nodes[0]
    if sessions.is_distributed(session):
        entries = tuple(
            entry for node in nodes for entry in session.stored_parts(node) if _is_fixed_size(entry)
        )
        stored = {entry.tensor_name.encode() for entry in entries}
        others += [a.op for a in assignments if names[a.restore_op][a.output][0] not in stored]
        entries = _selected(entries, selection)
        return _placed(session.transformed_graph, entries, others, first, device="", names=None)
    entries = tuple(restore_nodes.entry_of(a, *names[a.restore_op][a.output]) for a in assignments)
    entries = _selected(entries, selection)
    return _placed(graph, entries, others, first, device=first.device, names=first.inputs[1].op)


def _selected(
    entries: tuple[RequestEntry, ...], selection: Selection | None
) -> tuple[RequestEntry, ...]:
    """Returns the entries that are selected, with their names in the checkpoint."""
    if selection is None:
        return entries
    return tuple(
        dataclasses.replace(entry, tensor_name=selection.names[entry.tensor_name])
        for entry in entries
        if entry.tensor_name in selection.names
    )


def _placed(
    graph: Any,
    entries: tuple[RequestEntry, ...],
    others: list[Any],
    restore_op: Any,
    *,
    device: str,
    names: Any,
) -> PlacedRestore:
    marked = marks.read_restore(restore_op)
    targets = tuple(
        RestoreTarget(entry, graph.get_operation_by_name(entry.node)) for entry in entries
    )
    request = RestoreRequest(entries, marked.verify, marked.threads)
    return PlacedRestore(request, targets, tuple(others), device, names)


def _is_fixed_size(entry: RequestEntry) -> bool:
    """Tells whether an entry is a variable of fixed-size elements."""
    return entry.output is None and entry.dtype.base_dtype not in (tf.string, tf.variant)
