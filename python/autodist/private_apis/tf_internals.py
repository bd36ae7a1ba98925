"""The one door to TensorFlow's private Python API.

Everything that TensorFlow does not export is imported here and nowhere else, each name with the reason why no
public one would do. Read in TensorFlow 2.21.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# Public code gets this from a session only; a server's answer to `GetStatus` is a list of them.
from tensorflow.core.framework.device_attributes_pb2 import DeviceAttributes

# What an object-based checkpoint holds under `OBJECT_GRAPH_KEY`.
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

# Without a public name.
from tensorflow.python.checkpoint.checkpoint_management import meta_graph_filename

# The C API's own functions: `tf.Graph.create_op` takes several times as long for each op.
from tensorflow.python.client import pywrap_tf_session

# What turns the fetches of a run into lists of tensors and ops, errors included.
from tensorflow.python.client import session as session_module

# What `Saver.save` takes a session for, and what all of TensorFlow's own sessions are.
from tensorflow.python.client.session import BaseSession, SessionInterface

# Public code meets variables of these classes but cannot name the classes.
from tensorflow.python.distribute.sharded_variable import ShardedVariable
from tensorflow.python.distribute.values import DistributedVariable

# Every way to differentiate ends in one of these two modules' functions; patching `tf.gradients` would miss
# `minimize` and the names imported before.
from tensorflow.python.eager import imperative_grad

# The definition of an op type of which there may be no op in a graph.
from tensorflow.python.framework import errors, op_def_registry, ops

# `tf.gradients` asks this module for the gradient function of each op that it goes back through.
from tensorflow.python.framework import ops as framework_ops

# A function's body as a graph; public code gets that of a function that it has traced only.
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph
from tensorflow.python.ops import gradients_util, resource_variable_ops, resource_variables_toggle

# `PartitionedVariable` has no public name; `tf.compat.v1.get_variable` returns one. What a `Saver` saves by default.
from tensorflow.python.ops.variables import PartitionedVariable
from tensorflow.python.ops.variables import _all_saveable_objects as all_saveable_objects
from tensorflow.python.trackable.base import OBJECT_GRAPH_PROTO_KEY as OBJECT_GRAPH_KEY

# The base class of all monitored sessions; `tf.compat.v1.train` exports its subclasses only.
from tensorflow.python.training.monitored_session import _MonitoredSession as MonitoredSessionBase

# How a `Saver` names what it is given in a list, and the saveable objects that it makes of it.
from tensorflow.python.training.saving.saveable_object import SaveableObject, SaveSpec
from tensorflow.python.training.saving.saveable_object_util import (
    op_list_to_dict,
    validate_and_slice_inputs,
)

from autodist.private_apis.patches import replaced

__all__ = [
    "BaseResourceVariable",
    "BaseSession",
    "DeviceAttributes",
    "DistributedVariable",
    "MonitoredSessionBase",
    "OBJECT_GRAPH_KEY",
    "PartitionedVariable",
    "SessionInterface",
    "OpTemplate",
    "PreparedRun",
    "SaveSpec",
    "SaveableObject",
    "ShardedVariable",
    "TrackableObjectGraph",
    "add_control_inputs",
    "all_saveable_objects",
    "argument_names",
    "call_before_close",
    "copy_functions",
    "fetch_handler",
    "flatten_fetches",
    "function_body",
    "function_definition",
    "graph_of_manager",
    "framework_ops",
    "gradients_util",
    "imperative_grad",
    "is_at_top_level",
    "is_closed",
    "is_resource_variable",
    "leave_to_process_end",
    "make_callable_from_options",
    "make_saveables",
    "meta_graph_filename",
    "op_list_to_dict",
    "ordered_branches",
    "resource_variables_by_default",
    "run_tensors",
    "session_config",
    "set_attribute",
    "takes_functions",
    "update_input",
    "validate_and_slice_inputs",
]

# Public code can only ask `isinstance(v, tf.Variable)`, which is also true of ref variables.
BaseResourceVariable = resource_variable_ops.BaseResourceVariable
is_resource_variable = resource_variable_ops.is_resource_variable


@contextlib.contextmanager
def resource_variables_by_default() -> Iterator[None]:
    """Makes `tf.compat.v1` variables resource variables, also after `disable_v2_behavior()`."""
    # The switch itself: several scopes may be open, and end in any order.
    with replaced(resource_variables_toggle, "_DEFAULT_USE_RESOURCE", lambda _: True):
        yield


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


def control_outputs(op: Any) -> list[Any]:
    """The ops that wait for an op without taking anything from it."""
    return list(op._control_outputs)


def set_attribute(op: Any, name: str, value: Any) -> None:
    """Sets an attribute of an op to an `AttrValue`; a session that has run the op keeps the old."""
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
    """Whether ops of a type have a state or an effect; so it is said of a type that is not known."""
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
    """The body of a function of `graph`, as a graph with `inputs` and `outputs`; None where it is not known."""
    definition = function_definition(graph, name)
    if definition is None:
        return None
    # Where it was traced here, the body knows more shapes than the definition says.
    traced = getattr(_function(graph, name), "graph", None)
    if getattr(traced, "inputs", None) is not None and _is_body_of(traced, definition):
        return traced
    while getattr(graph, "outer_graph", None) is not None:
        graph = graph.outer_graph
    with graph.as_default():
        return function_def_to_graph(definition)


def _is_body_of(traced: Any, definition: Any) -> bool:
    """Whether a traced body is still what a definition was made of: taking a gradient adds to it."""
    signature = definition.signature
    arguments = {tensor.op for tensor in traced.inputs}
    types = sorted(op.type for op in traced.get_operations() if op not in arguments)
    return (
        len(traced.inputs) == len(signature.input_arg)
        and len(traced.outputs) == len(signature.output_arg)
        and types == sorted(node.op for node in definition.node_def)
    )


def is_at_top_level(op: Any) -> bool:
    """Whether an op is outside of all `tf.cond` and `tf.while_loop` bodies of the v1 control flow."""
    return op._get_control_flow_context() is None


def update_input(op: Any, index: int, tensor: Any) -> None:
    """Replaces input `index` of `op`; needed for the back edges of while loops."""
    op._update_input(index, tensor)


class OpTemplate:
    """What several ops have in common: their type, the grouping of their inputs and their attributes.

    `tf.Graph.create_op` would apply the graph's device functions and name scopes, and spend most of its time on what is
    the same for all copies: taking the `NodeDef` apart, looking at the op's definition, recording the Python stack.

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
        """The template of copies of an op.

        Args:
            op: The original op.
            without: Says of an attribute's name whether the copies do without it.
        """
        node = op.node_def
        attributes = {name: value for name, value in node.attr.items() if not without(name)}
        return OpTemplate(node.op, op.op_def, attributes)

    @staticmethod
    def of_type(op_type: str, attributes: Mapping[str, Any]) -> OpTemplate:
        """The template of ops of a registered type."""
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
        """Adds such an op to `graph`.

        Args:
            graph: The graph.
            name: Of the op; no other of the graph has it.
            device: Where it runs.
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
    """How many tensors an argument of an op takes as a list; None when it takes one tensor, not a list."""
    if argument.number_attr:
        return int(attributes[argument.number_attr].i)
    if argument.type_list_attr:
        return len(attributes[argument.type_list_attr].list.type)
    return None


def run_tensors(session: Any, *arguments: Any) -> Any:
    """Runs lists of ops and tensors; what is left of `tf.compat.v1.Session.run` after all checks.

    Args:
        session: The `tf.compat.v1.Session`.
        *arguments: `handle, targets, fetches, feeds, options, run_metadata`.
    """
    return session._do_run(*arguments)


class PreparedRun:
    """A run of lists of tensors and ops that is run again and again; what `run_tensors` does, taken apart once.

    Args:
        targets: The ops to run.
        fetches: The tensors to fetch.
        feeds: The tensors to feed.
    """

    def __init__(
        self, targets: Sequence[Any], fetches: Sequence[Any], feeds: Sequence[Any]
    ) -> None:
        self._targets = [op._c_op for op in targets]
        self._fetches = [tensor._as_tf_output() for tensor in fetches]
        self._feeds = [tensor._as_tf_output() for tensor in feeds]

    def __call__(
        self, session: Any, arrays: Sequence[Any], options: Any, run_metadata: Any
    ) -> list[Any]:
        """Runs it in a `tf.compat.v1.Session`.

        Args:
            session: The session, on the graph of the ops and tensors.
            arrays: One for each fed tensor.
            options: Serialized `RunOptions`, or None.
            run_metadata: Where metadata go; or None.

        Returns:
            One value per fetched tensor.
        """
        feeds = dict(zip(self._feeds, arrays, strict=True))

        def run() -> list[Any]:
            session._extend_graph()
            values: list[Any] = session._call_tf_sessionrun(
                options, feeds, self._fetches, self._targets, run_metadata
            )
            return values

        values: list[Any] = session._do_call(run)
        return values


def fetch_handler(graph: Any, fetches: Any) -> Any:
    """What `tf.compat.v1.Session.run` makes of its fetches.

    Returns:
      An object with `fetches()`, the tensors to fetch, each once; `targets()`, the ops to run; and
      `build_results(session, values)`, which puts the values of the tensors together.

    Raises:
      TypeError, ValueError: as `run` would.
    """
    return session_module._FetchHandler(graph, fetches, {})


def flatten_fetches(graph: Any, fetches: Any) -> tuple[list[Any], list[Any]]:
    """The tensors to fetch, each once, and the ops to run, of what `tf.compat.v1.Session.run` is asked for.

    Raises:
      TypeError, ValueError: as `run` would.
    """
    handler = fetch_handler(graph, fetches)
    return handler.fetches(), handler.targets()


def leave_to_process_end(session: Any) -> None:
    """Keeps a session from being closed when it is collected, which waits for servers that hang or are gone.

    Public code cannot: `tf.compat.v1.Session.__del__` closes.
    """
    session._session = None


def session_config(session: Any) -> Any:
    """The `ConfigProto` of a session; None for what is no session of TensorFlow's own classes."""
    return getattr(session, "_config", None)


