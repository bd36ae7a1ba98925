"""What a saver restores: for each variable its name in the checkpoint and its slice, and where it lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from autodist.checkpoint import tf_nodes
from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.distributed.variables import own_graph_handles, sources

_ASSIGNS = ("Assign", "AssignVariableOp")


@dataclasses.dataclass(frozen=True)
class Taker:
    """A variable, or a shard or replica of one, that takes a value.

    Attributes:
        name: The name in the checkpoint.
        slice_spec: TensorFlow's text form of a slice; empty for a whole tensor.
        variable: The operation that holds the variable, or where a session has put it (`variables.Variable`).
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
        return bool(self.variable.type == own_graph_handles.RESOURCE)


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a saver restores.

    Attributes:
        takers: The variables of fixed-size elements.
        others: The operations of the session's graph that restore all else.
        verify: `'before'` or `'during'`.
        threads: How many threads read; 0 lets the machine decide.
        device: Where the node that reads lies; empty: at the session's master.
        names: The constant of its tensor names; `None` in a distributed session.
    """

    takers: tuple[Taker, ...]
    others: tuple[Any, ...]
    verify: str
    threads: int
    device: str
    names: Any


@dataclasses.dataclass(frozen=True)
class _Assignment:
    """An operation that gives a variable an output of a `RestoreV2`; `between` are those that pass it on."""

    op: Any
    restore_op: Any
    output: int
    between: tuple[Any, ...] = ()


def read(session: Any, saver_def: Any) -> Restored | None:
    """Returns what a saver restores in a session; `None` if it is not known or TensorFlow's own nodes do it.

    Args:
        session: The session.
        saver_def: The saver's `SaverDef`.
    """
    graph = session.graph
    nodes = tf_nodes.find_restores(graph, saver_def)
    if not nodes or not all(
        sources.attribute(n, "_autodist_restore", default=False) for n in nodes
    ):
        return None
    names: dict[Any, list[tuple[bytes, bytes]]] = {}
    for node in nodes:
        entries = _entries(node)
        if entries is None:
            return None
        names[node] = entries
    assignments, others = [], []
    for op in _leaves(graph.get_operation_by_name(saver_def.restore_op_name)):
        assignment = _assignment(op, nodes)
        if assignment is None:
            others.append(op)
        else:
            assignments.append(assignment)
    if _waits_for_others(nodes, assignments):
        return None
    takers: list[Taker] = []
    if sessions.is_distributed(session):
        for node in nodes:
            takers += _parts(session, node)
        stored = {taker.name for taker in takers}
        others += [a.op for a in assignments if names[a.restore_op][a.output][0] not in stored]
    else:
        takers = [
            Taker(name, spec, a.op.inputs[0].op, a.op.get_attr("validate_shape"))
            for a in assignments
            for name, spec in [names[a.restore_op][a.output]]
        ]
    first = nodes[0]
    return Restored(
        tuple(takers),
        tuple(others),
        sources.attribute(first, "_autodist_verify", default=b"before").decode(),
        sources.attribute(first, "_autodist_threads", default=0),
        "" if sessions.is_distributed(session) else first.device,
        None if sessions.is_distributed(session) else first.inputs[1].op,
    )


def _entries(node: Any) -> list[tuple[bytes, bytes]] | None:
    """Returns the names and slices of a `RestoreV2`; `None` if they are computed."""
    names, specs = (sources.constant(tensor) for tensor in node.inputs[1:3])
    return None if names is None or specs is None else list(zip(names, specs, strict=True))


def _leaves(restore_all: Any) -> Iterator[Any]:
    """Yields the operations that a saver's restore is the group of."""
    waiting, seen = [restore_all], set()
    while waiting:
        op = waiting.pop()
        if op in seen:
            continue
        seen.add(op)
        if op.type == "NoOp":
            waiting.extend(op.control_inputs)
        else:
            yield op


def _assignment(op: Any, nodes: list[Any]) -> _Assignment | None:
    """Returns how an operation gives a variable of fixed-size elements a value; `None` if it does something else."""
    if op.type not in _ASSIGNS or op.inputs[0].op.type not in (
        own_graph_handles.RESOURCE,
        *own_graph_handles.REFS,
    ):
        return None
    value = op.inputs[1]
    between = []
    while value.op.type == "Identity":
        between.append(value.op)
        value = value.op.inputs[0]
    if value.op not in nodes or value.dtype.base_dtype in (tf.string, tf.variant):
        return None
    return _Assignment(op, value.op, value.value_index, tuple(between))


def _waits_for_others(nodes: list[Any], assignments: list[_Assignment]) -> bool:
    """Whether restoring runs more than a saver's own nodes; then it is the user's session that has to."""
    own = {assignment.op for assignment in assignments}
    ops = [op for node in nodes for op in (node, *(tensor.op for tensor in node.inputs))]
    for assignment in assignments:
        ops += [assignment.op, *assignment.between]
    return any(source not in own for op in ops for source in op.control_inputs)


def _parts(session: Any, node: Any) -> Iterator[Taker]:
    """Yields the variables of the graph that runs in a distributed session."""
    graph = session.transformed_graph
    for part in session.stored_parts(node):
        if part.output is None and part.dtype.base_dtype not in (tf.string, tf.variant):
            variable = graph.get_operation_by_name(part.node)
            yield Taker(part.tensor_name.encode(), part.slice.encode(), variable)
