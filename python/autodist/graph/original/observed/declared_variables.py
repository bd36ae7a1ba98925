"""The variables that a graph's collections list, and what initialises them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def variables_of(graph: Any) -> list[Any]:
    """The global and local variables of a graph, each once, as its collections list them."""
    keys = tf.compat.v1.GraphKeys
    found = graph.get_collection(keys.GLOBAL_VARIABLES) + graph.get_collection(keys.LOCAL_VARIABLES)
    return list({id(v): v for v in found if hasattr(v, "initializer")}.values())


def initializer_op(variable: Any) -> Any:
    """The op that initialises a variable.

    `tf.compat.v1.train.warm_start` leaves the result of an assignment there.
    """
    initializer = variable.initializer
    return initializer if isinstance(initializer, tf.Operation) else initializer.op