def is_closed(session: Any) -> bool:
    """Whether a session was closed."""
    return bool(getattr(session, "_closed", False))


def call_before_close(session: Any, action: Callable[[], None]) -> None:
    """Calls a function when a session is closed, before it is.

    TensorFlow tells nobody that a session is closed, so the session's class becomes a subclass of it. A `close` that
    the program has set on the session itself is wrapped.

    Args:
        session: A session of TensorFlow's own classes, once.
        action: The function. It must not refer to the session, which would then be collected later.
    """
    session._autodist_before_close = action
    set_by_program = vars(session).get("close")
    if set_by_program is None:
        session_class: Any = type(session)
        session.__class__ = _closing_class(session_class)
        return

    def close() -> None:
        action()
        set_by_program()

    session.close = close


@functools.cache
def _closing_class(base: Any) -> Any:
    """A class whose sessions call a function before they are closed; a bound `close` keeps its session, as ever."""

    class Closing(base):
        def close(self) -> None:
            self._autodist_before_close()
            super().close()

    Closing.__name__, Closing.__qualname__ = base.__name__, base.__qualname__
    Closing.__module__, Closing.__doc__ = base.__module__, base.__doc__
    return Closing


def graph_of_manager(manager: Any) -> Any:
    """The graph of a `tf.compat.v1.train.SessionManager`."""
    return manager._graph


def make_callable_from_options(session: Any, options: Any) -> Any:
    """A callable of a session made from a `CallableOptions` protocol buffer, as Keras makes its own."""
    return session._make_callable_from_options(options)


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
