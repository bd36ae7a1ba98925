"""Values over the batch that are kept or fetched: metrics, moments, whitening, clusters."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed
from support.programs.parts import adam, dense, f64, layers, sgd, tf1, weight
from support.programs.registry import Built, program


def scored() -> tuple[Any, Any, Any, Any, Any]:
    x, y, w = fed([None, 4]), fed([None], tf.int64), fed([None])
    logits = dense(x, 3, "out")

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, 4), y: r.randint(0, 3, n), w: np.linspace(0.0, 2.0, n)}

    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    return y, w, logits, loss, feed


@program(tolerance=1e-5)
def metrics() -> Built:
    y, w, logits, loss, feed = scored()
    predicted = tf.argmax(logits, 1)
    yes = tf.equal(y, 1)
    m = tf1.metrics
    found = {
        "accuracy": m.accuracy(y, predicted, weights=w),
        "mean": m.mean(loss),
        "precision": m.precision(yes, tf.equal(predicted, 1)),
        "recall": m.recall(yes, tf.equal(predicted, 1)),
        "iou": m.mean_iou(y, predicted, 3),
        "per_class": m.mean_per_class_accuracy(y, predicted, 3),
        "error": m.mean_squared_error(tf.cast(y, f64), tf.cast(predicted, f64)),
        "root": m.root_mean_squared_error(tf.cast(y, f64), tf.cast(predicted, f64)),
        "false": m.false_negatives(yes, tf.equal(predicted, 1)),
        "at_2": m.recall_at_k(y, logits, 2),
    }
    update = tf.group(*[pair[1] for pair in found.values()])
    return Built([sgd(loss), update], {k: pair[0] for k, pair in found.items()}, feed)


@program(tolerance=1e-5)
def streaming_auc() -> Built:
    y, w, logits, loss, feed = scored()
    p = tf.nn.softmax(logits)[:, 1]
    auc = tf1.metrics.auc(tf.equal(y, 1), p, weights=w, num_thresholds=20)
    curve = tf1.metrics.auc(tf.equal(y, 1), p, num_thresholds=20, curve="PR")
    at = tf1.metrics.precision_at_thresholds(tf.equal(y, 1), p, [0.3, 0.6])
    update = tf.group(auc[1], curve[1], at[1])
    fetches = {"loss": loss, "auc": auc[0], "curve": curve[0], "at": at[0]}
    return Built([sgd(loss), update], fetches, feed)


@program(tolerance=1e-5)
def metrics_fetched_as_they_are_updated() -> Built:
    y, w, logits, loss, feed = scored()
    accuracy = tf1.metrics.accuracy(y, tf.argmax(logits, 1), weights=w)
    mean = tf1.metrics.mean(tf.reduce_max(logits, 1))
    share = tf1.metrics.percentage_below(tf.reduce_max(logits, 1), 0.5)
    train = sgd(loss)
    with tf.control_dependencies([accuracy[1], mean[1], share[1]]):
        total = tf.identity(accuracy[1]) + tf.identity(share[1])
    return Built(
        [total.op, train], {"loss": loss}, feed, beside={"accuracy": accuracy[1], "mean": mean[1]}
    )


@program()
def confusion_matrix() -> Built:
    y, _, logits, loss, feed = scored()
    matrix = tf.math.confusion_matrix(y, tf.argmax(logits, 1), 3)
    total = tf1.get_variable("total", [3, 3], tf.int32, tf1.zeros_initializer(), trainable=False)
    update = total.assign_add(matrix)
    hits = tf.nn.in_top_k(y, tf.cast(logits, tf.float32), 2)
    best = tf.reduce_sum(tf.cast(hits, tf.int32))
    return Built([sgd(loss), update.op], {"matrix": matrix, "best": best, "hits": hits}, feed)


@program()
def fetched_extremes() -> Built:
    """Statistics that a program prints: extremes, a norm, a variance, a histogram, shares, the first and last row."""
    _, w, logits, loss, feed = scored()
    fetches = {
        "largest": tf.reduce_max(logits),
        "least": tf.reduce_min(logits, 0),
        "norm": tf.norm(logits),
        "variance": tf.math.reduce_variance(logits, 0),
        "histogram": tf.histogram_fixed_width(logits, tf.constant([-3.0, 3.0], f64), 4),
        "zeros": tf.math.zero_fraction(tf.nn.relu(logits)),
        "first": logits[0],
        "last": logits[-1],
        "sorted": tf.sort(w, direction="DESCENDING"),
        "where": tf.where(logits > 0),
        "product": tf.reduce_prod(tf.reduce_max(logits, 1)),
        "log": tf.reduce_logsumexp(logits),
        "best": tf.argmax(logits, 0),
        "any": tf.reduce_any(logits > 2.0),
        "shape": tf.shape(logits),
        "size": tf.size(logits) * 2,
        "running": tf.cumsum(w),
        "distinct": tf.unique(tf.cast(w * 2, tf.int32))[0],
        "counts": tf.math.bincount(tf.cast(w * 2, tf.int32), minlength=5, maxlength=5),
        "matrix": tf.matmul(logits, logits, transpose_a=True),
        "between": tf.matmul(logits, logits, transpose_b=True),
        "order": tf.argsort(w),
        "reversed": tf.reverse(w, [0]),
        "twice": tf.tile(w, [2]),
        "rolled": tf.roll(w, 1, 0),
        "padded": tf.pad(w, [[1, 0]]),
        "joined": tf.concat([w, w], 0),
        "repeated": tf.repeat(w, 2),
        "transposed": tf.transpose(logits),
        "flat": tf.reshape(logits, [-1]),
        "numbered": tf.range(tf.shape(logits)[0]),
        "half": tf.shape(logits)[0] // 2,
    }
    return Built([sgd(loss)], fetches, feed)


@program()
def centred_by_the_batch() -> Built:
    """Rows minus the mean of the batch; rows by the largest; ranks; a softmax over the rows."""
    x, y = fed([None, 4]), fed([None])
    h = dense(x, 3, "h")
    a = h - tf.reduce_mean(h, 0, keepdims=True)
    b = h / (tf.reduce_max(tf.abs(h)) + 1.0)
    c = tf.nn.softmax(h, 0)
    d = tf.nn.l2_normalize(h, 0)
    out = dense(tf.concat([a, b, c, d], 1), 1, "out")[:, 0]
    loss = tf.reduce_mean(tf.square(out - y))

    def feed(step: int) -> Any:
        r = draw(step)
        return {
            x: np.linspace(0, 2, ROWS[step])[:, None] + r.randn(ROWS[step], 4),
            y: r.randn(ROWS[step]),
        }

    return Built([sgd(loss)], {"loss": loss, "a": a, "c": c}, feed)


@program()
def whitening() -> Built:
    """A covariance over the batch and its factor; the rows are solved for it."""
    x, y = fed([None, 4]), fed([None])
    h = dense(x, 2, "h")
    centred = h - tf.reduce_mean(h, 0)
    n = tf.cast(tf.shape(x)[0], f64)
    covariance = tf.matmul(centred, centred, transpose_a=True) / n + 0.1 * tf.eye(2, dtype=f64)
    white = tf.transpose(
        tf.linalg.triangular_solve(tf.linalg.cholesky(covariance), tf.transpose(centred))
    )
    loss = tf.reduce_mean(tf.square(dense(white, 1, "out")[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randn(ROWS[step])}

    return Built([sgd(loss)], {"loss": loss, "white": white, "covariance": covariance}, feed)


@program()
def k_means() -> Built:
    x = fed([None, 2])
    centres = tf1.get_variable(
        "centres", [3, 2], f64, tf1.constant_initializer(draw(1).randn(3, 2))
    )
    counts = tf1.get_variable("counts", [3], f64, tf1.zeros_initializer(), trainable=False)
    d = tf.reduce_sum(tf.square(x[:, tf.newaxis] - centres[tf.newaxis]), 2)
    nearest = tf.argmin(d, 1)
    inertia = tf.reduce_sum(tf.reduce_min(d, 1))
    totals = tf.math.unsorted_segment_sum(x, nearest, 3)
    found = tf.math.unsorted_segment_sum(tf.ones_like(x[:, 0]), nearest, 3)
    means = totals / tf.maximum(found, 1.0)[:, tf.newaxis]
    moved = tf.where(found[:, tf.newaxis] > 0, means, centres.read_value())
    train = tf.group(centres.assign(moved), counts.assign_add(found))
    fetches = {"inertia": inertia, "nearest": nearest}
    return Built([train], fetches, lambda step: {x: draw(step).randn(ROWS[step], 2)})


@program()
def self_organising_map() -> Built:
    """The row is one; the map moves towards it, by how far each unit is from the best."""
    x = fed([None, 2])
    units = tf1.get_variable("units", [4, 2], f64, tf1.constant_initializer(draw(1).randn(4, 2)))
    places = tf.constant([0.0, 1.0, 2.1, 3.3], f64)
    d = tf.reduce_sum(tf.square(units[tf.newaxis] - x[:, tf.newaxis]), 2)
    best = tf.gather(places, tf.argmin(d, 1))
    near = tf.exp(-tf.square(places[tf.newaxis] - best[:, tf.newaxis]))
    top = tf.matmul(near, x, transpose_a=True)
    train = units.assign(top / tf.reduce_sum(near, 0)[:, tf.newaxis])
    return Built([train.op], {"best": best}, lambda step: {x: draw(step).randn(ROWS[step], 2)})


@program()
def gaussian_mixture() -> Built:
    """Expectation and maximisation: responsibilities of rows, sums over them, then new parameters."""
    x = fed([None, 2])
    means = tf1.get_variable("means", [2, 2], f64, tf1.constant_initializer(draw(1).randn(2, 2)))
    logs = tf1.get_variable("logs", [2], f64, tf1.zeros_initializer())
    d = tf.reduce_sum(tf.square(x[:, tf.newaxis] - means[tf.newaxis]), 2)
    joint = -0.5 * d + tf.nn.log_softmax(logs)
    likelihood = tf.reduce_mean(tf.reduce_logsumexp(joint, 1))
    r = tf.nn.softmax(joint, 1)
    n = tf.reduce_sum(r, 0)
    new = tf.matmul(r, x, transpose_a=True) / n[:, tf.newaxis]
    share = tf.math.log(n / tf.cast(tf.shape(x)[0], f64))
    train = tf.group(means.assign(new), logs.assign(share))
    return Built(
        [train], {"likelihood": likelihood, "r": r}, lambda s: {x: draw(s).randn(ROWS[s], 2)}
    )


@program(chosen=True, global_twin=True)
def batch_norm_by_hand() -> Built:
    """Moments and a cond on the phase; the averages are moved under control dependencies."""
    x, y = fed([None, 4]), fed([None])
    phase = fed([], tf.bool)
    h = dense(x, 3, "h")
    mean, variance = tf.nn.moments(h, [0])
    average = tf1.train.ExponentialMovingAverage(0.5)

    def update() -> Any:
        with tf.control_dependencies([average.apply([mean, variance])]):
            return tf.identity(mean), tf.identity(variance)

    used = tf1.cond(phase, update, lambda: (average.average(mean), average.average(variance)))
    normal = tf.nn.batch_normalization(h, used[0], used[1], None, weight("gamma", [3]), 1e-3)
    loss = tf.reduce_mean(tf.square(dense(normal, 1, "out")[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randn(ROWS[step]), phase: True}

    return Built([sgd(loss)], {"loss": loss}, feed)


@program()
def batch_norm_that_is_not_trained_on() -> Built:
    """In inference mode the layer is a linear map of rows."""
    x, y = fed([None, 4]), fed([None])
    h = layers.batch_normalization(dense(x, 3, "h"), training=False)
    loss = tf.reduce_mean(tf.square(dense(h, 1, "out")[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randn(ROWS[step])}

    return Built([adam(loss)], {"loss": loss, "h": h}, feed)


@program()
def queue_of_negatives() -> Built:
    """MoCo: keys of the batch replace rows of a variable at a place that moves by the number of rows."""
    x, z = fed([None, 4]), fed([None, 4])
    queue = tf1.get_variable(
        "queue", [9, 2], f64, tf1.constant_initializer(draw(2).randn(9, 2)), trainable=False
    )
    place = tf1.get_variable("place", [], tf.int32, tf1.zeros_initializer(), trainable=False)
    q = tf.nn.l2_normalize(dense(x, 2, "q"), 1)
    k = tf.stop_gradient(tf.nn.l2_normalize(dense(z, 2, "k"), 1))
    positive = tf.reduce_sum(q * k, 1, keepdims=True)
    logits = tf.concat([positive, tf.matmul(q, queue.read_value(), transpose_b=True)], 1)
    labels = tf.zeros([tf.shape(x)[0]], tf.int32)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    train = sgd(loss)
    rows = tf.math.floormod(place.read_value() + tf.range(tf.shape(x)[0]), 9)
    with tf.control_dependencies([train]):
        push = tf1.scatter_update(queue, rows, tf.identity(k))
    with tf.control_dependencies([push]):
        move = place.assign(tf.math.floormod(place.read_value() + tf.shape(x)[0], 9))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), z: r.randn(ROWS[step], 4)}

    return Built([move.op], {"loss": loss, "logits": logits}, feed)


@program()
def best_loss_so_far() -> Built:
    """A variable keeps the least loss and the largest logit, and another counts the rows above it."""
    _, _, logits, loss, feed = scored()
    best = tf1.get_variable("best", [], f64, tf1.constant_initializer(9.0), trainable=False)
    top = tf1.get_variable("top", [], f64, tf1.zeros_initializer(), trainable=False)
    above = tf1.get_variable("above", [], tf.int64, tf1.zeros_initializer(), trainable=False)
    keep = tf.group(
        best.assign(tf.minimum(best, loss)),
        top.assign(tf.maximum(top, tf.reduce_max(logits))),
        above.assign_add(tf.math.count_nonzero(logits > 0.5)),
    )
    return Built([keep, sgd(loss)], {"loss": loss}, feed)
