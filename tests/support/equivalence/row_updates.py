"""Small programs that update variables with something that depends on the batch.

Each takes its own placeholders, so that many can be in one graph, and returns what to run and what to compare.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from support.equivalence import training

tf1 = tf.compat.v1
ROWS = 16
SPLIT, WHOLE, CHOSEN = "split", "whole", "chosen"
"""How an update is made: once, and the batch is split; the batch is not split; per replica, as the variable declares;
with statistics or random numbers of each replica, as is documented."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The placeholders of one program: rows of numbers, distinct row numbers, classes, words."""

    x: Any
    ids: Any
    classes: Any
    words: Any
    scalar: Any

    def feed(self, rows: int, seed: int) -> dict[Any, Any]:
        """A batch of so many rows."""
        random = np.random.default_rng(seed)
        return {
            self.x: random.normal(size=(rows, 3)),
            self.ids: random.permutation(ROWS)[:rows],
            self.classes: random.integers(0, 4, rows),
            self.words: [f"w{i}".encode() for i in random.integers(0, 9, rows)],
            self.scalar: seed % 2 == 0,
        }


Program = Callable[[Inputs], "tuple[Any, Any]"]
PROGRAMS: dict[str, tuple[Program, str]] = {}


def program(how: str = SPLIT, *, v2: bool | None = None) -> Callable[[Program], Program]:
    """Registers a program; `v2`: with v1 or v2 control flow."""

    def register(build: Program) -> Program:
        name = build.__name__
        if v2 is None:
            PROGRAMS[name] = build, how
            return build

        def with_control_flow(inputs: Inputs) -> tuple[Any, Any]:
            with training.control_flow(v2):
                return build(inputs)

        PROGRAMS[f"{name}_{'v2' if v2 else 'v1'}"] = with_control_flow, how
        return build

    return register


def build(name: str) -> tuple[Inputs, Any, Any]:
    """The placeholders of a program, what it updates, and the op to run."""
    with tf1.variable_scope(name):
        inputs = Inputs(
            tf1.placeholder(tf.float64, [None, 3], "x"),
            tf1.placeholder(tf.int32, [None], "ids"),
            tf1.placeholder(tf.int32, [None], "classes"),
            tf1.placeholder(tf.string, [None], "words"),
            tf1.placeholder(tf.bool, [], "scalar"),
        )
        updated, update = PROGRAMS[name][0](inputs)
    return inputs, updated, tf.group(update)


def variable(name: str, *shape: int, value: float = 0.0, dtype: Any = tf.float64, **kw: Any) -> Any:
    initial = tf.constant(np.full(shape, value), dtype)
    return tf1.get_variable(name, initializer=initial, trainable=False, **kw)


def trained(inputs: Inputs) -> Any:
    """A loss that is trained with the batch."""
    w = tf1.get_variable("w", initializer=tf.constant([[0.5], [-0.3], [0.2]], tf.float64))
    loss = tf.reduce_mean(tf.square(tf.tanh(inputs.x @ w) - 0.3))
    return w, loss, tf1.train.GradientDescentOptimizer(0.1).minimize(loss)


# Rows of a table.


@program()
def scatter_nd_update(p: Inputs) -> Any:
    w, _, train = trained(p)
    bank = variable("bank", ROWS, 3)
    return [bank, w], [train, tf1.scatter_nd_update(bank, p.ids[:, None], p.x)]


@program()
def scatter_nd_add(p: Inputs) -> Any:
    bank = variable("bank", 4, 3)
    w, _, train = trained(p)
    return [bank, w], [train, tf1.scatter_nd_add(bank, p.classes[:, None], p.x)]


@program()
def scatter_nd_sub(p: Inputs) -> Any:
    bank = variable("bank", 4)
    return bank, tf1.scatter_nd_sub(bank, p.classes[:, None], tf.reduce_sum(p.x, 1))


@program()
def scatter_nd_method(p: Inputs) -> Any:
    bank = variable("bank", ROWS, 3)
    return bank, bank.scatter_nd_update(p.ids[:, None], p.x * 2.0)


