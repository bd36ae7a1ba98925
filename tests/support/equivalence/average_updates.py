"""Updates of memory banks, moving averages and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from support.equivalence.update_programs import ROWS, Inputs, program, trained, variable

tf1 = tf.compat.v1


@program()
def memory_bank(p: Inputs) -> Any:
    w, _, train = trained(p)
    bank = variable("bank", ROWS, 3)
    features = tf.nn.l2_normalize(tf.tanh(p.x), 1)
    shifted = tf.concat([bank[tf.shape(features)[0] :], tf.stop_gradient(features)], 0)
    return [bank, w], [train, bank.assign(shifted)]


@program()
def ring_buffer(p: Inputs) -> Any:
    bank, place = variable("bank", ROWS, 3), variable("place", dtype=tf.int32)
    where = (place + tf.range(tf.shape(p.x)[0])) % ROWS
    write = tf1.scatter_nd_update(bank, where[:, None], p.x)
    with tf.control_dependencies([write]):
        return [bank, place], place.assign((place + tf.shape(p.x)[0]) % ROWS)


@program()
def vector_quantiser(p: Inputs) -> Any:
    start = np.random.default_rng(1).normal(size=(4, 3))
    book = tf1.get_variable("book", initializer=tf.constant(start), trainable=False)
    count, total = variable("count", 4, value=1.0), variable("total", 4, 3)
    distances = tf.reduce_sum(tf.square(p.x[:, None] - book[None]), 2)
    hot = tf.one_hot(tf.argmin(distances, 1), 4, dtype=tf.float64)
    new_count = count.assign(0.9 * count + 0.1 * tf.reduce_sum(hot, 0))
    new_total = total.assign(0.9 * total + 0.1 * tf.matmul(hot, p.x, transpose_a=True))
    size = tf.reduce_sum(new_count)
    smooth = (new_count + 1e-5) / (size + 4e-5) * size
    return [book, count, total], book.assign(new_total / smooth[:, None])


# Moving averages.


@program()
def moving_average(p: Inputs) -> Any:
    v = variable("v", 3)
    return v, v.assign_sub((v - tf.reduce_mean(p.x, 0)) * 0.1)


@program()
def moving_average_read_by_the_model(p: Inputs) -> Any:
    v, total = variable("v", 3), variable("total", 3)
    used = total.assign_add(tf.reduce_sum(tf.tanh(p.x - v), 0))
    with tf.control_dependencies([used]):
        return [v, total], v.assign(0.9 * v + 0.1 * tf.reduce_mean(p.x, 0))


@program()
def exponential_moving_average(p: Inputs) -> Any:
    w, loss, train = trained(p)
    average = tf1.train.ExponentialMovingAverage(0.9, zero_debias=True)
    with tf.control_dependencies([train]):
        applied = average.apply([w, loss])
    return [w, average.average(w), average.average(loss)], applied


@program()
def running_mean_and_variance(p: Inputs) -> Any:
    mean, var, count = (
        variable("mean", 3),
        variable("var", 3, value=1.0),
        variable("count", value=1.0),
    )
    rows = tf.cast(tf.shape(p.x)[0], tf.float64)
    batch_mean, batch_var = tf.nn.moments(p.x, [0])
    total, delta = count + rows, batch_mean - mean
    m2 = var * count + batch_var * rows + tf.square(delta) * count * rows / total
    new_mean, new_var = mean + delta * rows / total, m2 / total
    with tf.control_dependencies([new_mean, new_var, total]):
        updates = [mean.assign(new_mean), var.assign(new_var), count.assign(total)]
    return [mean, var, count], updates


@program()
def moving_norm_of_the_gradient(p: Inputs) -> Any:
    w = tf1.get_variable("w", initializer=tf.ones([3, 1], tf.float64))
    norm = variable("norm")
    gradient = tf.gradients(tf.reduce_mean(tf.square(p.x @ w)), w)[0]
    return norm, norm.assign(0.9 * norm + 0.1 * tf.norm(gradient))


@program()
def gradient_accumulation(p: Inputs) -> Any:
    w = tf1.get_variable("w", initializer=tf.ones([3, 1], tf.float64))
    sums = variable("sums", 3, 1)
    gradient = tf.gradients(tf.reduce_mean(tf.square(p.x @ w)), w)[0]
    return sums, sums.assign_add(gradient)


@program()
def gradient_with_respect_to_the_batch(p: Inputs) -> Any:
    w = tf1.get_variable("w", initializer=tf.ones([3, 1], tf.float64))
    sums = variable("sums", 3)
    gradient = tf.gradients(tf.reduce_mean(tf.square(p.x @ w)), p.x)[0]
    return sums, sums.assign_add(tf.reduce_sum(tf.abs(gradient), 0))


@program()
def learning_rate_of_the_loss(p: Inputs) -> Any:
    w = tf1.get_variable("w", initializer=tf.ones([3, 1], tf.float64))
    loss = tf.reduce_mean(tf.square(p.x @ w))
    rate = 0.1 / (1.0 + loss)
    return w, tf1.train.MomentumOptimizer(rate, 0.9).minimize(loss)


@program()
def several_updates_in_order(p: Inputs) -> Any:
    v = variable("v", 3)
    with tf.control_dependencies([v.assign_add(tf.reduce_sum(p.x, 0))]):
        second = v.assign(tf.maximum(v.read_value(), tf.reduce_min(p.x, 0)))
    with tf.control_dependencies([second]):
        return v, v[0].assign(tf.reduce_mean(p.x))


@program()
def through_a_layer(p: Inputs) -> Any:
    w = tf1.get_variable("w", initializer=tf.ones([3, 4], tf.float64) * 0.3)
    v = variable("v", 2, 2)
    hidden = tf.nn.softmax(tf.nn.relu(tf.nn.bias_add(p.x @ w, [0.1, 0.2, 0.3, 0.4])))
    heads = tf.transpose(tf.reshape(hidden, [-1, 2, 2]), [0, 2, 1])
    mixed = tf.concat([heads[:, :1], heads[:, 1:] * 2.0], 1)
    rows = tf.reshape(mixed, [tf.shape(p.x)[0], 4])
    return v, v.assign_add(tf.reshape(tf.reduce_mean(tf.squeeze(rows[:, None], [1]), 0), [2, 2]))


@program()
def embedding_of_the_batch(p: Inputs) -> Any:
    table = tf1.get_variable("table", initializer=np.arange(12.0).reshape(4, 3))
    v = variable("v", 3)
    return v, v.assign_add(tf.reduce_mean(tf.nn.embedding_lookup(table, p.classes), 0))


# Metrics.


def register_metric(name: str, compute: Callable[[Inputs], Any]) -> None:
    def metric(p: Inputs) -> Any:
        return compute(p)

    metric.__name__ = f"metric_{name}"
    program()(metric)


def is_positive(p: Inputs) -> Any:
    return p.x[:, 0] > 0


def score(p: Inputs) -> Any:
    return tf.sigmoid(p.x[:, 1])


METRICS: dict[str, Callable[[Inputs], Any]] = {
    "mean": lambda p: tf1.metrics.mean(p.x, tf.cast(p.classes, tf.float64)[:, None]),
    "mean_tensor": lambda p: tf1.metrics.mean_tensor(tf.reduce_mean(p.x, 0)),
    "accuracy": lambda p: tf1.metrics.accuracy(p.classes, p.ids % 4),
    "auc": lambda p: tf1.metrics.auc(is_positive(p), score(p), num_thresholds=20),
    "precision": lambda p: tf1.metrics.precision(is_positive(p), score(p) > 0.5),
    "recall_at_thresholds": lambda p: tf1.metrics.recall_at_thresholds(
        is_positive(p), score(p), [0.3, 0.6]
    ),
    "recall_at_k": lambda p: tf1.metrics.recall_at_k(tf.cast(p.classes % 3, tf.int64), p.x, 2),
    "mean_iou": lambda p: tf1.metrics.mean_iou(p.classes, p.ids % 4, 4),
    "mean_per_class_accuracy": lambda p: tf1.metrics.mean_per_class_accuracy(
        p.classes, p.ids % 4, 4
    ),
    "root_mean_squared_error": lambda p: tf1.metrics.root_mean_squared_error(p.x[:, 0], p.x[:, 1]),
    "mean_relative_error": lambda p: tf1.metrics.mean_relative_error(
        p.x[:, 0], p.x[:, 1], tf.abs(p.x[:, 2]) + 1.0
    ),
    "mean_cosine_distance": lambda p: tf1.metrics.mean_cosine_distance(
        tf.nn.l2_normalize(p.x, 1), tf.nn.l2_normalize(p.x + 1.0, 1), dim=1
    ),
    "percentage_below": lambda p: tf1.metrics.percentage_below(p.x[:, 0], 0.3),
    "false_negatives": lambda p: tf1.metrics.false_negatives(is_positive(p), score(p) > 0.5),
    "sensitivity": lambda p: tf1.metrics.sensitivity_at_specificity(
        is_positive(p), score(p), 0.5, num_thresholds=20
    ),
}
for NAME, COMPUTE in METRICS.items():
    register_metric(NAME, COMPUTE)
