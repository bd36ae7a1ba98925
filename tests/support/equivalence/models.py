"""Small models of many kinds, as functions of their variables and one batch.

A model is written down once and trained in a graph as well as eagerly.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Tensors = dict[str, Any]
tf1 = tf.compat.v1


@dataclasses.dataclass(frozen=True)
class Model:
    """A model.

    Attributes:
      variables: name to shape.
      inputs: name to (dtype, shape of one example); `float` stands for the dtype of the variables.
      predict: from variables and one batch to a tensor whose first dimension is the batch.
      loss: from variables, one batch and the prediction to a scalar.
      vocabulary: one more than the largest integer that is drawn.
      control_flow_v2: which control flow the graph is built with; None: TensorFlow's default.
    """

    variables: dict[str, tuple[int, ...]]
    inputs: dict[str, tuple[Any, tuple[int, ...]]]
    predict: Callable[[Tensors, Tensors], Any]
    loss: Callable[[Tensors, Tensors, Any], Any]
    vocabulary: int = 2
    control_flow_v2: bool | None = None

    def draw_initial_values(self, dtype: Any) -> dict[str, np.ndarray]:
        """The same values at each call."""
        generator = np.random.default_rng(1)
        return {
            name: (generator.normal(size=shape) * 0.4).astype(dtype.as_numpy_dtype)
            for name, shape in self.variables.items()
        }

    def draw_batch(self, generator: np.random.Generator, rows: int, dtype: Any) -> Tensors:
        """A batch of `rows` examples."""
        batch: Tensors = {}
        for name, (kind, shape) in self.inputs.items():
            if kind is bool:
                batch[name] = np.bool_(generator.integers(2))
            elif kind is int:
                batch[name] = generator.integers(0, self.vocabulary, (rows, *shape))
            else:
                batch[name] = generator.normal(size=(rows, *shape)).astype(dtype.as_numpy_dtype)
        return batch

    def placeholders(self, dtype: Any) -> Tensors:
        """One placeholder per input, of unknown batch size."""
        dtypes = {bool: tf.bool, int: tf.int64, float: dtype}
        return {
            name: tf1.placeholder(dtypes[kind], [] if kind is bool else [None, *shape], name)
            for name, (kind, shape) in self.inputs.items()
        }


def squared_error(_: Tensors, x: Tensors, predicted: Any) -> Any:
    return tf.reduce_mean(tf.square(predicted - x["y"]))


def cross_entropy(_: Tensors, x: Tensors, logits: Any) -> Any:
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=x["label"], logits=logits)
    return tf.reduce_mean(entropy)


def predict_linear(v: Tensors, x: Tensors) -> Any:
    return tf.linalg.matvec(x["x"], v["w"]) + v["b"]


def predict_mlp(v: Tensors, x: Tensors) -> Any:
    return tf.tanh(x["x"] @ v["w1"] + v["b1"]) @ v["w2"] + v["b2"]


def predict_conv(v: Tensors, x: Tensors) -> Any:
    hidden = tf.nn.relu(tf.nn.conv2d(x["x"], v["kernel"], 1, "SAME") + v["bias"])
    hidden = tf.nn.max_pool2d(hidden, 2, 2, "SAME")
    return tf.reshape(hidden, [-1, 3 * 3 * 4]) @ v["w"]


def predict_embedding(v: Tensors, x: Tensors) -> Any:
    rows = tf.nn.embedding_lookup(v["table"], x["ids"])
    return tf.tanh(tf.reduce_mean(rows, 1)) @ v["w"]


def predict_tied(v: Tensors, x: Tensors) -> Any:
    rows = tf.reduce_mean(tf.nn.embedding_lookup(v["table"], x["ids"]), 1)
    return tf.matmul(rows, v["table"], transpose_b=True)


def tied_loss(v: Tensors, x: Tensors, logits: Any) -> Any:
    return cross_entropy(v, x, logits) + 0.01 * tf.nn.l2_loss(v["table"])


def predict_lstm(v: Tensors, x: Tensors) -> Any:
    steps = tf.transpose(x["x"], [1, 0, 2])
    zeros = tf.zeros([tf.shape(x["x"])[0], 5], v["w"].dtype)
    state = tf.TensorShape([None, 5])

    def body(t: Any, cell: Any, hidden: Any) -> tuple[Any, Any, Any]:
        gates = tf.concat([tf.gather(steps, t), hidden], 1) @ v["kernel"] + v["bias"]
        i, j, f, o = tf.split(gates, 4, 1)
        cell = cell * tf.sigmoid(f) + tf.sigmoid(i) * tf.tanh(j)
        return t + 1, cell, tf.tanh(cell) * tf.sigmoid(o)

    _, _, hidden = tf.while_loop(
        lambda t, *_: t < 4, body, [0, zeros, zeros], [tf.TensorShape([]), state, state]
    )
    return hidden @ v["w"]


def predict_cond(v: Tensors, x: Tensors) -> Any:
    hidden = tf.tanh(x["x"] @ v["w1"])
    hidden = tf.cond(x["deep"], lambda: tf.tanh(hidden @ v["w2"]), lambda: hidden * 2.0)
    return hidden @ v["w3"]


def _lstm(*, control_flow_v2: bool) -> Model:
    return Model(
        variables={"kernel": (8, 20), "bias": (20,), "w": (5, 1)},
        inputs={"x": (float, (4, 3)), "y": (float, (1,))},
        predict=predict_lstm,
        loss=squared_error,
        control_flow_v2=control_flow_v2,
    )


def _cond(*, control_flow_v2: bool) -> Model:
    return Model(
        variables={"w1": (3, 6), "w2": (6, 6), "w3": (6, 1)},
        inputs={"x": (float, (3,)), "y": (float, (1,)), "deep": (bool, ())},
        predict=predict_cond,
        loss=squared_error,
        control_flow_v2=control_flow_v2,
    )


MODELS = {
    "linear": Model(
        variables={"w": (5,), "b": ()},
        inputs={"x": (float, (5,)), "y": (float, ())},
        predict=predict_linear,
        loss=squared_error,
    ),
    "mlp": Model(
        variables={"w1": (5, 7), "b1": (7,), "w2": (7, 2), "b2": (2,)},
        inputs={"x": (float, (5,)), "y": (float, (2,))},
        predict=predict_mlp,
        loss=squared_error,
    ),
    "conv": Model(
        variables={"kernel": (3, 3, 1, 4), "bias": (4,), "w": (36, 3)},
        inputs={"x": (float, (6, 6, 1)), "label": (int, ())},
        predict=predict_conv,
        loss=cross_entropy,
        vocabulary=3,
    ),
    "embedding": Model(
        variables={"table": (11, 4), "w": (4, 1)},
        inputs={"ids": (int, (3,)), "y": (float, (1,))},
        predict=predict_embedding,
        loss=squared_error,
        vocabulary=11,
    ),
    "tied": Model(
        variables={"table": (9, 4)},
        inputs={"ids": (int, (3,)), "label": (int, ())},
        predict=predict_tied,
        loss=tied_loss,
        vocabulary=9,
    ),
    "lstm_v1": _lstm(control_flow_v2=False),
    "lstm_v2": _lstm(control_flow_v2=True),
    "cond_v1": _cond(control_flow_v2=False),
    "cond_v2": _cond(control_flow_v2=True),
}