def register_scatter(kind: str) -> None:
    def scatter(p: Inputs) -> Any:
        w, _, train = trained(p)
        table = variable("table", ROWS, 3, value=1.5)
        op = getattr(tf1, f"scatter_{kind}")
        return [table, w], [train, op(table, p.ids, tf.square(p.x) + 0.5)]

    scatter.__name__ = f"scatter_{kind}"
    program()(scatter)


for KIND in ("update", "add", "sub", "mul", "div", "min", "max"):
    register_scatter(KIND)


@program(WHOLE)
def scatter_in_a_graph_that_trains_nothing(p: Inputs) -> Any:
    table = variable("table", ROWS, 3)
    return table, tf1.scatter_add(table, p.classes, p.x)


@program()
def scatter_a_scalar(p: Inputs) -> Any:
    _, _, train = trained(p)
    counts = variable("counts", 4)
    return counts, [train, tf1.scatter_add(counts, p.classes, tf.ones_like(p.x[:, 0]))]


@program()
def assign_a_row(p: Inputs) -> Any:
    v = variable("v", 4, 3)
    return v, v[1].assign(tf.reduce_mean(p.x, 0))


@program()
def assign_a_slice(p: Inputs) -> Any:
    v = variable("v", 4, 3)
    return v, v[1:3, :2].assign(
        tf.reshape(tf.reduce_max(p.x), [1, 1]) * tf.ones([2, 2], tf.float64)
    )


@program()
def assign_rows_at_the_end(p: Inputs) -> Any:
    v = variable("v", ROWS, 3)
    return v, v[ROWS - tf.shape(p.x)[0] :].assign(p.x)


@program()
def tensor_scatter_update(p: Inputs) -> Any:
    v = variable("v", ROWS, 3)
    return v, v.assign(tf.tensor_scatter_nd_update(v, p.ids[:, None], p.x))


@program()
def tensor_scatter_add(p: Inputs) -> Any:
    v = variable("v", 4, 3)
    return v, v.assign(tf.tensor_scatter_nd_add(v, p.classes[:, None], p.x))


@program()
def tensor_scatter_max(p: Inputs) -> Any:
    v = variable("v", 4, 3)
    return v, v.assign(tf.tensor_scatter_nd_max(v, p.classes[:, None], p.x))


# Sums, counts, histograms.


@program()
def one_hot_sum(p: Inputs) -> Any:
    counts = variable("counts", 4)
    return counts, counts.assign_add(tf.reduce_sum(tf.one_hot(p.classes, 4, dtype=tf.float64), 0))


@program()
def one_hot_product(p: Inputs) -> Any:
    sums = variable("sums", 4, 3)
    hot = tf.one_hot(p.classes, 4, dtype=tf.float64)
    return sums, sums.assign_add(tf.matmul(hot, p.x, transpose_a=True))


@program()
def unsorted_segment_sum(p: Inputs) -> Any:
    sums = variable("sums", 4, 3)
    return sums, sums.assign_add(tf.math.unsorted_segment_sum(p.x, p.classes, 4))


@program()
def unsorted_segment_mean(p: Inputs) -> Any:
    means = variable("means", 4, 3)
    return means, means.assign(tf.math.unsorted_segment_mean(p.x, p.classes, 4))


@program()
def unsorted_segment_max(p: Inputs) -> Any:
    largest = variable("largest", 4, 3, value=-9.0)
    made = tf.math.unsorted_segment_max(p.x, p.classes, 4)
    return largest, largest.assign(tf.maximum(largest, made))


@program()
def sorted_segment_sum(p: Inputs) -> Any:
    sums = variable("sums", 4, 3)
    order = tf.argsort(p.classes, stable=True)
    made = tf.math.segment_sum(tf.gather(p.x, order), tf.gather(p.classes, order))
    return sums, sums.assign_add(tf.pad(made, [[0, 4 - tf.shape(made)[0]], [0, 0]]))


@program()
def sum_of_rows(p: Inputs) -> Any:
    total = variable("total", 3)
    return total, total.assign_add(tf.reduce_sum(p.x, 0))


