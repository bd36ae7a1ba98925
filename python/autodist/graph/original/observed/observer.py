"""Records gradients and optimizer calls while a program builds a graph in the scope.

A finished graph does not say which tensors are gradients with respect to variables, nor which ops
an optimizer made. So the scope records both while the program makes them.

*Gradients.* The transformer averages a gradient over the replicas where it is made: where
`tf.gradients` or `GradientTape.gradient` returns it. Whatever is computed from it later (clipping,
scaling, the update) sees the mean, as on a single node. The ops of the backward pass itself were
created before the call returned. They see the replica's own value: in `z = f(x) + v` the gradient
of `v` is the very tensor that flows on into `f`. So a record has `seen_from`, the number of ops in
the graph when the call returned. Later ops see the mean.

*Second derivatives* go back through a gradient into the backward pass that made it. Behind the
gradient each replica uses its own values. It gets the mean of what comes back, and of
`tf.IndexedSlices` its own rows.

*Updates.* In a graph `apply_gradients` of a Keras optimizer returns a variable, and a session that
runs it updates nothing. Inside the scope the call returns one op that runs all its updates, in
program order per variable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from autodist.graph.original.observed.differentiations import Differentiation, GradientCall
from autodist.graph.original.observed.optimizer_updates import (
    check_options,
    optimizer_methods,
    run_in_order,
)
from autodist.graph.original.ops import op_types
from autodist.private_apis import tf_graphs, tf_variables
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
      begin: ops created as number `begin` or later, and before number `end`, are of the pass behind
        it.
      inner_end: those before number `inner_end` were made by the gradient function of the op that
        made the gradient.
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
    """Records what the program does to one original graph.

    Attributes:
      gradients: gradients with respect to variables, in the order in which they were made.
      second_derivatives: where second derivatives go back through them.
      differentiations: the calls that differentiate, at the top level of the graph's functions.
      gradient_calls: the calls of gradient functions of the graph's ops, in order.
      optimizer_calls: what the optimizers' calls created.
      gradients_in_tapes: names of gradients that a `tf.GradientTape` went back through for a second
        derivative.
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
                (tf_graphs.gradients_util, "_GradientsHelper", self._watch_gradients),
                (tf_graphs.imperative_grad, "imperative_grad", self._watch_gradients),
                (
                    tf_graphs.framework_ops,
                    "get_gradient_function",
                    self._watch_gradient_functions,
                ),
                (tf.SparseTensor, "__init__", self._watch_sparse_tensors),
                *((owner, name, self._watch_optimizer) for owner, name in optimizer_methods()),
            ):
                stack.enter_context(replaced(owner, name, wrap))
            yield

    def gradients_since(self, begin: int) -> list[Any]:
        """The ops that make the gradients returned when there were `begin` ops or more."""
        return [
            tensor.op
            for record in self.gradients
            if record.seen_from >= begin
            for tensor in (record.values, record.indices)
            if tensor is not None
        ]

    def _is_building(self) -> bool:
        """Whether the default graph is the observed one, or a function body inside it."""
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
        """Records the gradients that a tape goes back through, whose ops are not observed."""
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
            check_options(optimizer)
            is_keras = not isinstance(optimizer, tf.compat.v1.train.Optimizer)
            self._optimizer_depth += 1
            try:
                with tf_graphs.ordered_branches(self._graph, is_ordered=is_keras):
                    result = method(optimizer, *args, **kwargs)
            finally:
                self._optimizer_depth -= 1
            self.optimizer_calls.append(OptimizerCall(begin, self._op_count()))
            if isinstance(result, (tf.Operation, tf.Tensor)):
                return result
            return run_in_order(self._graph, self.gradients_since(begin), begin)

        return watched

    def _record_inputs(self, grads_and_vars: list[Any], seen_from: int) -> None:
        """Records gradients that reach an optimizer unrecorded; they are averaged there."""
        for gradient, _ in grads_and_vars:
            if isinstance(gradient, (tf.Tensor, tf.IndexedSlices)):
                self.gradients.append(_record(gradient, None, seen_from))


def _as_list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


def find_handle_op(source: Any) -> Any:
    """The `VarHandleOp` of a variable, of its handle or of a tensor read from it.

    None for anything else.
    """
    if tf_variables.is_resource_variable(source):
        source = source.handle
    if not isinstance(source, tf.Tensor) or not hasattr(source, "op"):
        return None
    op = source.op
    while op.type in ("Identity", op_types.READ):
        op = op.inputs[0].op
    return op if op.type == op_types.HANDLE else None


def _record(gradient: Any, handle_op: Any, seen_from: int) -> GradientRecord:
    if isinstance(gradient, tf.IndexedSlices):
        return GradientRecord(gradient.values, gradient.indices, handle_op, seen_from)
    return GradientRecord(gradient, None, handle_op, seen_from)
