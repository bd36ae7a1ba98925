"""TensorFlow's private Python API of graphs: ops, op types, functions and gradients.

Each name is imported with the reason why no public one would do. Read in TensorFlow 2.21.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# The C API's own functions: `tf.Graph.create_op` takes several times as long for each op.
from tensorflow.python.client import pywrap_tf_session

# Every way to differentiate ends in a function of one of these two modules. Patching `tf.gradients`
# would miss `minimize` and the names imported before.
from tensorflow.python.eager import imperative_grad

# The definition of an op type of which there may be no op in a graph.
from tensorflow.python.framework import errors, op_def_registry, ops

# `tf.gradients` asks this module for the gradient function of each op that it goes back through.
from tensorflow.python.framework import ops as framework_ops

# A function's body as a graph. Public code gets the body only of a function that it has traced.
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph
from tensorflow.python.ops import gradients_util

__all__ = [
    "OpTemplate",
    "add_control_inputs",
    "argument_names",
    "changing",
    "control_outputs",
    "copy_functions",
    "differentiable_types",
    "framework_ops",
    "function_body",
    "function_definition",
    "graph_def",
    "gradients_util",
    "imperative_grad",
    "is_at_top_level",
    "is_op_type",
    "is_stateful",
    "ordered_branches",
    "set_attribute",
    "takes_functions",
    "update_input",
]


@contextlib.contextmanager
def ordered_branches(graph: Any, *, is_ordered: bool) -> Iterator[None]:
    """Makes v2 branches and loops created in `graph` run stateful ops in program order.

    TensorFlow gives functions that order, and the bodies within functions, but not those in a plain
    graph.

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


def graph_def(graph: Any) -> Any:
    """Returns the `GraphDef` of a graph with its shapes, copied as the stock `Saver` copies it.

    From TensorFlow 2.16 on there is a way that does not stop at 2 GB.
    """
    has_large = "use_pybind11_proto" in inspect.signature(graph.as_graph_def).parameters
    large = {"use_pybind11_proto": True} if has_large else {}
    return graph.as_graph_def(add_shapes=True, **large)


def add_control_inputs(op: Any, control_inputs: list[Any]) -> None:
    """Adds control inputs to an op of a graph that has not run it yet."""
    op._add_control_inputs(control_inputs)


def control_outputs(op: Any) -> list[Any]:
    """The ops that wait for an op without taking anything from it."""
    return list(op._control_outputs)


