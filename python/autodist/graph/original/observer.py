"""Watches what happens inside `AutoDist.scope()`.

Two things cannot be read off a finished graph without guessing: which tensors are gradients with respect to
variables, and which ops an optimizer's update is made of. Both are seen here while the user's program makes them.

*Gradients.* The transformer averages a gradient over the replicas where it is made: where `tf.gradients`
or `GradientTape.gradient` returns it. Whatever is computed from it later (clipping, scaling, the
update) sees the mean, as on a single node. The ops of the backward pass itself, created before the call
returned, go on seeing the replica's own value: in `z = f(x) + v` the gradient of `v` is the very tensor
that flows on into `f`. So a record says from which op on the mean is seen, `seen_from`: the number
of ops in the graph when the call returned.

*Second derivatives* go back through a gradient into the backward pass that made it. Behind the gradient
each replica goes on with its own values: it gets the mean of what comes back, and of
`tf.IndexedSlices` the rows that are its own.

*Updates.* What Keras optimizers return from `apply_gradients` in a graph is a variable, and a session that runs it
updates nothing. Inside the scope the call returns one op that runs all its updates, in program order per variable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.graph.original import op_types
from autodist.graph.original.declared_variables import initializer_op, variables_of
from autodist.graph.original.differentiations import Differentiation, GradientCall
from autodist.graph.original.functions import may_write
from autodist.private_apis import tf_internals
from autodist.private_apis.patches import replaced


@dataclasses.dataclass(frozen=True)
class GradientRecord:
    """A gradient with respect to a variable.

    Attributes:
      values: the dense gradient, or the values of the `tf.IndexedSlices`.
      indices: the row numbers of the `tf.IndexedSlices`; None for a dense gradient.
      handle_op: the `VarHandleOp` of the variable; None when the gradient was seen only as an input
        of `apply_gradients`.
      seen_from: ops created as number `seen_from` or later see the mean over the replicas.
    """

    values: Any
    indices: Any
    handle_op: Any
    seen_from: int


@dataclasses.dataclass
class SecondDerivative:
    """Where a differentiation goes back through a gradient, in the process of a second derivative.

    Attributes:
      gradient: the gradient that it goes back through.
      upstream: the derivative with respect to it, as it comes back.
      begin: ops created as number `begin` or later, and before number `end`, are of the pass behind it.
      inner_end: those before number `inner_end` were made by the gradient function of the op that made the gradient.
      end: the number of ops when the differentiation returned.
    """

    gradient: GradientRecord
    upstream: Any
    begin: int
    inner_end: int
    end: int


@dataclasses.dataclass(frozen=True)
class OptimizerCall:
    """The ops `[begin, end)` of the graph, in order of creation, that one optimizer call made."""

    begin: int
    end: int


class Observer:
    """What was seen in one original graph.

    Attributes:
      gradients: gradients with respect to variables, in the order in which they were made.
      second_derivatives: where second derivatives go back through them.
      differentiations: the calls that differentiate, at the top level of the graph's functions.
      gradient_calls: the calls of gradient functions of the graph's ops, in order.
      optimizer_calls: what the optimizers' calls created.
      gradients_in_tapes: names of gradients that a `tf.GradientTape` went back through for a second derivative.
      sparse_feeds: placeholders that were seen to become parts of a `tf.SparseTensor`.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self.gradients: list[GradientRecord] = []
        self.second_derivatives: list[SecondDerivative] = []
        self.differentiations: list[Differentiation] = []
        self.gradient_calls: list[GradientCall] = []
        self.optimizer_calls: list[OptimizerCall] = []
        self.gradients_in_tapes: list[str] = []
        self.sparse_feeds: list[Any] = []
        self._gradient_depth = 0
        self._optimizer_depth = 0
        self._record_of: dict[tuple[Any, int], GradientRecord] = {}

    @contextlib.contextmanager
    def observing(self) -> Iterator[None]:
        """Watches gradients and optimizers until the context is left; then all is as it was."""
        with contextlib.ExitStack() as stack:
            for owner, name, wrap in (
                (tf_internals.gradients_util, "_GradientsHelper", self._watch_gradients),
                (tf_internals.imperative_grad, "imperative_grad", self._watch_gradients),
                (
                    tf_internals.framework_ops,
                    "get_gradient_function",
                    self._watch_gradient_functions,
                ),
                (tf.SparseTensor, "__init__", self._watch_sparse_tensors),
                *((owner, name, self._watch_optimizer) for owner, name in _optimizer_methods()),
            ):
                stack.enter_context(replaced(owner, name, wrap))
            yield

    def _is_building(self) -> bool:
        """Whether the default graph is the one that is watched, or the body of a function, branch or loop in it."""
        if tf.executing_eagerly():
            return False
        graph = tf.compat.v1.get_default_graph()
        while graph is not None and graph is not self._graph:
            graph = getattr(graph, "outer_graph", None)
        return graph is not None

    def _op_count(self) -> int:
        return len(self._graph.get_operations())

    def _watch_gradients(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps `imperative_grad`, by which a tape differentiates, or `_GradientsHelper`."""
        is_tape = function.__name__ == "imperative_grad"

        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if not self._is_building():
                return function(*args, **kwargs)
            self._gradient_depth += 1
            begin, second_count = self._op_count(), len(self.second_derivatives)
            try:
                gradients = function(*args, **kwargs)
            finally:
                self._gradient_depth -= 1
            for second in self.second_derivatives[second_count:]:
                second.end = self._op_count()
            if self._gradient_depth == 0:
                given = inspect.signature(function).bind(*args, **kwargs).arguments
                self._record_differentiation(given, gradients, begin)
                if is_tape and self._record_of:
                    self._find_second_derivatives_in_tape(given["target"])
                self._record_gradients(given["sources" if is_tape else "xs"], gradients)
            return gradients

        return watched

    def _record_differentiation(
        self, given: dict[str, Any], gradients: Sequence[Any], begin: int
    ) -> None:
        if tf.compat.v1.get_default_graph() is not self._graph:
            return
        is_tape = "target" in given
        upstream = given.get("output_gradients" if is_tape else "grad_ys")
        self.differentiations.append(
            Differentiation(
                targets=_as_list(given["target" if is_tape else "ys"]),
                upstream=None if upstream is None else _as_list(upstream),
                sources=_as_list(given["sources" if is_tape else "xs"]),
                results=list(gradients),
                begin=begin,
                end=self._op_count(),
                is_tape=is_tape,
            )
        )

    def _record_gradients(self, sources: Any, gradients: Any) -> None:
        seen_from = self._op_count()
        for source, gradient in zip(_as_list(sources), gradients, strict=True):
            handle_op = find_handle_op(source)
            if handle_op is None or gradient is None:
                continue
            if tf.compat.v1.get_default_graph() is not self._graph:
                continue
            record = _record(gradient, handle_op, seen_from)
            self.gradients.append(record)
            self._record_of.setdefault((record.values.op, record.values.value_index), record)

    def _find_second_derivatives_in_tape(self, targets: Any) -> None:
        """Notes the gradients that a tape goes back through, where it is not seen which ops lie behind them."""
        pending = [
            t.op for t in tf.nest.flatten(targets) if getattr(t, "graph", None) is self._graph
        ]
        seen = set()
        while pending:
            op = pending.pop()
            if op in seen or op.type in ("StopGradient", op_types.READ):
                continue
            seen.add(op)
            self.gradients_in_tapes.extend(
                tensor.name
                for tensor in op.inputs
                if (tensor.op, tensor.value_index) in self._record_of
            )
            pending.extend(tensor.op for tensor in op.inputs)

    def _watch_gradient_functions(self, find: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Wraps the function that finds an op's gradient function; what it finds is wrapped too."""

        @functools.wraps(find)
        def watched(op: Any) -> Any:
            function = find(op)
            if function is None or op.graph is not self._graph:
                return function
            return functools.partial(self._call_gradient_function, function)

        return watched

    def _call_gradient_function(self, function: Callable[..., Any], op: Any, *upstream: Any) -> Any:
        begin = self._op_count()
        made = function(op, *upstream)
        end = self._op_count()
        passes = any(m is u for m in _as_list(made) for u in upstream if u is not None)
        self.gradient_calls.append(GradientCall(op, upstream, begin, end, passes))
        for index, derivative in enumerate(upstream):
            record = self._record_of.get((op, index))
            if record is not None and derivative is not None:
                self.second_derivatives.append(
                    SecondDerivative(record, derivative, begin, end, end)
                )
        return made

    def _watch_sparse_tensors(self, function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def watched(sparse: Any, *args: Any, **kwargs: Any) -> None:
            function(sparse, *args, **kwargs)
            indices = sparse.indices
            if getattr(indices, "graph", None) is self._graph and indices.op.type == "Placeholder":
                self.sparse_feeds.append(indices)

        return watched

    def _watch_optimizer(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps `apply_gradients`, `apply` or `minimize` of an optimizer."""

        @functools.wraps(method)
        def watched(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            graph = tf.compat.v1.get_default_graph() if not tf.executing_eagerly() else None
            if graph is not self._graph or self._optimizer_depth:
                return method(optimizer, *args, **kwargs)
            begin = self._op_count()
            if method.__name__ == "apply_gradients" and (args or "grads_and_vars" in kwargs):
                pairs = list(args[0] if args else kwargs.pop("grads_and_vars"))
                args = (pairs, *args[1:])
                self._record_inputs(pairs, begin)
            elif method.__name__ == "apply" and args:
                gradients = list(args[0])
                args = (gradients, *args[1:])
                self._record_inputs([(g, None) for g in gradients], begin)
            _check_options(optimizer)
            is_keras = not isinstance(optimizer, tf.compat.v1.train.Optimizer)
            self._optimizer_depth += 1
            try:
                with tf_internals.ordered_branches(self._graph, is_ordered=is_keras):
                    result = method(optimizer, *args, **kwargs)
            finally:
                self._optimizer_depth -= 1
            self.optimizer_calls.append(OptimizerCall(begin, self._op_count()))
            if isinstance(result, (tf.Operation, tf.Tensor)):
                return result
            return self._run_in_order(begin)

        return watched

    def _record_inputs(self, grads_and_vars: list[Any], seen_from: int) -> None:
        """Gradients that reach an optimizer without having been recorded before are averaged there."""
        for gradient, _ in grads_and_vars:
            if isinstance(gradient, (tf.Tensor, tf.IndexedSlices)):
                self.gradients.append(_record(gradient, None, seen_from))

    def _run_in_order(self, begin: int) -> Any:
        """One op that runs every update created since op number `begin`.

        Keras writes `m.assign_add(...)` and then reads `m`, and relies on the program order that `tf.function`
        gives. A graph has no such order, so it is made here: per variable, a read waits for the
        writes before it, and a write for the reads and writes before it. The first writes also wait for
        all gradients and for the plain reads of the variable in the forward pass: weight decay depends on
        neither, and the loss is that of the variables before the step.
        """
        graph_ops = self._graph.get_operations()
        gradients = [
            tensor.op
            for record in self.gradients
            if record.seen_from >= begin
            for tensor in (record.values, record.indices)
            if tensor is not None
        ]
        gradients = [op for op in dict.fromkeys(gradients) if tf_internals.is_at_top_level(op)]
        if len(gradients) > 1:
            gradients = [_wait_for(gradients)]
        initializers = {initializer_op(v) for v in variables_of(self._graph)}
        last_write: dict[Any, Any] = {}
        reads: dict[Any, list[Any]] = {}
        for op in graph_ops[:begin]:
            if (
                op.type == op_types.READ
                and not op.control_inputs
                and tf_internals.is_at_top_level(op)
            ):
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
                elif tf_internals.is_at_top_level(op):
                    reads.setdefault(handle, []).append(op)
                known = set(op.control_inputs)
                fresh = [b for b in before if b not in known and b is not op]
                if fresh:
                    tf_internals.add_control_inputs(op, fresh)
        return tf.group(*updates)


def _as_list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _wait_for(ops: list[Any]) -> Any:
    """One op that waits for `ops`, so that many can wait for them at one edge each."""
    with tf.control_dependencies(None), tf.control_dependencies(ops):
        return tf.no_op("gradients_ready")


def find_handle_op(source: Any) -> Any:
    """The `VarHandleOp` of a variable, of its handle or of a tensor read from it; None for anything else."""
    if tf_internals.is_resource_variable(source):
        source = source.handle
    if not isinstance(source, tf.Tensor) or not hasattr(source, "op"):
        return None
    op = source.op
    while op.type in ("Identity", op_types.READ):
        op = op.inputs[0].op
    return op if op.type == op_types.HANDLE else None


def _check_options(optimizer: Any) -> None:
    """Refuses options of Keras optimizers that do nothing in a graph.

    They compare the step counter by `==` in Python, which in a graph that is no function compares objects and is
    always false (Keras 3.15, tf_keras 2.21): the model would never be updated, or its averages never be used.

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
        f"{type(optimizer).__name__}({option}={getattr(optimizer, option)!r}) has no effect in a graph: Keras "
        f"decides by a Python comparison whether a step is one to act on. Leave {option} out, or accumulate and "
        "overwrite with tf.cond in your own program."
    )


def _check_reachable(update: Any) -> None:
    """Refuses an optimizer's update inside a v1 branch or loop, where one op cannot wait for it.

    Raises:
      UnsupportedGraphError: naming the op.
    """
    if not tf_internals.is_at_top_level(update):
        raise UnsupportedGraphError(
            f"the optimizer's update {update.name!r} ({update.type}) lies in a branch or loop of TensorFlow's "
            "v1 control flow. Call tf.compat.v1.enable_control_flow_v2() before the optimizer is applied."
        )


def _record(gradient: Any, handle_op: Any, seen_from: int) -> GradientRecord:
    if isinstance(gradient, tf.IndexedSlices):
        return GradientRecord(gradient.values, gradient.indices, handle_op, seen_from)
    return GradientRecord(gradient, None, handle_op, seen_from)


# The base class of each family of optimizers. Read in TensorFlow 2.21, Keras 3.15 and tf_keras 2.21.
_OPTIMIZER_BASES = (
    ("keras", "keras.src.optimizers.base_optimizer", "BaseOptimizer"),
    ("tf_keras", "tf_keras.src.optimizers.optimizer", "_BaseOptimizer"),
    ("tf_keras", "tf_keras.src.optimizers.legacy.optimizer_v2", "OptimizerV2"),
)
_OPTIMIZER_METHODS = ("minimize", "apply_gradients", "apply")


def _optimizer_methods() -> list[tuple[type, str]]:
    """Every class that defines a method through which an optimizer updates, with the method's name."""
    bases: list[type] = [tf.compat.v1.train.Optimizer]
    for package, module, name in _OPTIMIZER_BASES:
        if importlib.util.find_spec(package) is not None:
            bases.append(getattr(importlib.import_module(module), name))
    found: dict[tuple[type, str], None] = {}
    pending = list(bases)
    while pending:
        owner = pending.pop()
        pending.extend(owner.__subclasses__())
        for name in _OPTIMIZER_METHODS:
            if callable(vars(owner).get(name)):
                found[owner, name] = None
    return list(found)
