"""Refuses updates that depend on the batch and that several replicas cannot make together."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.graph.analysis.batch.decisions import Obstacle
from autodist.graph.analysis.batch.dependence import Dependence
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import LogicalVariable
from autodist.private_apis import tf_graphs


def check_gradient(batch: Dependence, op: Any, variables: list[LogicalVariable]) -> None:
    """Refuses an optimizer's update whose gradient differs from replica to replica.

    Raises:
      UnsupportedGraphError: naming the op and the variable.
    """
    if not (op_types.is_dense_apply(op.type) or op_types.is_sparse_apply(op.type)):
        return
    names = op_types.argument_names(op)
    if not any(batch.varies(op, op.inputs[i]) for i, n in enumerate(names) if n == "grad"):
        return
    raise UnsupportedGraphError(
        f"variable {variables[0].name!r} is updated by op {op.name!r} ({op.type}) with a gradient "
        "that differs from replica to replica. Gradients are averaged where they are taken inside "
        "the scope: call tf.gradients, minimize and model.fit in `with autodist.scope():`."
    )


def check_can_be_local(
    variable: LogicalVariable,
    op: Any,
    obstacle: Obstacle | None,
    *,
    is_settled: bool,
    is_trained: bool,
) -> None:
    """Refuses a copy of `variable` per replica, which `op` would update with its own values.

    Args:
      variable: declares how copies become one value.
      op: the update.
      obstacle: why it cannot be made once.
      is_settled: whether the session holds the variable as one value.
      is_trained: whether gradients with respect to the variable were taken.

    Raises:
      UnsupportedGraphError: naming the op and the variable.
    """
    what = (
        f"variable {variable.name!r} is updated by op {op.name!r} ({op.type}) with values that "
        "differ from replica to replica"
    )
    why = "" if obstacle is None else f" It cannot be updated with what one node has: {obstacle}."
    is_inside = not (op_types.is_update(op.type) and tf_graphs.is_at_top_level(op))
    if is_inside and variable.aggregation == tf.VariableAggregation.SUM:
        raise UnsupportedGraphError(
            f"{what}, inside a function, branch or loop, where a replica without a sub-batch "
            f"would be counted too.{why} Move the update of a variable with aggregation=SUM "
            "to the top level of the graph."
        )
    if is_trained:
        raise UnsupportedGraphError(
            f"{what}, although its gradient is averaged: its copies would drift apart.{why} "
            "Compute the update from gradients, or from values that do not depend on the batch."
        )
    if is_settled:
        raise UnsupportedGraphError(
            f"{what}, but the session already holds it as one value.{why} Create that update "
            "before create_distributed_session()."
        )
    if variable.aggregation == tf.VariableAggregation.SUM and variable.dtype in (
        tf.bool,
        tf.string,
    ):
        raise UnsupportedGraphError(f"{what}: a {variable.dtype.name} cannot be summed.{why}")


def refuse(op: Any, variables: list[LogicalVariable], obstacle: Obstacle | None) -> None:
    """Refuses an update without a proof where the user asked to split the batch.

    Raises:
      UnsupportedGraphError: naming the op and the variable.
    """
    why = "its variable has copies that differ" if obstacle is None else str(obstacle)
    raise UnsupportedGraphError(
        f"variable {variables[0].name!r} is updated by op {op.name!r} ({op.type}) with values that "
        "differ from replica to replica, and what one node would update it with is not known: "
        f"{why}. Leave the tensors that it depends on out of batch_dims, so that they are not "
        "split, or declare with tf.Variable(..., aggregation=tf.VariableAggregation...) what the "
        "replicas' copies make together."
    )
