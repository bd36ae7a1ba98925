"""Losses over lists: of each row's items, or over the items of the batch."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed, lengths_of
from support.programs.parts import adam, cells, dense, f64, initial, sgd, tf1, weight
from support.programs.registry import Built, program

LIST = 5


def lists() -> tuple[Any, Any, Any]:
    """Documents of each query, their labels (-1: padding), and the feed."""
    x, y = fed([None, LIST, 3]), fed([None, LIST])

    def feed(step: int) -> Any:
        r = draw(step)
        labels = r.randint(0, 3, [ROWS[step], LIST]).astype(float)
        labels[np.arange(LIST)[None] >= lengths_of(step, LIST)[:, None]] = -1.0
        labels[:, 0] = np.maximum(labels[:, 0], 1)
        return {x: r.randn(ROWS[step], LIST, 3), y: labels}

    return x, y, feed


def scores_of(x: Any) -> Any:
    flat = tf.reshape(x, [-1, 3])
    return tf.reshape(dense(dense(flat, 4, "h", tf.nn.relu), 1, "s"), [-1, tf.shape(x)[1]])


@program(tolerance=1e-5)
def listwise_softmax() -> Built:
    """TF-Ranking: softmax over each list, weighted by the sum of its labels; normalised by the nonzero weights."""
    x, y, feed = lists()
    valid = y >= 0
    scores = scores_of(x)
    logits = tf.where(valid, scores, (np.log(1e-10) + tf.reduce_min(scores)) * tf.ones_like(scores))
    labels = tf.where(valid, y, tf.zeros_like(y))
    total = tf.reduce_sum(labels, 1, keepdims=True)
    kept = tf.squeeze(total > 0, 1)
    labels = tf.where(total > 0, labels / tf.maximum(total, 1e-10), 1e-10 * tf.ones_like(labels))
    losses = tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    weights = tf.where(kept, tf.squeeze(total, 1), tf.zeros_like(losses))
    loss = tf1.losses.compute_weighted_loss(losses, weights)
    return Built([sgd(loss)], {"loss": loss, "logits": logits, "losses": losses}, feed)


@program()
def approximate_ndcg() -> Built:
    x, y, feed = lists()
    valid = y >= 0
    scores = scores_of(x)
    least = 1e-6 * tf.ones_like(scores) + tf.reduce_min(scores, 1, keepdims=True)
    scores = tf.where(valid, scores, least - 1000.0)
    labels = tf.where(valid, y, tf.zeros_like(y))
    pairs = tf.sigmoid((scores[:, tf.newaxis, :] - scores[:, :, tf.newaxis]) / 0.1)
    ranks = tf.reduce_sum(pairs, 2) + 0.5
    gains = tf.exp(np.log(2.0) * labels) - 1.0
    order = tf.argsort(labels, 1, direction="DESCENDING", stable=True)
    best = tf.gather(gains, order, batch_dims=1)
    places = tf.cast(tf.range(1, LIST + 1), f64)
    ideal = tf.reduce_sum(best / tf.math.log1p(places), 1)
    ndcg = tf.reduce_sum(gains / tf.math.log1p(ranks), 1) / tf.maximum(ideal, 1e-9)
    loss = tf.reduce_mean(-ndcg)
    return Built([adam(loss)], {"loss": loss, "ndcg": ndcg, "ranks": ranks}, feed)


@program(tolerance=1e-5)
def pairwise_logistic() -> Built:
    """Pairs of each list; the sum by the number of pairs of the whole batch."""
    x, y, feed = lists()
    scores = scores_of(x)
    differences = scores[:, :, tf.newaxis] - scores[:, tf.newaxis, :]
    better = tf.cast(y[:, :, tf.newaxis] > y[:, tf.newaxis, :], f64)
    valid = tf.cast((y >= 0)[:, :, tf.newaxis] & (y >= 0)[:, tf.newaxis, :], f64)
    weights = better * valid
    losses = tf.nn.relu(-differences) + tf.math.log1p(tf.exp(-tf.abs(differences)))
    loss = tf1.losses.compute_weighted_loss(losses, weights)
    mean = tf1.losses.compute_weighted_loss(
        losses, weights, reduction=tf1.losses.Reduction.SUM_OVER_BATCH_SIZE
    )
    return Built([sgd(loss)], {"loss": loss, "mean": mean}, feed)


@program()
def lambda_rank() -> Built:
    """Pairs of one query, all rows of the batch; lambdas are given to `tf.gradients` by hand."""
    x, y = fed([None, 4]), fed([None, 1])
    scores = dense(dense(x, 5, "h", tf.nn.relu), 1, "s")
    differences = scores - tf.transpose(scores)
    better = tf.clip_by_value(y - tf.transpose(y), -1.0, 1.0)
    order = tf.argsort(tf.argsort(-tf.reshape(scores, [-1]), stable=True), stable=True)
    discount = 1.0 / tf.math.log1p(tf.cast(order + 1, f64))
    delta = tf.abs(discount[:, tf.newaxis] - discount[tf.newaxis, :]) * tf.abs(y - tf.transpose(y))
    lambdas = 0.5 * (1 - better) - 1.0 / (1 + tf.exp(differences))
    lambdas = tf.reduce_sum(lambdas * tf.stop_gradient(delta), 1, keepdims=True)
    loss = tf.reduce_mean(0.5 * (1 - better) * differences + tf.nn.softplus(-differences))
    variables = tf1.trainable_variables()
    gradients = tf.gradients(scores, variables, grad_ys=tf.stop_gradient(lambdas))
    step = tf1.train.get_or_create_global_step()
    optimizer = tf1.train.GradientDescentOptimizer(0.05)
    train = optimizer.apply_gradients(zip(gradients, variables, strict=True), step)

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randint(0, 3, [ROWS[step], 1])}

    return Built([train], {"loss": loss, "lambdas": lambdas}, feed)


@program()
def rank_net() -> Built:
    x, y = fed([None, 4]), fed([None, 1])
    scores = dense(dense(x, 5, "h", tf.nn.relu), 1, "s")
    differences = scores - tf.transpose(scores)
    better = 0.5 * (1 + tf.clip_by_value(y - tf.transpose(y), -1.0, 1.0))
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=better, logits=differences)
    off = 1.0 - tf.eye(tf.shape(x)[0], dtype=f64)
    n = tf.cast(tf.shape(x)[0], f64)
    loss = tf.reduce_sum(losses * off) / (n * (n - 1))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randint(0, 3, [ROWS[step], 1])}

    return Built([sgd(loss)], {"loss": loss, "scores": scores}, feed)


@program()
def list_net() -> Built:
    """Softmax over the rows of the batch, which are the documents of one query."""
    x, y = fed([None, 4]), fed([None])
    scores = tf.squeeze(dense(x, 1, "s"), 1)
    loss = -tf.reduce_sum(tf.nn.softmax(y) * tf.nn.log_softmax(scores))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.rand(ROWS[step])}

    return Built([sgd(loss)], {"loss": loss, "scores": scores}, feed)


@program()
def gru4rec() -> Built:
    """The items of the batch are each other's negatives: BPR-max and cross-entropy over the batch."""
    items, x, y = 8, fed([None], tf.int32), fed([None], tf.int32)
    state = fed([None, 4])
    embedding, softmax_w = weight("embedding", [items, 3]), weight("softmax_w", [items, 4])
    softmax_b = tf1.get_variable("softmax_b", [items], f64, tf1.zeros_initializer())
    cell = cells.GRUCell(4, kernel_initializer=initial())
    output, final = cell(tf.nn.embedding_lookup(embedding, x), state)
    w, b = tf.nn.embedding_lookup(softmax_w, y), tf.nn.embedding_lookup(softmax_b, y)
    logits = tf.matmul(output, w, transpose_b=True) + b
    yhat = tf.nn.softmax(logits)
    cross = tf.reduce_mean(-tf.math.log(tf1.diag_part(yhat) + 1e-24))
    own = tf.transpose(tf1.diag_part(logits))
    bpr = tf.reduce_mean(
        -tf.math.log(tf.nn.sigmoid(tf.linalg.diag_part(logits)[:, tf.newaxis] - logits))
    )
    top = tf.reduce_mean(tf.nn.sigmoid(-own + logits), axis=0)
    loss = cross + 0.1 * bpr + 0.01 * tf.reduce_mean(top)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randint(0, items, n), y: r.randint(0, items, n), state: r.randn(n, 4)}

    return Built([sgd(loss)], {"loss": loss, "state": final, "yhat": yhat}, feed)


