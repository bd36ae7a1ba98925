"""Updates of rows, and with sums, extremes and orders of the batch."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from support.equivalence.update_programs import ROWS, WHOLE, Inputs, program, trained, variable

tf1 = tf.compat.v1


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
