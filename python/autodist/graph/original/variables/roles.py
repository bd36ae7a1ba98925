"""The variables of the original graph, and which ops use them.

They are found by edges and by what optimizers were seen to do, never by names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from autodist.graph.original.observed.observer import Observer
from autodist.graph.original.ops import op_types
from autodist.graph.original.ops.functions import written_behind
from autodist.strategy import VariableInfo

Key = tuple[Any, int]
"""A tensor of a graph: its op and which output it is. Tensors themselves cannot be hashed."""

Blocker = Callable[[tuple[int, ...], Any], str]


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
      uses: the same, each with the number of the input that is the handle.
    """

    handle_op: Any
    name: str
    dtype: Any
    shape: tuple[int, ...] | None
    python_variable: Any = None
    consumers: list[Any] = dataclasses.field(default_factory=list)
    uses: list[tuple[Any, int]] = dataclasses.field(default_factory=list)

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
    """The variables of an original graph; grows as the graph grows.

    Args:
      graph: the original graph.
      observer: recorded gradients and optimizers while it was built.
      blocker: returns why an op needs a variable of a shape whole.
    """

    def __init__(self, graph: Any, observer: Observer, blocker: Blocker) -> None:
        self._graph = graph
        self._blocker = blocker
        self._observer = observer
        self.variables: dict[Any, LogicalVariable] = {}

    def extend(self, new_ops: Iterable[Any]) -> list[LogicalVariable]:
        """Analyses ops added to the original graph; returns the variables among them."""
        python_variables = self._python_variables()
        found = []
        for op in new_ops:
            if op.type == op_types.HANDLE:
                variable = _logical_variable(op, python_variables.get(op))
                self.variables[op] = variable
                found.append(variable)
            for index, tensor in enumerate(op.inputs):
                owner = self.variables.get(tensor.op)
                if owner is not None:
                    owner.consumers.append(op)
                    owner.uses.append((op, index))
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

    def optimizer_calls(self) -> list[list[Any]]:
        """The ops that each call of an optimizer created."""
        ops = self._graph.get_operations()
        return [ops[call.begin : call.end] for call in self._observer.optimizer_calls]

    def infos(self, groups: Iterable[Iterable[LogicalVariable]]) -> list[tuple[VariableInfo, ...]]:
        """What a strategy learns about each variable, group by group."""
        gradients = self._observer.gradients
        sparse = {b.handle_op for b in gradients if b.indices is not None}
        trained = {b.handle_op for b in gradients}
        trained |= {
            getattr(v.handle, "op", None)
            for v in self._graph.get_collection(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)
            if hasattr(v, "handle")
        }
        return [tuple(self._info(v, sparse, trained) for v in group) for group in groups]

    def _info(self, variable: LogicalVariable, sparse: set[Any], trained: set[Any]) -> VariableInfo:
        dtype = variable.dtype
        return VariableInfo(
            name=variable.name,
            shape=variable.shape,
            dtype=dtype.name,
            itemsize=dtype.size if dtype != tf.string else 16,
            is_trainable=variable.handle_op in trained,
            is_sparse=variable.handle_op in sparse,
            cannot_be_partitioned=partition_blocker(variable, self._blocker),
            cannot_be_copied=copy_blocker(variable),
        )


def partition_blocker(variable: LogicalVariable, blocker: Blocker) -> str:
    """Why `variable` must stay whole, `blocker` asked for each op that takes it.

    Empty when it can be cut.
    """
    if variable.shape is None:
        return "its shape is not fully known"
    if not variable.shape:
        return "it is a scalar"
    for op in variable.consumers:
        reason = blocker(variable.shape, op)
        if reason:
            return f"op {op.name!r} ({op.type}) {reason}"
    return ""


def copy_blocker(variable: LogicalVariable) -> str:
    """Why all replicas must share `variable`; empty when each may have a copy."""
    for op, index in variable.uses:
        writer = written_behind(op, index)
        if writer is not None:
            return (
                f"op {writer.name!r} ({writer.type}) may update it in a function, branch or loop, "
                "where its copies could not all be updated"
            )
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