@program()
def bpr_shifted_negatives() -> Built:
    """Each row's negative is the positive of the next row."""
    users, items = fed([None], tf.int32), fed([None], tf.int32)
    u = tf.nn.embedding_lookup(weight("users", [6, 3]), users)
    i = tf.nn.embedding_lookup(weight("items", [7, 3]), items)
    j = tf.roll(i, 1, 0)
    x = tf.reduce_sum(u * (i - j), 1)
    loss = tf.reduce_mean(tf.nn.softplus(-x)) + 0.01 * (tf.nn.l2_loss(u) + tf.nn.l2_loss(i))
    auc = tf.reduce_mean(tf.cast(x > 0, f64))

    def feed(step: int) -> Any:
        r = draw(step)
        return {users: r.randint(0, 6, ROWS[step]), items: r.randint(0, 7, ROWS[step])}

    return Built([sgd(loss)], {"loss": loss, "auc": auc, "x": x}, feed)


@program(splits=True)
def bpr() -> Built:
    users, items, others = (fed([None], tf.int32) for _ in range(3))
    u = tf.nn.embedding_lookup(weight("users", [6, 3]), users)
    table, bias = weight("items", [7, 3]), weight("bias", [7])
    i, j = tf.nn.embedding_lookup(table, items), tf.nn.embedding_lookup(table, others)
    x = tf.reduce_sum(u * (i - j), 1) + tf.gather(bias, items) - tf.gather(bias, others)
    loss = tf.reduce_mean(-tf.math.log_sigmoid(x)) + 0.01 * tf.nn.l2_loss(table)

    def feed(step: int) -> Any:
        r = draw(step)
        return {t: r.randint(0, 6, ROWS[step]) for t in (users, items, others)}

    return Built([sgd(loss)], {"loss": loss, "x": x}, feed)