@program()
def scalar_sum(p: Inputs) -> Any:
    total = variable("total")
    return total, total.assign_sub(tf.reduce_sum(tf.square(p.x)))


@program()
def counter(p: Inputs) -> Any:
    _, _, train = trained(p)
    steps = variable("steps", dtype=tf.int64)
    return steps, [train, steps.assign_add(1)]


@program()
def counter_of_rows(p: Inputs) -> Any:
    seen = variable("seen", dtype=tf.int32)
    return seen, seen.assign_add(tf.shape(p.x)[0])


@program()
def counter_of_elements(p: Inputs) -> Any:
    seen = variable("seen", dtype=tf.int64)
    return seen, seen.assign_add(tf.size(p.x, out_type=tf.int64))


@program()
def counter_of_a_mask(p: Inputs) -> Any:
    seen = variable("seen")
    return seen, seen.assign_add(tf.reduce_sum(tf.cast(p.x[:, 0] > 0, tf.float64)))


@program()
def histogram(p: Inputs) -> Any:
    counts = variable("counts", 5, dtype=tf.int32)
    made = tf.histogram_fixed_width(p.x, tf.constant([-1.0, 1.0], tf.float64), 5)
    return counts, counts.assign_add(made)


@program()
def bincount(p: Inputs) -> Any:
    counts = variable("counts", 4, dtype=tf.int32)
    return counts, counts.assign_add(tf.math.bincount(p.classes, minlength=4, maxlength=4))


@program()
def hash_counts(p: Inputs) -> Any:
    counts = variable("counts", 7)
    buckets = tf.strings.to_hash_bucket_fast(p.words, 7)
    ones = tf.ones_like(p.x[:, 0])
    return counts, counts.assign_add(tf.scatter_nd(buckets[:, None], ones, [7]))


@program()
def scatter_matrix(p: Inputs) -> Any:
    c = variable("c", 3, 3)
    return c, c.assign_add(tf.einsum("bi,bj->ij", p.x, p.x))


@program()
def covariance(p: Inputs) -> Any:
    c = variable("c", 3, 3)
    centred = p.x - tf.reduce_mean(p.x, 0)
    return c, c.assign(tf.matmul(centred, centred, transpose_a=True))


# Extremes, bests, orders.


@program()
def best_loss(p: Inputs) -> Any:
    w, loss, train = trained(p)
    best = variable("best", value=9.0)
    with tf.control_dependencies([loss]):
        return [best, w], [train, best.assign(tf.minimum(best, loss))]


@program()
def running_maximum(p: Inputs) -> Any:
    largest = variable("largest", 3, value=-9.0)
    return largest, largest.assign(tf.maximum(largest, tf.reduce_max(p.x, 0)))


@program()
def running_minimum_of_ids(p: Inputs) -> Any:
    least = variable("least", value=99, dtype=tf.int32)
    return least, least.assign(tf.minimum(least, tf.reduce_min(p.ids)))


@program()
def any_of_the_rows(p: Inputs) -> Any:
    seen = variable("seen", dtype=tf.bool)
    return seen, seen.assign(seen | tf.reduce_any(p.x > 1.5))


@program()
def largest_rows(p: Inputs) -> Any:
    v = variable("v", 1)
    return v, v.assign(tf.math.top_k(p.x[:, 0], 1).values)


