"""What programs are made of: weights, layers, optimizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tf_keras.api._v1 import keras as keras_v1

tf1 = tf.compat.v1
f64 = tf.float64
# `tf.layers` and `tf.nn.rnn_cell` of TensorFlow 1, whichever Keras `tf.keras` is.
layers = keras_v1.__internal__.legacy.layers
cells = keras_v1.__internal__.legacy.rnn_cell


def weight(name: str, shape: Sequence[int], scale: float = 0.5) -> Any:
    """A trained variable with values that do not depend on TensorFlow's random numbers."""
    seed = sum(map(ord, name)) + sum(shape)
    value = scale * np.random.RandomState(seed).randn(*shape)
    return tf1.get_variable(name, shape, f64, tf1.constant_initializer(value))


def initial(seed: int = 3) -> Any:
    """An initializer of layers and cells whose numbers are the same in each graph."""
    return tf1.random_uniform_initializer(-0.5, 0.5, seed, f64)


def dense(x: Any, units: int, name: str, activation: Callable[[Any], Any] | None = None) -> Any:
    """A fully connected layer on the last dimension of rows, or of any other known rank."""
    kernel = weight(f"{name}_kernel", [x.shape[-1], units])
    bias = tf1.get_variable(f"{name}_bias", [units], f64, tf1.zeros_initializer())
    y = tf.tensordot(x, kernel, 1) if x.shape.rank > 2 else tf.matmul(x, kernel)
    y = tf.nn.bias_add(y, bias)
    return y if activation is None else activation(y)


def sgd(loss: Any, rate: float = 0.1, variables: Any = None) -> Any:
    """Gradient descent, counted by the global step."""
    step = tf1.train.get_or_create_global_step()
    return tf1.train.GradientDescentOptimizer(rate).minimize(loss, step, variables)


def momentum(loss: Any, rate: float = 0.1, variables: Any = None) -> Any:
    """Gradient descent with momentum, counted by the global step."""
    step = tf1.train.get_or_create_global_step()
    return tf1.train.MomentumOptimizer(rate, 0.9).minimize(loss, step, variables)


def adam(loss: Any, rate: float = 0.05, variables: Any = None) -> Any:
    """Adam, counted by the global step."""
    step = tf1.train.get_or_create_global_step()
    return tf1.train.AdamOptimizer(rate).minimize(loss, step, variables)
