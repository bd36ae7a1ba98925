"""Makes Keras train in the distributed session while a scope lasts.

Keras 2 (the package `tf_keras`; in TensorFlow 2.15 also `keras`) trains a model of a graph through
a session. It takes the session from its backend or makes one. It adds its optimizer's ops at the
first `fit`. In the scope the backend's answer is the distributed session, which is made when Keras
first asks. It stays Keras's session after the scope, as one given to `set_session` does. What
cannot train in a graph is refused in the call that asks for it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from autodist.errors import ArgumentError, UnsupportedGraphError
from autodist.private_apis import keras_internals
from autodist.private_apis.patches import replaced
from autodist.session.distributed_session import DistributedSession

_KERAS_3_METHODS = (
    "fit",
    "evaluate",
    "predict",
    "train_on_batch",
    "test_on_batch",
    "predict_on_batch",
)


class KerasBridge:
    """Connects Keras to the distributed session of one graph.

    Args:
      graph: the original graph.
      session: called for the distributed session when Keras needs one.
    """

    def __init__(self, graph: Any, session: Callable[[], Any]) -> None:
        self._graph = graph
        self._session = session

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Until the context is left, Keras asks here for the session of the graph."""
        with contextlib.ExitStack() as stack:

            def replace(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
                stack.enter_context(replaced(owner, name, wrap))

            for keras in keras_internals.keras2_packages():
                answer = functools.partial(self._answer, keras)
                replace(keras.backend(), "_get_session", answer)
                check = functools.partial(self._check_compile, keras)
                replace(keras.graph_model_class(), "compile", check)
            for optimizer in keras_internals.optimizer_bases():
                replace(optimizer, "get_gradients", self._add_get_gradients)
            trainer = keras_internals.keras3_trainer_class()
            if trainer is not None:
                for name in _KERAS_3_METHODS:
                    replace(trainer, name, self._refuse_keras_3)
            yield

    @staticmethod
    def set_session(session: Any) -> None:
        """Makes `session` the one that Keras uses for its graph, inside the scope and after it."""
        for keras in keras_internals.keras2_packages():
            keras.backend().set_session(session)

    def _answer(
        self, keras: keras_internals.Keras2, stock: Callable[..., Any]
    ) -> Callable[..., Any]:
        @functools.wraps(stock)
        def get_session(op_input_list: Any = ()) -> Any:
            if (
                tf.compat.v1.get_default_session() is not None
                or keras.current_graph(op_input_list) is not self._graph
            ):
                return stock(op_input_list)
            given = keras.session_given()
            if (
                isinstance(given, DistributedSession)
                and given.graph is self._graph
                and not given.is_closed
            ):
                return stock(op_input_list)
            session = self._session()
            self.set_session(session)
            return session

        return get_session

    @staticmethod
    def _add_get_gradients(_: Any) -> Callable[..., Any]:
        """The method that Keras's optimizers had when programs for AutoDist were written."""

        def get_gradients(optimizer: Any, loss: Any, params: Any) -> list[Any]:
            del optimizer
            variables = tf.nest.flatten(params)
            gradients: list[Any] = tf.compat.v1.gradients(loss, variables)
            for variable, gradient in zip(variables, gradients, strict=True):
                if gradient is None:
                    raise ArgumentError(f"the loss does not depend on variable {variable.name!r}")
            return gradients

        return get_gradients

    def _check_compile(
        self, keras: keras_internals.Keras2, stock: Callable[..., Any]
    ) -> Callable[..., Any]:
        @functools.wraps(stock)
        def compile_model(model: Any, *args: Any, **kwargs: Any) -> Any:
            if tf.compat.v1.get_default_graph() is not self._graph:
                return stock(model, *args, **kwargs)
            asked = args[0] if args else kwargs.get("optimizer")
            if keras_internals.is_keras_3(asked):
                raise _unsupported_optimizer(keras, asked)
            result = stock(model, *args, **kwargs)
            for made in tf.nest.flatten(model.optimizer):
                if not hasattr(made, "get_updates"):
                    raise _unsupported_optimizer(keras, made)
            return result

        return compile_model

    def _refuse_keras_3(self, stock: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(stock)
        def refuse(model: Any, *args: Any, **kwargs: Any) -> Any:
            if tf.executing_eagerly() or tf.compat.v1.get_default_graph() is not self._graph:
                return stock(model, *args, **kwargs)
            raise UnsupportedGraphError(
                f"{type(model).__name__}.{stock.__name__} is Keras 3's, which does not run in a "
                "graph. Build the model with tf_keras (where TF_USE_LEGACY_KERAS=1 is set, "
                "tf.keras is tf_keras), or call the model, take tf.gradients of its loss, apply "
                "them with an optimizer and run that in the distributed session."
            )

        return refuse


def _unsupported_optimizer(keras: keras_internals.Keras2, optimizer: Any) -> UnsupportedGraphError:
    kind = f"{type(optimizer).__module__.partition('.')[0]}'s {type(optimizer).__name__}"
    return UnsupportedGraphError(
        f"model.compile(optimizer={kind}): Keras cannot train a model of a graph with it. Use a "
        f"string ('adam'), an optimizer of {keras.name}.optimizers.legacy or one of "
        "tf.compat.v1.train. In a training loop of your own, tf.gradients and apply_gradients of "
        "any optimizer work."
    )