@program()
def median(p: Inputs) -> Any:
    v = variable("v")
    ordered = tf.sort(p.x[:, 1])
    return v, v.assign(ordered[tf.shape(ordered)[0] // 2])


@program()
def last_row(p: Inputs) -> Any:
    v = variable("v", 3)
    return v, v.assign(p.x[-1])


@program()
def first_word(p: Inputs) -> Any:
    v = tf1.get_variable("v", initializer=tf.constant("none"), trainable=False)
    return v, v.assign(p.words[0])


@program()
def last_of_a_running_sum(p: Inputs) -> Any:
    v = variable("v", 3)
    return v, v.assign(tf.cumsum(p.x)[-1])


@program()
def distinct_values(p: Inputs) -> Any:
    v = variable("v", dtype=tf.int32)
    return v, v.assign_add(tf.size(tf.unique(p.classes).y))


@program()
def masked_rows(p: Inputs) -> Any:
    v = variable("v", 3)
    kept = tf.boolean_mask(p.x, p.classes > 1)
    return v, v.assign_add(tf.reduce_sum(kept, 0))


@program()
def partitioned_rows(p: Inputs) -> Any:
    v = variable("v", 3)
    parts = tf.dynamic_partition(p.x, p.classes % 2, 2)
    return v, v.assign_add(tf.reduce_sum(parts[1], 0))


@program()
def pairs_of_rows(p: Inputs) -> Any:
    v = variable("v")
    return v, v.assign(tf.reduce_max(tf.matmul(p.x, p.x, transpose_b=True)))


@program()
def normalised_rows(p: Inputs) -> Any:
    v = variable("v", 3)
    return v, v.assign_add(tf.reduce_sum(p.x / tf.reduce_max(tf.abs(p.x)), 0))


@program()
def product_of_rows(p: Inputs) -> Any:
    v = variable("v", 3, value=1.0)
    return v, v.assign(v * tf.reduce_prod(p.x, 0))


@program()
def spread(p: Inputs) -> Any:
    v = variable("v", 3)
    return v, v.assign(tf.math.reduce_std(p.x, 0))


@program()
def log_of_a_sum(p: Inputs) -> Any:
    v = variable("v")
    return v, v.assign(tf.reduce_logsumexp(p.x))


@program()
def weighted_mean(p: Inputs) -> Any:
    v = variable("v", 3)
    weights = tf.cast(p.classes, tf.float64)[:, None]
    made = tf.reduce_sum(p.x * weights, 0) / (tf.reduce_sum(weights) + 1.0)
    return v, v.assign(0.9 * v + 0.1 * made)


@program()
def masked_mean_loss(p: Inputs) -> Any:
    v = variable("v", dtype=tf.float32)
    weights = tf.cast(p.classes, tf.float32)
    loss = tf1.losses.mean_squared_error(p.x[:, 0], p.x[:, 1], weights=weights)
    return v, v.assign_sub((v - loss) * 0.1)


# Memory banks.


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


# Branches, loops, functions.


@program(v2=False)
@program(v2=True)
def in_a_branch(p: Inputs) -> Any:
    v, mean = variable("v", 3), tf.reduce_mean(p.x, 0)
    return v, tf.cond(p.scalar, lambda: v.assign_add(mean), lambda: v.assign_sub(0.5 * mean))


@program(v2=False)
@program(v2=True)
def in_a_branch_of_the_loss(p: Inputs) -> Any:
    v, loss = variable("v", value=9.0), tf.reduce_mean(tf.square(p.x))
    return v, tf.cond(loss < v, lambda: v.assign(loss), lambda: v.assign_add(1.0))


@program(v2=False)
@program(v2=True)
def of_constants_by_the_loss(p: Inputs) -> Any:
    v = variable("v")
    high = tf.reduce_sum(p.x) > 0
    made = tf.cond(
        high, lambda: tf.constant(1.0, tf.float64), lambda: tf.constant(-0.5, tf.float64)
    )
    return v, v.assign_add(made)


@program(v2=False)
@program(v2=True)
def of_a_branch(p: Inputs) -> Any:
    v = variable("v", 3)
    rows = tf.cond(p.scalar, lambda: p.x * 2.0, lambda: p.x + 1.0)
    return v, v.assign_add(tf.reduce_sum(tf.square(rows), 0))


@program(v2=False)
@program(WHOLE, v2=True)
def average_that_normalises_in_a_branch(p: Inputs) -> Any:
    v, w = variable("v", 3), tf1.get_variable("w", initializer=tf.ones([3, 1], tf.float64))
    batch_mean = tf.reduce_mean(p.x, 0)

    def of_the_batch() -> Any:
        with tf.control_dependencies([v.assign(0.9 * v + 0.1 * batch_mean)]):
            return tf.identity(batch_mean)

    mean = tf.cond(p.scalar, of_the_batch, v.read_value)
    loss = tf.reduce_mean((p.x - tf.stop_gradient(mean)) @ w)
    return [v], tf1.train.GradientDescentOptimizer(0.1).minimize(loss)


@program(WHOLE, v2=False)
@program(v2=True)
def in_a_loop(p: Inputs) -> Any:
    v, largest = variable("v"), tf.reduce_max(p.x)

    def step(i: Any) -> Any:
        with tf.control_dependencies([v.assign_add(largest)]):
            return i + 1

    return v, tf.while_loop(lambda i: i < 3, step, [0])


@program(v2=False)
@program(v2=True)
def of_a_loop(p: Inputs) -> Any:
    v = variable("v", 3)
    made = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(y + p.x)), [0, p.x])[1]
    return v, v.assign_add(tf.reduce_sum(made, 0))


