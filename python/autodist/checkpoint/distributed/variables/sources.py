"""What a save reads: each value of the saver's node, and the variable that holds it."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.distributed.variables import own_graph_handles
from autodist.checkpoint.distributed.variables.request_value import RequestValue
from autodist.layout import SaveRequest
from autodist.tf_nodes import marks, save_nodes, variable_ops


@dataclasses.dataclass(frozen=True)
class Source(RequestValue):
    """One value that is saved.

    Attributes:
        tensor: The `tf.Tensor` that is saved, or the variable's handle.
        variable: The operation that holds the variable, or where a session has put it
            (`PlacedVariable`); `None` for any other value.
    """

    # Symbolic tensors compare by adding an op to their graph.
    tensor: Any = dataclasses.field(compare=False)
    variable: Any

    @property
    def aggregation(self) -> bytes:
        """How replicas become one value."""
        return (self.entry.aggregation or "MEAN").encode()

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
class PlacedSave:
    """A save request, with the variables behind its values and the place of its node.

    Attributes:
        request: What is saved, and how.
        sources: The values, in the order of the request.
        device: The device of the saver's node; empty: at the session's master.
        name: The name of the node in the graph that the saver is in.
        names: The constant of the node's tensor names; `None` in a distributed session.
    """

    request: SaveRequest
    sources: tuple[Source, ...]
    device: str
    name: str
    names: Any

    @property
    def variable_devices(self) -> list[str | None]:
        """The device of each variable; `None` for another value."""
        return [None if s.variable is None else s.variable.device for s in self.sources]


def read_in(session: Any, save_op: Any) -> PlacedSave | None:
    """Returns what a saver's node reads in the graph that a session runs.

    `None` if its names are computed.

    Args:
        session: The user's session, or a distributed one.
        save_op: A `SaveV2` of its graph.
    """
    if not sessions.is_distributed(session):
        return read(save_op)
    marked = marks.read_save(save_op)
    request = SaveRequest(
        session.stored_parts(save_op),
        marked.distributed_layout,
        marked.lock,
        marked.threads,
        marked.durable,
    )
    return PlacedSave(request, _sources(session.transformed_graph, request), "", save_op.name, None)


def read(save_op: Any) -> PlacedSave | None:
    """Returns what a `SaveV2` reads in its own graph; `None` if its names are computed.

    Args:
        save_op: The node.
    """
    request = save_nodes.read_request(save_op)
    if request is None:
        return None
    return PlacedSave(
        request,
        _sources(save_op.graph, request),
        save_op.device,
        save_op.name,
        save_op.inputs[1].op,
    )


def _sources(graph: Any, request: SaveRequest) -> tuple[Source, ...]:
    """Returns the values of a request, with their ops of the graph."""
    sources = []
    for entry in request.entries:
        op = graph.get_operation_by_name(entry.node)
        is_variable = entry.output is None
        sources.append(Source(entry, op.outputs[entry.output or 0], op if is_variable else None))
    return tuple(sources)