def changing(graph: Any) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which sessions take no new ops of a graph: they wait until its end."""
    lock: contextlib.AbstractContextManager[None] = graph._mutation_lock()
    return lock


def set_attribute(op: Any, name: str, value: Any) -> None:
    """Sets an attribute of an op to an `AttrValue`. A session that has run the op keeps the old."""
    op._set_attr(name, value)


def argument_names(op_type: str) -> list[str]:
    """The names of the arguments of an op type that are tensors."""
    return [argument.name for argument in op_def_registry.get(op_type).input_arg]


def is_op_type(name: str) -> bool:
    """Whether TensorFlow has an op type of this name."""
    return op_def_registry.get(name) is not None


def differentiable_types() -> list[str]:
    """The op types that have a gradient function, in alphabetical order."""
    registry = ops.gradient_registry
    return sorted(n for n in registry.list() if is_op_type(n) and registry.lookup(n) is not None)


@functools.cache
def takes_functions(op_type: str) -> bool:
    """Whether attributes of an op type name functions."""
    definition = op_def_registry.get(op_type)
    return definition is not None and any("func" in attr.type for attr in definition.attr)


@functools.cache
def is_stateful(op_type: str) -> bool:
    """Whether ops of a type have a state or an effect; true for an unknown type."""
    definition = op_def_registry.get(op_type)
    return definition is None or bool(definition.is_stateful)


def _function(graph: Any, name: str) -> Any:
    """The function that is called by a name in `graph`; None where none is."""
    while graph is not None:
        function = graph._get_function(name)
        if function is not None:
            return function
        graph = getattr(graph, "outer_graph", None)
    return None


def function_definition(graph: Any, name: str) -> Any:
    """The `FunctionDef` of a function of `graph`; None where it has none of that name."""
    function = _function(graph, name)
    if function is None:
        return None
    return getattr(function, "cached_definition", None) or function.definition


def function_body(graph: Any, name: str) -> Any:
    """The body of a function of `graph`, as a graph with `inputs` and `outputs`.

    None where it is not known.
    """
    definition = function_definition(graph, name)
    if definition is None:
        return None
    # If this process has traced the function, the traced body knows more shapes.
    traced = getattr(_function(graph, name), "graph", None)
    if getattr(traced, "inputs", None) is not None and _is_body_of(traced, definition):
        return traced
    while getattr(graph, "outer_graph", None) is not None:
        graph = graph.outer_graph
    with graph.as_default():
        return function_def_to_graph(definition)


def _is_body_of(traced: Any, definition: Any) -> bool:
    """Whether a traced body still matches its definition; a gradient adds ops to a body."""
    signature = definition.signature
    arguments = {tensor.op for tensor in traced.inputs}
    types = sorted(op.type for op in traced.get_operations() if op not in arguments)
    return (
        len(traced.inputs) == len(signature.input_arg)
        and len(traced.outputs) == len(signature.output_arg)
        and types == sorted(node.op for node in definition.node_def)
    )


def is_at_top_level(op: Any) -> bool:
    """Whether an op is outside all v1 `tf.cond` and `tf.while_loop` bodies."""
    return op._get_control_flow_context() is None


def update_input(op: Any, index: int, tensor: Any) -> None:
    """Replaces input `index` of `op`; needed for the back edges of while loops."""
    op._update_input(index, tensor)


class OpTemplate:
    """A template of ops: their type, the grouping of their inputs and their attributes.

    `tf.Graph.create_op` would apply the graph's device functions and name scopes. It would also
    parse the `NodeDef`, look up the op's definition and record the Python stack for each copy,
    which takes most of its time.

    Args:
        op_type: The type of the ops.
        definition: Its `OpDef`.
        attributes: `AttrValue`s by name; those with a default may be missing.
    """

    def __init__(self, op_type: str, definition: Any, attributes: Mapping[str, Any]) -> None:
        self.type = op_type
        self.attributes = dict(attributes)
        self._serialized = [(n, v.SerializeToString()) for n, v in self.attributes.items()]
        self._groups = [_group_size(argument, self.attributes) for argument in definition.input_arg]

    @staticmethod
    def of_op(op: Any, without: Callable[[str], bool]) -> OpTemplate:
        """Makes a template for copies of an op.

        Args:
            op: The original op.
            without: Tells by an attribute's name whether the copies omit it.
        """
        node = op.node_def
        attributes = {name: value for name, value in node.attr.items() if not without(name)}
        return OpTemplate(node.op, op.op_def, attributes)

    @staticmethod
    def of_type(op_type: str, attributes: Mapping[str, Any]) -> OpTemplate:
        """Makes a template for ops of a registered type."""
        return OpTemplate(op_type, op_def_registry.get(op_type), attributes)

    def create(
        self,
        graph: Any,
        name: str,
        *,
        device: str,
        inputs: Sequence[Any],
        control_inputs: Sequence[Any],
        changed: Mapping[str, Any],
    ) -> Any:
        """Adds an op of this template to `graph`.

        Args:
            graph: The graph.
            name: The op's name; no other op of the graph may have it.
            device: The device on which the op runs.
            inputs: Its input tensors.
            control_inputs: The ops that it waits for.
            changed: `AttrValue`s by name that differ from the template's.

        Returns:
            The `tf.Operation`.

        Raises:
            ValueError: If TensorFlow does not accept the op.
        """
        with graph._c_graph.get() as c_graph:
            new = pywrap_tf_session.TF_NewOperation(c_graph, self.type, name)
        pywrap_tf_session.TF_SetDevice(new, device)
        outputs = [tensor._as_tf_output() for tensor in inputs]
        position = 0
        for size in self._groups:
            if size is None:
                pywrap_tf_session.TF_AddInput(new, outputs[position])
                position += 1
            else:
                pywrap_tf_session.TF_AddInputList(new, outputs[position : position + size])
                position += size
        for op in control_inputs:
            pywrap_tf_session.TF_AddControlInput(new, op._c_op)
        for attribute, value in self._serialized:
            if attribute not in changed:
                pywrap_tf_session.TF_SetAttrValueProto(new, attribute, value)
        for attribute, value in changed.items():
            pywrap_tf_session.TF_SetAttrValueProto(new, attribute, value.SerializeToString())
        try:
            c_op = pywrap_tf_session.TF_FinishOperation(new)
        except errors.InvalidArgumentError as error:
            raise ValueError(error.message) from error
        return ops.Operation._from_c_op(c_op, graph)


def _group_size(argument: Any, attributes: Mapping[str, Any]) -> int | None:
    """How many tensors an argument of an op takes as a list.

    None when it takes one tensor, not a list.
    """
    if argument.number_attr:
        return int(attributes[argument.number_attr].i)
    if argument.type_list_attr:
        return len(attributes[argument.type_list_attr].list.type)
    return None


def copy_functions(source: Any, target: Any) -> None:
    """Adds the functions of graph `source` that `target` does not know yet."""
    for name, function in source._functions.items():
        if not target._is_function(name):
            target._add_function_recursive(function)
