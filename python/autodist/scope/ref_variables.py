"""Lets programs written for ref variables use the resource variables of a scope in the same way.

| in the program | in the scope |
|---|---|
| `if v:`, `v or w`, `not v` | a variable is true, as any object is |
| `v.initialized_value()` | the variable's value, or, before it is initialised, its initial value |
| `isinstance(v, tf.compat.v1.Variable)` | true |
| `v._ref()` | refused; the message says what to write |
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from autodist.private_apis import tf_variables
from autodist.private_apis.patches import replaced


class RefVariables:
    """Lets the variables of one graph be used like ref variables.

    Args:
      graph: the graph of the scope.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """The context in which they work."""
        owner = tf_variables.BaseResourceVariable
        # As in TensorFlow 1. It cannot be taken back, and changes nothing else.
        tf.compat.v1.Variable.register(owner)
        with (
            replaced(owner, "__bool__", self._truth),
            replaced(owner, "initialized_value", self._initialized_value),
            replaced(owner, "_ref", _refused_reference),
        ):
            yield

    def _is_ours(self, variable: Any) -> bool:
        return getattr(variable.handle, "graph", None) is self._graph

    def _truth(self, stock: Callable[[Any], bool]) -> Callable[[Any], bool]:
        def truth(variable: Any) -> bool:
            is_here = tf.compat.v1.get_default_graph() is self._graph
            return True if self._is_ours(variable) and is_here else stock(variable)

        return truth

    def _initialized_value(self, stock: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def initialized_value(variable: Any) -> Any:
            if not self._is_ours(variable):
                return stock(variable)
            with tf.init_scope():
                return tf.compat.v1.cond(
                    tf.compat.v1.is_variable_initialized(variable),
                    variable.read_value,
                    lambda: variable.initial_value,
                )

        return initialized_value


def _refused_reference(stock: Any) -> Any:
    if stock is not None:
        return stock

    def refuse(variable: Any) -> Any:
        raise AttributeError(
            f"variable {variable.name!r} has no `_ref()`: in the scope of AutoDist it is a "
            "resource variable. Write the variable itself, or `read_value()` for its value."
        )

    return property(refuse)
