"""The one door to TensorFlow's private Python API.

Everything that TensorFlow does not export is imported here and nowhere else, each name with the reason why no
public one would do. Read in TensorFlow 2.21.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

# `Saver.save` needs what the public `tf.compat.v1.train.update_checkpoint_state` does not offer: relative paths.
# `meta_graph_filename` has no public name.
from tensorflow.python.checkpoint.checkpoint_management import (
    meta_graph_filename,
    update_checkpoint_state_internal,
)

# Public code meets variables of these classes but cannot name the classes.
from tensorflow.python.distribute.sharded_variable import ShardedVariable
from tensorflow.python.distribute.values import DistributedVariable

# Every way to differentiate ends in one of these two modules' functions; patching `tf.gradients` would miss
# `minimize` and the names imported before.
from tensorflow.python.eager import imperative_grad
from tensorflow.python.framework import ops
from tensorflow.python.ops import gradients_util, resource_variable_ops, resource_variables_toggle

# Without a public name; `tf.compat.v1.get_variable` returns one.
from tensorflow.python.ops.variables import PartitionedVariable

# How a `Saver` names what it is given in a list.
from tensorflow.python.training.saving.saveable_object_util import op_list_to_dict

__all__ = [
    "DistributedVariable",
    "PartitionedVariable",
    "ShardedVariable",
    "add_control_inputs",
    "copy_functions",
    "create_op",
    "function_definition",
    "gradients_util",
    "imperative_grad",
    "is_at_top_level",
    "is_resource_variable",
    "make_saveables",
    "meta_graph_filename",
    "op_list_to_dict",
    "ordered_branches",
    "resource_variables_by_default",
    "run_tensors",
    "set_attribute",
    "update_checkpoint_state_internal",
    "update_input",
]

# Public code can only ask `isinstance(v, tf.Variable)`, which is also true of ref variables.
is_resource_variable = resource_variable_ops.is_resource_variable


@contextlib.contextmanager
def resource_variables_by_default() -> Iterator[None]:
    """Makes `tf.compat.v1` variables resource variables, also after `disable_v2_behavior()`."""
    before = resource_variables_toggle.resource_variables_enabled()
    resource_variables_toggle.enable_resource_variables()
    try:
        yield
    finally:
        if not before:
            resource_variables_toggle.disable_resource_variables()


@contextlib.contextmanager
def ordered_branches(graph: Any, *, is_ordered: bool) -> Iterator[None]:
    """Has the bodies of v2 branches and loops created in `graph` run their stateful ops in program order.

    TensorFlow gives functions that order, and the bodies within functions, but not those in a plain graph.

    Args:
        graph: The graph.
        is_ordered: Whether to; otherwise nothing changes.
    """
    before = graph._add_control_dependencies
    graph._add_control_dependencies = before or is_ordered
    try:
        yield
    finally:
        graph._add_control_dependencies = before


def add_control_inputs(op: Any, control_inputs: list[Any]) -> None:
    """Adds control inputs to an op of a graph that has not run it yet."""
    op._add_control_inputs(control_inputs)


def set_attribute(op: Any, name: str, value: Any) -> None:
    """Sets an attribute of an op to an `AttrValue`; a session that has run the op keeps the old."""
    op._set_attr(name, value)


def function_definition(graph: Any, name: str) -> Any:
    """The `FunctionDef` of a function of `graph`; None where it has none of that name."""
    function = graph._get_function(name)
    if function is None:
        return None
    return getattr(function, "cached_definition", None) or function.definition


def is_at_top_level(op: Any) -> bool:
    """Whether an op is outside of all `tf.cond` and `tf.while_loop` bodies of the v1 control flow."""
    return op._get_control_flow_context() is None


def update_input(op: Any, index: int, tensor: Any) -> None:
    """Replaces input `index` of `op`; needed for the back edges of while loops."""
    op._update_input(index, tensor)


def create_op(graph: Any, node_def: Any, inputs: list[Any], control_inputs: list[Any]) -> Any:
    """Adds the op that `node_def` describes to `graph`, name, device and attributes as they stand there.

    `tf.Graph.create_op` would apply the graph's device functions and name scopes and drop the device.
    """
    return ops.Operation.from_node_def(
        node_def, graph, inputs=inputs, control_inputs=control_inputs
    )


def run_tensors(session: Any, *arguments: Any) -> Any:
    """Runs lists of ops and tensors; what is left of `tf.compat.v1.Session.run` after all checks.

    Args:
        session: The `tf.compat.v1.Session`.
        *arguments: `handle, targets, fetches, feeds, options, run_metadata`.
    """
    return session._do_run(*arguments)


def copy_functions(source: Any, target: Any) -> None:
    """Adds the functions of graph `source` that `target` does not know yet."""
    for name, function in source._functions.items():
        if not target._is_function(name):
            target._add_function_recursive(function)


def make_saveables(variable: Any, name: str) -> Any:
    """Returns what a variable of several parts says is to be saved of it under a name.

    Args:
        variable: A `ShardedVariable` or a variable of `tf.distribute`.
        name: The name in the checkpoint.

    Returns:
        A `SaveableObject`, or a list of one for each shard.
    """
    (factory,) = variable._gather_saveables_for_checkpoint().values()
    return factory(name)
