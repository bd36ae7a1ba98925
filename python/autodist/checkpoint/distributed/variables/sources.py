"""What a node that saves reads: for each value its name, its slice, and the variable and task it lies on."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.distributed.variables import own_graph_handles
from autodist.tf_nodes import constants, marks, save_nodes, variable_ops


@dataclasses.dataclass(frozen=True)
class Source:
    """One value that is saved.

    Attributes:
        name: The name in the checkpoint.
        slice_spec: TensorFlow's text form of a slice; empty for a whole tensor.
        aggregation: How replicas become one value.
        tensor: The `tf.Tensor` that is saved, or the variable's handle.
        variable: The operation that holds the variable, or where a session has put it (`PlacedVariable`); `None`
            for any other value.
    """

    name: bytes
    slice_spec: bytes
    aggregation: bytes
    # Symbolic tensors compare by adding an op to their graph.
    tensor: Any = dataclasses.field(compare=False)
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
    def is_pinned(self) -> bool:
        """Whether it is read in place, where it lies."""
        return (
            self.variable is not None
            and own_graph_handles.is_pinnable(self.variable)
            and not self.is_encoded
        )

    @property
    def goes_to_chief(self) -> bool:
        """Whether the chief gets its value as a whole before the save."""
        return self.is_encoded or self.variable is None

    @property
    def is_resource(self) -> bool:
        """Whether it is a resource variable."""
        return self.variable is not None and self.variable.type == variable_ops.RESOURCE


@dataclasses.dataclass(frozen=True)
class SaveNode:
    """What a node that saves says.

    Attributes:
        sources: Its values.
        layout: `'original'`, `'slices'` or `'restorable'`.
        lock: `'block'` or `'copy'`.
        threads: How many threads write; 0 lets the machine decide.
        durable: Whether all is synced.
        device: Where the node lies; empty: at the session's master.
        name: Its name in the graph that the saver is in.
        names: The constant of its tensor names; `None` in a distributed session.
    """

    sources: tuple[Source, ...]
    layout: str
    lock: str
    threads: int
    durable: bool
    device: str
    name: str
    names: Any


def read_in(session: Any, save_op: Any) -> SaveNode | None:
    """Returns what a saver's node reads in the graph that a session runs; `None` if its names are computed.

    Args:
        session: The user's session, or a distributed one.
        save_op: A `SaveV2` of its graph.
    """
    if not sessions.is_distributed(session):
        return read(save_op)
    marked = marks.read_save(save_op)
    graph = session.transformed_graph
    return SaveNode(
        tuple(_stored_source(graph, part) for part in session.stored_parts(save_op)),
        marked.distributed_layout,
        marked.lock,
        marked.threads,
        marked.durable,
        "",
        save_op.name,
        None,
    )


def read(op: Any) -> SaveNode | None:
    """Returns what a `SaveV2` reads in its own graph; `None` if its names are computed.

    Args:
        op: The node.
    """
    pairs = constants.names_and_slices(op)
    if pairs is None:
        return None
    values = zip(pairs, save_nodes.aggregations(op), save_nodes.values(op), strict=True)
    marked = marks.read_save(op)
    return SaveNode(
        tuple(
            Source(name, spec, aggregation, tensor, variable_ops.variable_of(tensor))
            for (name, spec), aggregation, tensor in values
        ),
        marked.layout,
        marked.lock,
        marked.threads,
        marked.durable,
        op.device,
        op.name,
        op.inputs[1].op,
    )


def _stored_source(graph: Any, part: Any) -> Source:
    """Returns a part of a distributed session's `stored_parts` as a source."""
    op = graph.get_operation_by_name(part.node)
    return Source(
        part.tensor_name.encode(),
        part.slice.encode(),
        (part.aggregation or "MEAN").encode(),
        op.outputs[part.output or 0],
        op if part.output is None else None,
    )
