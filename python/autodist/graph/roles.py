"""Which ops of the original graph are variables, who uses them, and which are updated together.

Roles come from edges and from what the optimizers were seen to do, never from names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from autodist.graph import op_kinds
from autodist.graph.functions import uses_behind, written_behind
from autodist.graph.observe import Observer
from autodist.strategy import VariableInfo

Key = tuple[Any, int]
"""A tensor of a graph: its op and which output it is. Tensors themselves cannot be hashed."""


def key_of(tensor: Any) -> Key:
    """The key of a tensor."""
    return tensor.op, tensor.value_index


def has_batch_dimension(tensor: Any) -> bool:
    """Whether the first dimension of an original tensor is unknown, and so taken for the batch."""
    return bool(tensor.shape.rank) and size_of(tensor, 0) is None


def size_of(tensor: Any, axis: int) -> int | None:
    """The size of a dimension of a tensor; None where it is unknown."""
    if tensor.shape.rank is None:
        return None
    # `shape[axis]` is not an int but a `Dimension` after `tf.compat.v1.disable_v2_behavior()`.
    size: int | None = tensor.shape.as_list()[axis]
    return size


@dataclasses.dataclass(eq=False)
class LogicalVariable:
    """A variable of the original graph.

    Attributes:
      handle_op: its `VarHandleOp`; the variable's identity.
      name: the original variable's name.
      dtype: `tf.DType`.
      shape: full shape, or None when it is not fully known.
      python_variable: the `tf.Variable`, where a collection of the graph holds it.
      consumers: the ops that take the handle.
    """

    handle_op: Any
    name: str
    dtype: Any
    shape: tuple[int, ...] | None
    python_variable: Any = None
    consumers: list[Any] = dataclasses.field(default_factory=list)

    @property
    def aggregation(self) -> tf.VariableAggregation:
        """How copies that differ become one value when the variable is saved or fetched."""
        declared = getattr(self.python_variable, "aggregation", tf.VariableAggregation.NONE)
        if declared == tf.VariableAggregation.NONE:
            return tf.VariableAggregation.MEAN
        return declared

    @property
    def declares_aggregation(self) -> bool:
        """Whether the user said how copies become one value."""
        declared = getattr(self.python_variable, "aggregation", tf.VariableAggregation.NONE)
        return bool(declared != tf.VariableAggregation.NONE)


class Roles:
    """The variables of an original graph; grows as the graph grows."""

    def __init__(self, graph: Any, observer: Observer) -> None:
        self._graph = graph
        self._observer = observer
        self.variables: dict[Any, LogicalVariable] = {}

    def extend(self, new_ops: Iterable[Any]) -> list[LogicalVariable]:
        """Takes in ops added to the original graph; returns the variables among them."""
        python_variables = self._python_variables()
        found = []
        for op in new_ops:
            if op.type == op_kinds.HANDLE:
                variable = _logical_variable(op, python_variables.get(op))
                self.variables[op] = variable
                found.append(variable)
            for tensor in op.inputs:
                owner = self.variables.get(tensor.op)
                if owner is not None:
                    owner.consumers.append(op)
        return found

    def _python_variables(self) -> dict[Any, Any]:
        keys = tf.compat.v1.GraphKeys
        found: dict[Any, Any] = {}
        for collection in (keys.LOCAL_VARIABLES, keys.GLOBAL_VARIABLES, keys.TRAINABLE_VARIABLES):
            for variable in self._graph.get_collection(collection):
                handle = getattr(variable, "handle", None)
                if isinstance(handle, tf.Tensor):
                    found[handle.op] = variable
        return found

    def infos(self, variables: Iterable[LogicalVariable]) -> list[VariableInfo]:
        """What a strategy is told about each of `variables`."""
        sparse = {b.handle_op for b in self._observer.births if b.indices is not None}
        trained = {b.handle_op for b in self._observer.births}
        trained |= {
            getattr(v.handle, "op", None)
            for v in self._graph.get_collection(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)
            if hasattr(v, "handle")
        }
        return [
            VariableInfo(
                name=v.name,
                shape=v.shape,
                dtype=v.dtype.name,
                itemsize=v.dtype.size if v.dtype != tf.string else 16,
                is_trainable=v.handle_op in trained,
                is_sparse=v.handle_op in sparse,
                cannot_be_partitioned=partition_blocker(v),
                cannot_be_copied=copy_blocker(v),
            )
            for v in variables
        ]

    def groups(self, variables: list[LogicalVariable]) -> list[list[LogicalVariable]]:
        """Splits `variables` into groups that must be cut alike; the primary variable comes first.

        Two variables belong together when one update op takes the handles of both, be it inside a function, branch or
        loop, or when, inside an optimizer's call, the new value of one is computed element by element from the
        other (Keras optimizers).
        """
        parent: dict[LogicalVariable, LogicalVariable] = {v: v for v in variables}

        def root(v: LogicalVariable) -> LogicalVariable:
            while parent[v] is not v:
                parent[v] = parent[parent[v]]
                v = parent[v]
            return v

        order = {v: i for i, v in enumerate(variables)}

        def unite(a: LogicalVariable, b: LogicalVariable) -> None:
            if a in parent and b in parent:
                first, second = sorted((root(a), root(b)), key=lambda v: order[v])
                parent[second] = first

        met: dict[tuple[Any, ...], LogicalVariable] = {}
        for variable in variables:
            for op in variable.consumers:
                if op_kinds.is_update(op.type):
                    for tensor in op.inputs:
                        other = self.variables.get(tensor.op)
                        if other is not None:
                            unite(variable, other)
                elif op.type in op_kinds.FUNCTION_CALLS or op.type in op_kinds.HANDLE_PASSES:
                    for index, tensor in enumerate(op.inputs):
                        if tensor.op is variable.handle_op:
                            for use in uses_behind(op, index):
                                unite(variable, met.setdefault(use, variable))
        for call in self._observer.optimizer_calls:
            self._unite_elementwise(self._graph.get_operations()[call.begin : call.end], unite)
        members: dict[LogicalVariable, list[LogicalVariable]] = {}
        for variable in variables:
            members.setdefault(root(variable), []).append(variable)
        return list(members.values())

    def _unite_elementwise(
        self, ops: list[Any], unite: Callable[[LogicalVariable, LogicalVariable], None]
    ) -> None:
        inside = set(ops)
        for update in ops:
            if update.type not in op_kinds.ASSIGNS:
                continue
            target = self.variables.get(update.inputs[0].op)
            if target is None or not target.shape:
                continue
            pending, seen = [update.inputs[1].op], set()
            while pending:
                op = pending.pop()
                if op in seen or op not in inside:
                    continue
                seen.add(op)
                if op.type == op_kinds.READ:
                    source = self.variables.get(op.inputs[0].op)
                    if source is not None and source.shape == target.shape:
                        unite(target, source)
                elif op.type in op_kinds.ELEMENTWISE:
                    pending.extend(t.op for t in op.inputs)


def partition_blocker(variable: LogicalVariable) -> str:
    """Why `variable` must stay in one piece; empty when it can be cut."""
    if variable.shape is None:
        return "its shape is not fully known"
    if not variable.shape:
        return "it is a scalar"
    for op in variable.consumers:
        reason = _consumer_blocker(variable.shape, op)
        if reason:
            return f"op {op.name!r} ({op.type}) {reason}"
    return ""


def copy_blocker(variable: LogicalVariable) -> str:
    """Why all replicas must share `variable`; empty when each may have a copy."""
    for op in variable.consumers:
        for index, tensor in enumerate(op.inputs):
            writer = written_behind(op, index) if tensor.op is variable.handle_op else None
            if writer is not None:
                return (
                    f"op {writer.name!r} ({writer.type}) may update it in a function, branch or loop, "
                    "where its copies could not all be updated"
                )
    return ""


def _consumer_blocker(shape: tuple[int, ...], op: Any) -> str:
    if op.type == op_kinds.GATHER and op.get_attr("batch_dims"):
        return "gathers with batch dimensions"
    if op.type in op_kinds.PARTITIONABLE or op_kinds.is_sparse_apply(op.type):
        return ""
    if not op_kinds.is_dense_apply(op.type):
        return "needs the whole variable"
    for name, tensor in zip(op_kinds.argument_names(op), op.inputs, strict=True):
        if name in op_kinds.ELEMENT_ARGUMENTS and not tensor.shape.is_compatible_with(shape):
            return f"updates it with a tensor of shape {tensor.shape}, not element by element"
    return ""


def _logical_variable(op: Any, python_variable: Any) -> LogicalVariable:
    shape = tf.TensorShape(op.get_attr("shape"))
    name = op.name if python_variable is None else python_variable.op.name
    return LogicalVariable(
        handle_op=op,
        name=name,
        dtype=tf.as_dtype(op.get_attr("dtype")),
        shape=tuple(shape.as_list()) if shape.is_fully_defined() else None,
        python_variable=python_variable,
    )
