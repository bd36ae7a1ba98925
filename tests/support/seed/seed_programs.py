"""The programs: built under `AutoDist`, and again by a process that knows only TensorFlow.

Nothing here imports `autodist`.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

tf1 = tf.compat.v1
TRAIN_OP_KEY = "train_op_of_the_user"
STEPS_BEFORE, STEPS_AFTER = 5, 3

OPTIMIZERS = {
    "v1_sgd": lambda: tf1.train.GradientDescentOptimizer(0.1),
    "v1_adam": lambda: tf1.train.AdamOptimizer(0.05),
    "v1_adagrad": lambda: tf1.train.AdagradOptimizer(0.1),
    "legacy_adam": lambda: tf_keras.optimizers.legacy.Adam(0.05),
    "keras2_sgd": lambda: tf_keras.optimizers.SGD(0.1, momentum=0.9),
    "keras2_adam": lambda: tf_keras.optimizers.Adam(0.05),
    "keras3_sgd": lambda: tf.optimizers.SGD(0.1),
    "keras3_adam": lambda: tf.optimizers.Adam(0.05),
}


@dataclasses.dataclass
class Model:
    """A model with its train op, in the default graph."""

    input_data: Any
    target: Any
    prediction: Any
    loss: Any
    train_op: Any


def trains_in_stock(optimizer: str) -> bool:
    """Whether a stock graph's `apply_gradients` returns an op that trains."""
    return not optimizer.startswith("keras")


def get_your_model(program: str, optimizer: str) -> Model:
    """Builds `program`, as the user's code does."""
    tf1.set_random_seed(7)
    return {"linear": build_linear, "embedding": build_embedding}[program](optimizer)


def build_linear(optimizer: str) -> Model:
    x = tf1.placeholder(tf.float64, [None, 6], "input_data")
    y = tf1.placeholder(tf.float64, [None, 3], "target")
    weights = tf.Variable(tf.fill([6, 3], tf.constant(0.5, tf.float64)), name="W")
    bias = tf.Variable(np.zeros(3), name="b")
    prediction = tf.add(x @ weights, bias, name="prediction")
    loss = tf.reduce_mean(tf.square(prediction - y), name="loss")
    train_op = make_train_op(loss, optimizer, [weights, bias])
    return Model(x, y, prediction, loss, train_op)


def build_embedding(optimizer: str) -> Model:
    ids = tf1.placeholder(tf.int64, [None, 2], "input_data")
    y = tf1.placeholder(tf.float64, [None, 3], "target")
    start = tf1.random_normal_initializer(seed=3, dtype=tf.float64)
    with tf1.variable_scope("model"):
        table = tf1.get_variable("table", [13, 4], tf.float64, start)
        weights = tf1.get_variable("w", [4, 3], tf.float64, start)
    hidden = tf.reduce_sum(tf.nn.embedding_lookup(table, ids), 1)
    prediction = tf.matmul(tf.tanh(hidden), weights, name="prediction")
    loss = tf.reduce_mean(tf.square(prediction - y), name="loss")
    train_op = make_train_op(loss, optimizer, [table, weights])
    return Model(ids, y, prediction, loss, train_op)


def make_train_op(loss: Any, optimizer: str, variables: list[Any]) -> Any:
    gradients = tf.gradients(loss, variables)
    pairs = zip(gradients, variables, strict=True)
    train_op = OPTIMIZERS[optimizer]().apply_gradients(pairs)
    if isinstance(train_op, (tf.Operation, tf.Tensor)):
        tf1.add_to_collection(TRAIN_OP_KEY, train_op)
    return train_op


def draw_batches(program: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batches of all steps; `STEPS_BEFORE` of them come before the save."""
    generator = np.random.default_rng(11)
    batches = []
    for rows in (8, 7, 3, 2, 9, 6, 1, 5)[: STEPS_BEFORE + STEPS_AFTER]:
        draw = {
            "linear": lambda rows=rows: generator.normal(size=(rows, 6)),
            "embedding": lambda rows=rows: generator.integers(0, 13, (rows, 2)),
        }
        batches.append((draw[program](), generator.normal(size=(rows, 3))))
    return batches
