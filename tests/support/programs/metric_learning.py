"""Losses that compare rows of the batch with one another."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed
from support.programs.parts import adam, dense, f64, sgd, tf1, weight
from support.programs.registry import Built, program


def labelled(x: Any, y: Any, classes: int = 3) -> Any:
    def feed(step: int) -> Any:
        r = draw(step)
        labels = r.randint(0, classes, ROWS[step])
        labels[:2], labels[-1] = 0, 1
        return {x: r.randn(ROWS[step], 4), y: labels}

    return feed


def distances(e: Any) -> Any:
    """Squared distances between all rows."""
    squares = tf.reduce_sum(tf.square(e), 1)
    found = (
        squares[:, tf.newaxis] - 2.0 * tf.matmul(e, e, transpose_b=True) + squares[tf.newaxis, :]
    )
    return tf.maximum(found, 0.0)


@program()
def contrastive_in_batch() -> Built:
    """Two towers; the other rows of the batch are the negatives."""
    a, b = fed([None, 4]), fed([None, 4])
    u = tf.nn.l2_normalize(dense(a, 3, "query"), 1)
    v = tf.nn.l2_normalize(dense(b, 3, "document"), 1)
    scores = tf.matmul(u, v, transpose_b=True) / 0.1
    labels = tf.range(tf.shape(scores)[0])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
    loss = tf.reduce_mean(losses)
    hits = tf.cast(tf.equal(tf.argmax(scores, 1, output_type=tf.int32), labels), f64)

    def feed(step: int) -> Any:
        r = draw(step)
        return {a: r.randn(ROWS[step], 4), b: r.randn(ROWS[step], 4)}

    return Built(
        [sgd(loss)], {"loss": loss, "losses": losses, "recall": tf.reduce_mean(hits)}, feed
    )


@program(tolerance=1e-5)
def nt_xent() -> Built:
    """SimCLR: both views in one batch of twice the rows, and the diagonal masked."""
    a, b = fed([None, 4]), fed([None, 4])
    z = tf.nn.l2_normalize(dense(tf.concat([a, b], 0), 3, "project"), -1)
    n = tf.shape(a)[0]
    first, second = tf.split(z, 2, 0)
    masks = tf.one_hot(tf.range(n), n, dtype=f64)
    labels = tf.one_hot(tf.range(n), n * 2, dtype=f64)
    same = tf.matmul(first, first, transpose_b=True) / 0.5 - masks * 1e9
    cross = tf.matmul(first, second, transpose_b=True) / 0.5
    logits = tf.concat([cross, same], 1)
    loss = tf1.losses.softmax_cross_entropy(labels, logits)

    def feed(step: int) -> Any:
        r = draw(step)
        return {a: r.randn(ROWS[step], 4), b: r.randn(ROWS[step], 4)}

    return Built([sgd(loss)], {"loss": loss, "logits": logits}, feed)


@program()
def triplet_batch_hard() -> Built:
    """The furthest row of the same class and the nearest of another, over the whole batch."""
    x, y = fed([None, 4]), fed([None], tf.int32)
    d = distances(dense(x, 3, "embed"))
    same = tf.equal(y[:, tf.newaxis], y[tf.newaxis, :])
    other = tf.logical_not(tf.eye(tf.shape(y)[0], dtype=tf.bool))
    furthest = tf.reduce_max(d * tf.cast(same & other, f64), 1, keepdims=True)
    largest = tf.reduce_max(d, 1, keepdims=True)
    nearest = tf.reduce_min(d + largest * tf.cast(same, f64), 1, keepdims=True)
    losses = tf.maximum(furthest - nearest + 0.5, 0.0)
    loss = tf.reduce_mean(losses)
    return Built([sgd(loss, 0.02)], {"loss": loss, "losses": losses}, labelled(x, y))


@program()
def triplet_batch_all() -> Built:
    x, y = fed([None, 4]), fed([None], tf.int32)
    d = distances(dense(x, 3, "embed"))
    raw = d[:, :, tf.newaxis] - d[:, tf.newaxis, :] + 0.2
    same = tf.equal(y[:, tf.newaxis], y[tf.newaxis, :])
    apart = tf.logical_not(tf.cast(tf.eye(tf.shape(y)[0]), tf.bool))
    valid = (same & apart)[:, :, tf.newaxis] & tf.logical_not(same)[:, tf.newaxis, :]
    kept = tf.maximum(raw * tf.cast(valid, f64), 0.0)
    positive = tf.reduce_sum(tf.cast(kept > 1e-16, f64))
    loss = tf.reduce_sum(kept) / (positive + 1e-16)
    share = positive / (tf.reduce_sum(tf.cast(valid, f64)) + 1e-16)
    return Built([sgd(loss, 0.02)], {"loss": loss, "share": share}, labelled(x, y))


@program()
def triplets_by_thirds() -> Built:
    """FaceNet: rows come as anchor, positive, negative, and are taken apart by `reshape` and `unstack`."""
    x = fed([None, 3, 4])
    e = tf.nn.l2_normalize(dense(tf.reshape(x, [-1, 4]), 3, "embed"), 1, 1e-10)
    anchor, positive, negative = tf.unstack(tf.reshape(e, [-1, 3, 3]), 3, 1)
    near = tf.reduce_sum(tf.square(anchor - positive), 1)
    far = tf.reduce_sum(tf.square(anchor - negative), 1)
    loss = tf.reduce_mean(tf.maximum(near - far + 0.5, 0.0), 0)
    fetches = {"loss": loss, "near": near, "far": far}
    return Built([adam(loss)], fetches, lambda step: {x: draw(step).randn(ROWS[step], 3, 4)})


@program()
def siamese_by_hand() -> Built:
    """One batch holds both sides: the first half of the rows, and the second."""
    x, y = fed([None, 4]), fed([None])
    half = tf.shape(x)[0] // 2
    e = dense(x, 3, "embed")
    left, right = e[:half], e[half : 2 * half]
    d = tf.sqrt(tf.reduce_sum(tf.square(left - right), 1) + 1e-6)
    loss = tf.reduce_mean(y * tf.square(d) + (1 - y) * tf.square(tf.nn.relu(1.0 - d)))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(2 * ROWS[step], 4), y: r.randint(0, 2, ROWS[step])}

    return Built([sgd(loss)], {"loss": loss, "distances": d}, feed)


@program(splits=True)
def siamese_towers() -> Built:
    a, b, y = fed([None, 4]), fed([None, 4]), fed([None])
    left = dense(a, 3, "tower", tf.tanh)
    with tf1.variable_scope(tf1.get_variable_scope(), reuse=True):
        kernel, bias = (
            tf1.get_variable("tower_kernel", dtype=f64),
            tf1.get_variable("tower_bias", dtype=f64),
        )
    right = tf.tanh(tf.matmul(b, kernel) + bias)
    d = tf.sqrt(tf.reduce_sum(tf.square(left - right), 1) + 1e-6)
    loss = tf.reduce_mean(y * tf.square(d) + (1 - y) * tf.square(tf.nn.relu(1.0 - d)))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {a: r.randn(n, 4), b: r.randn(n, 4), y: r.randint(0, 2, n)}

    return Built([sgd(loss)], {"loss": loss, "distances": d}, feed)


@program()
def n_pairs() -> Built:
    x, y = fed([None, 4]), fed([None], tf.int32)
    e = dense(x, 3, "embed")
    anchors, positives = e[0::2], e[1::2]
    labels = y[0::2]
    same = tf.cast(tf.equal(labels[:, tf.newaxis], labels[tf.newaxis, :]), f64)
    same /= tf.reduce_sum(same, 1, keepdims=True)
    scores = tf.matmul(anchors, positives, transpose_b=True)
    cross = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=same, logits=scores))
    size = tf.reduce_mean(tf.reduce_sum(tf.square(anchors), 1)) + tf.reduce_mean(
        tf.reduce_sum(tf.square(positives), 1)
    )
    loss = cross + 0.01 * size

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(2 * ROWS[step], 4), y: np.repeat(r.randint(0, 3, ROWS[step]), 2)}

    return Built([sgd(loss)], {"loss": loss, "scores": scores}, feed)


@program()
def center_loss() -> Built:
    """Centres are moved by hand, each by the rows of its class and their number."""
    x, y = fed([None, 4]), fed([None], tf.int64)
    features = dense(x, 2, "features")
    logits = dense(features, 3, "logits")
    centers = tf1.get_variable("centers", [3, 2], f64, tf1.zeros_initializer(), trainable=False)
    mine = tf.gather(centers, y)
    center = tf.nn.l2_loss(features - mine)
    _, places, counts = tf.unique_with_counts(y)
    times = tf.reshape(tf.gather(counts, places), [-1, 1])
    moves = 0.5 * (mine - features) / tf.cast(1 + times, f64)
    cross = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    loss = cross + 0.01 * center
    with tf.control_dependencies([loss, center]):
        move = tf1.scatter_sub(centers, y, tf.identity(moves))
    return Built([sgd(loss), move], {"loss": loss, "center": center}, labelled(x, y))


@program(splits=True)
def arcface() -> Built:
    x, y = fed([None, 4]), fed([None], tf.int32)
    e = tf.nn.l2_normalize(dense(x, 3, "embed"), 1)
    w = tf.nn.l2_normalize(weight("classes", [3, 3]), 0)
    cosine = tf.clip_by_value(tf.matmul(e, w), -0.99, 0.99)
    target = tf.cos(tf.acos(cosine) + 0.1)
    hot = tf.one_hot(y, 3, dtype=f64)
    logits = 4.0 * (hot * target + (1 - hot) * cosine)
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=hot, logits=logits))
    return Built([sgd(loss)], {"loss": loss, "cosine": cosine}, labelled(x, y))


@program(chosen=True, global_twin=True)
def barlow_twins() -> Built:
    """The correlations of the features over the batch, which is normalised first."""
    a, b = fed([None, 4]), fed([None, 4])
    w = weight("w", [4, 3])

    def normal(z: Any) -> Any:
        mean, variance = tf.nn.moments(z, [0])
        return (z - mean) / tf.sqrt(variance + 1e-3)

    n = tf.cast(tf.shape(a)[0], f64)
    c = tf.matmul(normal(tf.matmul(a, w)), normal(tf.matmul(b, w)), transpose_a=True) / n
    loss = tf.reduce_sum(tf.square(c - tf.eye(3, dtype=f64)) * (0.9 * tf.eye(3, dtype=f64) + 0.1))

    def feed(step: int) -> Any:
        r = draw(step)
        z = r.randn(ROWS[step], 4)
        return {a: z, b: z + 0.3 * r.randn(ROWS[step], 4)}

    return Built([sgd(loss)], {"loss": loss, "correlations": c}, feed)


@program()
def mmd_two_samples() -> Built:
    """Domain adaptation: kernels between all rows of two batches of different sizes."""
    a, b = fed([None, 3]), fed([None, 3])
    w = weight("w", [3, 2])
    u, v = tf.matmul(a, w), tf.matmul(b, w)

    def kernel(p: Any, q: Any) -> Any:
        d = tf.reduce_sum(tf.square(p[:, tf.newaxis] - q[tf.newaxis]), 2)
        return tf.reduce_mean(tf.exp(-d / 2.0))

    loss = kernel(u, u) + kernel(v, v) - 2 * kernel(u, v)
    coral = tf.reduce_mean(tf.square(tf.reduce_mean(u, 0) - tf.reduce_mean(v, 0)))
    total = loss + coral

    def feed(step: int) -> Any:
        r = draw(step)
        return {a: r.randn(ROWS[step], 3), b: 1 + r.randn(ROWS[step] + 2, 3)}

    return Built([sgd(total)], {"loss": loss, "coral": coral}, feed)
