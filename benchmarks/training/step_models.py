"""Small models of the kinds people train, as losses of one batch.

Written once, trained by every contestant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from training.variables import new_variable

tf1 = tf.compat.v1

Batch = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model.

    Attributes:
        inputs: Name to shape of one batch and, for integers, the number of values; 0 stands for
          floats.
        loss: From tensors by name to the mean loss over the batch; makes the variables by
          `tf1.get_variable`.
    """

    inputs: dict[str, tuple[tuple[int, ...], int]]
    loss: Callable[[Batch], Any]

    def draw_batch(self) -> dict[str, np.ndarray]:
        """A batch, the same at each call."""
        generator = np.random.default_rng(1)
        return {
            name: generator.integers(0, values, shape)
            if values
            else generator.normal(size=shape).astype(np.float32)
            for name, (shape, values) in self.inputs.items()
        }

    def placeholders(self) -> Batch:
        """One placeholder per input, of unknown batch size."""
        return {
            name: tf1.placeholder(tf.int64 if values else tf.float32, [None, *shape[1:]], name)
            for name, (shape, values) in self.inputs.items()
        }


def _squared_error(predicted: Any, batch: Batch) -> Any:
    return tf.reduce_mean(tf.square(predicted - batch["y"]))


def _cross_entropy(logits: Any, batch: Batch) -> Any:
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=batch["label"], logits=logits)
    return tf.reduce_mean(entropy)


def _dense(x: Any, name: str, inputs: int, outputs: int) -> Any:
    kernel = new_variable(f"{name}/kernel", [inputs, outputs])
    return tf.tensordot(x, kernel, 1) + new_variable(f"{name}/bias", [outputs], 0.0)


def _mlp(batch: Batch) -> Any:
    hidden = batch["x"]
    for i in range(3):
        hidden = tf.nn.relu(_dense(hidden, f"hidden_{i}", 512, 512))
    return _squared_error(_dense(hidden, "out", 512, 1), batch)


def _convnet(batch: Batch) -> Any:
    hidden, channels = batch["x"], 3
    for i, filters in enumerate((16, 32, 32)):
        kernel = new_variable(f"conv_{i}/kernel", [3, 3, channels, filters])
        hidden = tf.nn.conv2d(hidden, kernel, 1, "SAME")
        hidden = tf.nn.relu(hidden + new_variable(f"conv_{i}/bias", [filters], 0.0))
        hidden, channels = tf.nn.max_pool2d(hidden, 2, 2, "SAME"), filters
    return _cross_entropy(_dense(tf.reshape(hidden, [-1, 9 * 32]), "out", 9 * 32, 10), batch)


def _embedding(batch: Batch) -> Any:
    rows = tf.nn.embedding_lookup(new_variable("table", [50000, 32]), batch["ids"])
    hidden = tf.nn.relu(_dense(tf.reshape(rows, [-1, 320]), "hidden", 320, 64))
    return _squared_error(_dense(hidden, "out", 64, 1), batch)


def _lstm(batch: Batch) -> Any:
    steps = tf.transpose(batch["x"], [1, 0, 2])
    kernel, bias = new_variable("kernel", [96, 256]), new_variable("bias", [256], 0.0)
    zeros = tf.zeros([tf.shape(batch["x"])[0], 64])
    state = tf.TensorShape([None, 64])

    def body(t: Any, cell: Any, hidden: Any) -> tuple[Any, Any, Any]:
        gates = tf.concat([tf.gather(steps, t), hidden], 1) @ kernel + bias
        i, j, f, o = tf.split(gates, 4, 1)
        cell = cell * tf.sigmoid(f) + tf.sigmoid(i) * tf.tanh(j)
        return t + 1, cell, tf.tanh(cell) * tf.sigmoid(o)

    shapes = [tf.TensorShape([]), state, state]
    _, _, hidden = tf.while_loop(lambda t, *_: t < 16, body, [0, zeros, zeros], shapes)
    return _squared_error(_dense(hidden, "out", 64, 1), batch)


def _normed(x: Any, name: str) -> Any:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    scale, offset = (
        new_variable(f"{name}/scale", [64], 1.0),
        new_variable(f"{name}/offset", [64], 0.0),
    )
    return (x - mean) * tf.math.rsqrt(variance + 1e-6) * scale + offset


def _bert(batch: Batch) -> Any:
    def heads(x: Any, name: str) -> Any:
        return tf.transpose(tf.reshape(_dense(x, name, 64, 64), [-1, 32, 2, 32]), [0, 2, 1, 3])

    rows = tf.nn.embedding_lookup(new_variable("words", [1000, 64]), batch["ids"])
    hidden = rows + new_variable("positions", [32, 64])
    for i in range(2):
        query, key, value = (heads(hidden, f"layer_{i}/{part}") for part in ("q", "k", "v"))
        weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) / np.float32(np.sqrt(32)))
        seen = tf.reshape(tf.transpose(weights @ value, [0, 2, 1, 3]), [-1, 32, 64])
        hidden = _normed(hidden + _dense(seen, f"layer_{i}/out", 64, 64), f"layer_{i}/norm_1")
        wide = tf.nn.gelu(_dense(hidden, f"layer_{i}/wide", 64, 256))
        hidden = _normed(hidden + _dense(wide, f"layer_{i}/narrow", 256, 64), f"layer_{i}/norm_2")
    return _cross_entropy(_dense(hidden[:, 0], "class", 64, 2), batch)


MODELS = {
    "mlp": Model({"x": ((64, 512), 0), "y": ((64, 1), 0)}, _mlp),
    "convnet": Model({"x": ((32, 24, 24, 3), 0), "label": ((32,), 10)}, _convnet),
    "embedding": Model({"ids": ((256, 10), 50000), "y": ((256, 1), 0)}, _embedding),
    "lstm": Model({"x": ((32, 16, 32), 0), "y": ((32, 1), 0)}, _lstm),
    "bert": Model({"ids": ((8, 32), 1000), "label": ((8,), 2)}, _bert),
}
