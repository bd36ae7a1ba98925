"""The variables of the benchmarks' models, which start alike for every contestant."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

tf1 = tf.compat.v1


def new_variable(
    name: str, shape: list[int], start: float | None = None, *, stddev: float = 0.1
) -> Any:
    """A resource variable of floats: drawn by a seed of its own, or filled with `start`."""
    if start is None:
        initializer = tf1.random_normal_initializer(stddev=stddev, seed=1)
    else:
        initializer = tf1.constant_initializer(start)
    return tf1.get_variable(name, shape, tf.float32, initializer, use_resource=True)
