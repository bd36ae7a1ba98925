"""What a saver restores: for each variable its name in the checkpoint and its slice, and where it lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import sessions
from autodist.tf_nodes import constants, marks, restore_nodes, variable_ops


@dataclasses.dataclass(frozen=True)
class RestoreTarget:
    """A variable, or a shard or replica of one, that takes a value.

    Attributes:
        name: The name in the checkpoint.
        slice_spec: TensorFlow's text form of a slice; empty for a whole tensor.
        variable: The operation that holds the variable, or where a session has put it (`PlacedVariable`).
        validate_shape: Whether the variable keeps its shape.
    """

    name: bytes
    slice_spec: bytes
    variable: Any
    validate_shape: bool = False

    @property
    def dtype(self) -> Any:
        """The dtype of the value."""
        return tf.as_dtype(self.variable.get_attr("dtype"))

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
class Restored:
    """What a saver restores.

    Attributes:
        targets: The variables of fixed-size elements.
        others: The operations of the session's graph that restore all else.
        verify: `'before'` or `'during'`.
        threads: How many threads read; 0 lets the machine decide.
        device: Where the node that reads lies; empty: at the session's master.
        names: The constant of its tensor names; `None` in a distributed session.
    """

    targets: tuple[RestoreTarget, ...]
    others: tuple[Any, ...]
    verify: str
    threads: int
    device: str
    names: Any


def read(session: Any, saver_def: Any) -> Restored | None:
    """Returns what a saver restores in a session; `None` if it is not known or TensorFlow's own nodes do it.

    Args:
        session: The session.
        saver_def: The saver's `SaverDef`.
    """
    graph = session.graph
    nodes = restore_nodes.find(graph, saver_def)
    if not nodes or not all(map(marks.is_marked, nodes)):
        return None
    names: dict[Any, list[tuple[bytes, bytes]]] = {}
    for node in nodes:
        entries = constants.names_and_slices(node)
        if entries is None:
            return None
        names[node] = entries
    assignments, others = [], []
    for op in restore_nodes.ops_of_group(graph.get_operation_by_name(saver_def.restore_op_name)):
        assignment = restore_nodes.assignment_by(op, names)
        if assignment is None:
            others.append(op)
        else:
            assignments.append(assignment)
    if restore_nodes.waits_for_others(nodes, assignments):
        return None
    targets: list[RestoreTarget] = []
    if sessions.is_distributed(session):
        for node in nodes:
            targets += _parts(session, node)
        stored = {restore_target.name for restore_target in targets}
        others += [a.op for a in assignments if names[a.restore_op][a.output][0] not in stored]
    else:
        targets = [
            RestoreTarget(name, spec, a.op.inputs[0].op, a.op.get_attr("validate_shape"))
            for a in assignments
            for name, spec in [names[a.restore_op][a.output]]
        ]
    first = nodes[0]
    marked = marks.read_restore(first)
    return Restored(
        tuple(targets),
        tuple(others),
        marked.verify,
        marked.threads,
        "" if sessions.is_distributed(session) else first.device,
        None if sessions.is_distributed(session) else first.inputs[1].op,
    )


def _parts(session: Any, node: Any) -> Iterator[RestoreTarget]:
    """Yields the variables of the graph that runs in a distributed session."""
    graph = session.transformed_graph
    for part in session.stored_parts(node):
        if part.output is None and part.dtype.base_dtype not in (tf.string, tf.variant):
            variable = graph.get_operation_by_name(part.node)
            yield RestoreTarget(part.tensor_name.encode(), part.slice.encode(), variable)
