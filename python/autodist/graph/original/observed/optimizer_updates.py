"""The optimizers' methods that update variables, and an op that orders Keras's updates."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.graph.original.observed.declared_variables import initializer_op, variables_of
from autodist.graph.original.ops import op_types
from autodist.graph.original.ops.functions import may_write
from autodist.private_apis import keras_internals, tf_graphs


def run_in_order(graph: Any, gradients: list[Any], begin: int) -> Any:
    """Returns an op that runs every update created since op number `begin`.

    Keras writes `m.assign_add(...)` and then reads `m`, and relies on the program order that
    `tf.function` gives. A graph has no such order, so this adds it. A read of a variable waits for
    the writes before it, and a write for the reads and writes before it. The first writes also wait
    for all gradients, and for the plain reads of the variable in the forward pass. (Weight decay
    depends on neither, but the loss must use the variables before the step.)

    Args:
      graph: the original graph.
      gradients: the ops that make the gradients.
      begin: the number of ops when the optimizer was called.
    """
    graph_ops = graph.get_operations()
    gradients = [op for op in dict.fromkeys(gradients) if tf_graphs.is_at_top_level(op)]
    if len(gradients) > 1:
        gradients = [_wait_for(gradients)]
    initializers = {initializer_op(v) for v in variables_of(graph)}
    last_write: dict[Any, Any] = {}
    reads: dict[Any, list[Any]] = {}
    for op in graph_ops[:begin]:
        if op.type == op_types.READ and not op.control_inputs and tf_graphs.is_at_top_level(op):
            reads.setdefault(op.inputs[0].op, []).append(op)
    updates = []
    for op in graph_ops[begin:]:
        if op in initializers:
            continue
        handles = [(t.op, i) for i, t in enumerate(op.inputs) if t.dtype == tf.resource]
        is_call = op.type in op_types.FUNCTION_CALLS
        written = {h for h, i in handles if may_write(op, i)} if is_call else set()
        if op_types.is_update(op.type):
            written = {handle for handle, _ in handles}
        if written:
            _check_reachable(op)
            updates.append(op)
        for handle, _ in handles:
            writes = handle in written
            before = [last_write[handle]] if handle in last_write else []
            if writes:
                before += reads.pop(handle, [])
                before += [] if handle in last_write else gradients
                last_write[handle] = op
            elif tf_graphs.is_at_top_level(op):
                reads.setdefault(handle, []).append(op)
            known = set(op.control_inputs)
            fresh = [b for b in before if b not in known and b is not op]
            if fresh:
                tf_graphs.add_control_inputs(op, fresh)
    return tf.group(*updates)


def _wait_for(ops: list[Any]) -> Any:
    """Returns an op that waits for `ops`, so that each later op needs only one edge."""
    with tf.control_dependencies(None), tf.control_dependencies(ops):
        return tf.no_op("gradients_ready")


def check_options(optimizer: Any) -> None:
    """Refuses options of Keras optimizers that do nothing in a graph.

    Keras compares the step counter by `==` in Python. In a `tf.Graph` outside of a function this
    compares objects and is always false (Keras 3.15, tf_keras 2.21). So the model would never be
    updated, or its averages never be used.

    Raises:
      UnsupportedGraphError: naming the option.
    """
    if getattr(optimizer, "gradient_accumulation_steps", None):
        option = "gradient_accumulation_steps"
    elif getattr(optimizer, "use_ema", False) and optimizer.ema_overwrite_frequency:
        option = "ema_overwrite_frequency"
    else:
        return
    raise UnsupportedGraphError(
        f"{type(optimizer).__name__}({option}={getattr(optimizer, option)!r}) has no effect in a "
        "graph: Keras decides by a Python comparison whether a step is one to act on. Leave "
        f"{option} out, or accumulate and overwrite with tf.cond in your own program."
    )


def _check_reachable(update: Any) -> None:
    """Refuses an optimizer's update inside a v1 branch or loop, where one op cannot wait for it.

    Raises:
      UnsupportedGraphError: naming the op.
    """
    if not tf_graphs.is_at_top_level(update):
        raise UnsupportedGraphError(
            f"the optimizer's update {update.name!r} ({update.type}) lies in a branch or loop of "
            "TensorFlow's v1 control flow. Call tf.compat.v1.enable_control_flow_v2() before the "
            "optimizer is applied."
        )


_OPTIMIZER_METHODS = ("minimize", "apply_gradients", "apply")


def optimizer_methods() -> list[tuple[type, str]]:
    """Every optimizer class that defines an updating method, with the method's name."""
    bases: list[type] = [
        tf.compat.v1.train.Optimizer,
        *keras_internals.optimizer_bases(),
        *keras_internals.legacy_optimizer_bases(),
    ]
    found: dict[tuple[type, str], None] = {}
    pending = list(bases)
    while pending:
        owner = pending.pop()
        pending.extend(owner.__subclasses__())
        for name in _OPTIMIZER_METHODS:
            if callable(vars(owner).get(name)):
                found[owner, name] = None
    return list(found)