@program(v2=False)
@program(v2=True)
def of_mapped_rows(p: Inputs) -> Any:
    v = variable("v")
    return v, v.assign_add(tf.reduce_max(tf.map_fn(tf.reduce_sum, p.x)))


@program()
def in_a_function(p: Inputs) -> Any:
    v = variable("v", 3)

    @tf.function
    def update(rows: Any) -> Any:
        v.assign_add(tf.reduce_sum(tf.sort(rows, 0)[:1], 0))
        return tf.constant(1.0)

    return v, update(p.x)


@program()
def of_a_function(p: Inputs) -> Any:
    v = variable("v", 3)
    compute = tf.function(lambda rows: tf.sort(rows, 0)[0] * (1.0 + v))
    return v, v.assign(compute(p.x))


@program(WHOLE)
def function_that_returns_rows(p: Inputs) -> Any:
    v, total = variable("v", 3), variable("total")

    @tf.function
    def update(rows: Any) -> Any:
        v.assign_add(tf.reduce_max(rows, 0))
        return rows * 2.0

    return [v, total], total.assign(tf.reduce_max(update(p.x)))


@program(WHOLE)
def of_a_python_function(p: Inputs) -> Any:
    v = variable("v", 3)
    made = tf1.py_func(lambda rows: np.median(rows, 0), [p.x], tf.float64)
    return v, v.assign_add(tf.ensure_shape(made, [3]))


@program(WHOLE)
def generator_of_random_numbers(p: Inputs) -> Any:
    state = tf1.get_variable("state", initializer=tf.constant([1, 2, 3], tf.int64), trainable=False)
    seen = variable("seen")
    drawn = tf.raw_ops.StatefulStandardNormalV2(
        resource=state.handle,
        algorithm=tf.constant(1, tf.int64),
        shape=tf.shape(p.x, out_type=tf.int64),
        dtype=tf.float64,
    )
    return [state, seen], seen.assign_add(tf.reduce_sum(tf.abs(drawn)))


# What the user or the guide says.


@program(WHOLE)
def first_copy(p: Inputs) -> Any:
    how = tf.VariableAggregation.ONLY_FIRST_REPLICA
    v = variable("v", aggregation=how)
    made = tf1.py_func(lambda rows: rows[0, 0], [p.x], tf.float64)
    return v, v.assign(tf.ensure_shape(made, []))


@program()
def batch_normalisation(p: Inputs) -> Any:
    mean, var = variable("mean", 3), variable("var", 3, value=1.0)
    batch_mean, batch_var = tf.nn.moments(p.x, [0])
    normal = tf.nn.batch_normalization(p.x, batch_mean, batch_var, None, None, 1e-3)
    updates = [mean.assign(0.9 * mean + 0.1 * batch_mean), var.assign(0.9 * var + 0.1 * batch_var)]
    return [mean, var], [*updates, tf.reduce_mean(normal)]


@program(CHOSEN)
def noise_for_each_row(p: Inputs) -> Any:
    v = variable("v", 3)
    noise = tf.random.normal(tf.shape(p.x), stddev=1e-12, dtype=tf.float64, seed=3)
    return v, v.assign_add(tf.reduce_mean(p.x + noise, 0))
