"""Training graphs of any size, of the shapes that cost a transformation in different ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1


def deep(units: int) -> tuple[Any, Any]:
    """Many layers, each with normalisation; Adam."""
    x, y = _placeholders([None, 8], [None, 1])
    hidden = x
    for i in range(units):
        dense = hidden @ _variable(f"w_{i}", [8, 8]) + _variable(f"b_{i}", [8])
        mean, variance = tf.nn.moments(dense, [-1], keepdims=True)
        normed = (dense - mean) * tf.math.rsqrt(variance + 1e-6) * _variable(f"scale_{i}", [8])
        hidden = hidden + tf.nn.relu(normed + _variable(f"offset_{i}", [8]))
    loss = tf.reduce_mean(tf.square(hidden @ _variable("out", [8, 1]) - y))
    return loss, tf1.train.AdamOptimizer(0.001).minimize(loss)


def bert(units: int) -> tuple[Any, Any]:
    """Attention with dropout, an embedding, clipping by global norm, a schedule."""
    ids, y = _placeholders([None, 4], [None, 1], tf.int32)
    hidden = tf.nn.embedding_lookup(_variable("words", [50, 8]), ids)

    def dense(x: Any, name: str) -> Any:
        return tf.tensordot(x, _variable(f"{name}_w", [8, 8]), 1) + _variable(f"{name}_b", [8])

    def heads(x: Any) -> Any:
        return tf.transpose(tf.reshape(x, [-1, 4, 2, 4]), [0, 2, 1, 3])

    for i in range(units):
        query, key, value = (heads(dense(hidden, f"{part}_{i}")) for part in "qkv")
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) / 2.0)
        seen = tf1.nn.dropout(weights, rate=0.1) @ value
        seen = tf.reshape(tf.transpose(seen, [0, 2, 1, 3]), [-1, 4, 8])
        hidden = tf.tanh(hidden + dense(seen, f"o_{i}"))
        hidden = hidden + dense(tf.nn.gelu(dense(hidden, f"wide_{i}")), f"narrow_{i}")
    loss = tf.reduce_mean(tf.square(dense(hidden[:, 0], "class")[:, :1] - y))
    step = tf1.train.get_or_create_global_step()
    variables = tf1.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf1.gradients(loss, variables), 1.0)
    optimizer = tf1.train.AdamOptimizer(tf1.train.polynomial_decay(1e-3, step, 1000))
    return loss, optimizer.apply_gradients(zip(gradients, variables, strict=True), step)


def wide(units: int) -> tuple[Any, Any]:
    """Many embeddings side by side, with sparse gradients; Adagrad."""
    ids, y = _placeholders([None, units], [None, 1], tf.int32)
    columns = [
        tf.nn.embedding_lookup(_variable(f"table_{i}", [20, 2]), ids[:, i]) for i in range(units)
    ]
    hidden = tf.nn.relu(tf.concat(columns, 1) @ _variable("w", [2 * units, 8]))
    loss = tf.reduce_mean(tf.square(hidden @ _variable("out", [8, 1]) - y))
    return loss, tf1.train.AdagradOptimizer(0.1).minimize(loss)


def unrolled(units: int) -> tuple[Any, Any]:
    """An LSTM written out step by step: few variables, used often."""
    x, y = _placeholders([None, units, 3], [None, 1])
    kernel, bias = _variable("kernel", [9, 24]), _variable("bias", [24])
    cell = hidden = tf.zeros([tf.shape(x)[0], 6])
    for t in range(units):
        i, j, f, o = tf.split(tf.concat([x[:, t], hidden], 1) @ kernel + bias, 4, 1)
        cell = cell * tf.sigmoid(f) + tf.sigmoid(i) * tf.tanh(j)
        hidden = tf.tanh(cell) * tf.sigmoid(o)
    loss = tf.reduce_mean(tf.square(hidden @ _variable("out", [6, 1]) - y))
    return loss, tf1.train.AdamOptimizer(0.01).minimize(loss)


def keras(units: int) -> tuple[Any, Any]:
    """Many layers, updated by an optimizer of Keras: assignments of elementwise arithmetic."""
    x, y = _placeholders([None, 8], [None, 1])
    variables, hidden = [], x
    for i in range(units):
        w = tf.Variable(np.full((8, 8), 0.1, np.float32), name=f"w_{i}")
        b = tf.Variable(np.zeros(8, np.float32), name=f"b_{i}")
        variables += [w, b]
        hidden = hidden + tf.nn.relu(hidden @ w + b)
    loss = tf.reduce_mean(tf.square(tf.reduce_mean(hidden, 1, keepdims=True) - y))
    gradients = tf.gradients(loss, variables)
    train = tf.optimizers.Adam(0.001).apply_gradients(zip(gradients, variables, strict=True))
    return loss, train


MODELS = {"deep": deep, "bert": bert, "wide": wide, "unrolled": unrolled, "keras": keras}


def units_for(name: str, nodes: int) -> int:
    """How many units give a graph of about `nodes` nodes."""
    few, more = (_count(name, units) for units in (4, 8))
    return max(1, round((nodes - few) / ((more - few) / 4)) + 4)


def _count(name: str, units: int) -> int:
    with tf.Graph().as_default() as graph:
        MODELS[name](units)
        return len(graph.get_operations())


def _placeholders(x: list[Any], y: list[Any], dtype: Any = tf.float32) -> tuple[Any, Any]:
    return tf1.placeholder(dtype, x, "x"), tf1.placeholder(tf.float32, y, "y")


def _variable(name: str, shape: list[int]) -> Any:
    initializer = tf1.random_normal_initializer(stddev=0.1)
    return tf1.get_variable(name, shape, tf.float32, initializer, use_resource=True)
