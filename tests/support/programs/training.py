"""What stands between a loss and a training step: accumulation, averages, sums by sizes, experts, penalties."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed
from support.programs.parts import adam, dense, f64, momentum, sgd, tf1, weight
from support.programs.registry import Built, program


def rows_of(x: Any, y: Any, classes: int = 0) -> Any:
    """Features, and labels that are classes or numbers."""

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, 4), y: r.randint(0, classes, n) if classes else r.randn(n)}

    return feed


def classified() -> tuple[Any, Any, Any, Any, Any]:
    x, y = fed([None, 4]), fed([None], tf.int32)
    logits = dense(dense(x, 5, "h", tf.nn.relu), 3, "out")
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    return x, y, logits, losses, rows_of(x, y, 3)


@program(splits=True)
def accumulation_over_runs() -> Built:
    _, _, _, losses, feed = classified()
    loss = tf.reduce_mean(losses)
    variables = tf1.trainable_variables()
    optimizer = tf1.train.AdamOptimizer(0.05)
    pairs = optimizer.compute_gradients(loss, variables)
    sums = [
        tf1.get_variable(f"sum{i}", v.shape, f64, tf1.zeros_initializer(), trainable=False)
        for i, v in enumerate(variables)
    ]
    add = tf.group(*[s.assign_add(g) for s, (g, _) in zip(sums, pairs, strict=True)])
    count = tf1.get_variable("count", [], f64, tf1.zeros_initializer(), trainable=False)
    step = tf1.train.get_or_create_global_step()
    apply = optimizer.apply_gradients(
        [
            (s / tf.maximum(count.read_value(), 1.0), v)
            for s, v in zip(sums, variables, strict=True)
        ],
        step,
    )
    clear = tf.group(*[s.assign(tf.zeros_like(s)) for s in sums], count.assign(0.0))
    return Built(
        [add, count.assign_add(1.0).op, add, count.assign_add(1.0).op, apply, clear],
        {"loss": loss},
        feed,
    )


@program(splits=True)
def horovod() -> Built:
    """A wrapped optimizer whose all-reduce is the identity, variables broadcast from rank 0, scaled rates."""

    def allreduce(t: Any) -> Any:
        with tf.name_scope("HorovodAllreduce"):
            return tf.identity(t) / tf.cast(tf.constant(1), t.dtype)

    class Wrapped(tf1.train.MomentumOptimizer):
        def compute_gradients(self, *args: Any, **kwargs: Any) -> Any:
            pairs = super().compute_gradients(*args, **kwargs)
            return [(allreduce(g), v) for g, v in pairs]

    _, _, _, losses, feed = classified()
    loss = tf.reduce_mean(losses)
    step = tf1.train.get_or_create_global_step()
    train = Wrapped(0.1 * 1, 0.9).minimize(loss, step)
    broadcast = tf.group(*[v.assign(tf.identity(v.read_value())) for v in tf1.global_variables()])
    averaged = allreduce(loss)
    return Built([train], {"loss": averaged}, feed, prepare=[broadcast])


@program()
def maml() -> Built:
    """Tasks in `map_fn`, in each an inner step by `tf.gradients`, and a meta-gradient through it."""
    a, b = fed([None, 3, 2]), fed([None, 3, 1])
    c, d = fed([None, 3, 2]), fed([None, 3, 1])
    w = weight("w", [2, 1])
    bias = weight("b", [1])

    def loss_of(x: Any, y: Any, weights: list[Any]) -> Any:
        return tf.reduce_mean(tf.square(tf.matmul(x, weights[0]) + weights[1] - y))

    def task(parts: Any) -> Any:
        x, y, u, v = parts
        weights: list[Any] = [w, bias]
        before = loss_of(u, v, weights)
        gradients = tf.gradients(loss_of(x, y, weights), weights)
        weights = [p - 0.1 * g for p, g in zip(weights, gradients, strict=True)]
        return before, loss_of(u, v, weights)

    before, after = tf.map_fn(task, (a, b, c, d), fn_output_signature=(f64, f64))
    loss = tf.reduce_mean(after)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {t: r.randn(n, 3, t.shape[2]) for t in (a, b, c, d)}

    return Built([sgd(loss)], {"loss": loss, "before": before}, feed)


@program()
def maml_unrolled() -> Built:
    """One task a batch: two inner steps on the support set, the loss on the query set."""
    a, b, c, d = fed([None, 2]), fed([None, 1]), fed([None, 2]), fed([None, 1])
    w, bias = weight("w", [2, 1]), weight("b", [1])
    weights: list[Any] = [w, bias]

    def loss_of(x: Any, y: Any) -> Any:
        return tf.reduce_mean(tf.square(tf.tanh(tf.matmul(x, weights[0]) + weights[1]) - y))

    for _ in range(2):
        gradients = tf.gradients(loss_of(a, b), weights)
        weights = [p - 0.2 * g for p, g in zip(weights, gradients, strict=True)]
    loss = loss_of(c, d)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {a: r.randn(n, 2), b: r.randn(n, 1), c: r.randn(n, 2), d: r.randn(n, 1)}

    return Built([sgd(loss)], {"loss": loss}, feed)


@program()
def mixture_of_experts() -> Built:
    """Gates with the squared coefficient of variation of importance and load over the batch."""
    x, y = fed([None, 4]), fed([None])
    gates = tf.nn.softmax(dense(x, 3, "gate"))
    top, _ = tf.nn.top_k(gates, 2)
    kept = gates * tf.cast(gates >= top[:, 1:2], f64)
    kept /= tf.reduce_sum(kept, 1, keepdims=True)
    experts = tf.stack([dense(x, 2, f"e{i}", tf.nn.relu) for i in range(3)], 1)
    out = dense(tf.reduce_sum(kept[:, :, tf.newaxis] * experts, 1), 1, "out")[:, 0]

    def variation(v: Any) -> Any:
        mean, variance = tf.nn.moments(v, [0])
        return variance / (tf.square(mean) + 1e-10)

    importance = tf.reduce_sum(kept, 0)
    load = tf.reduce_sum(tf.cast(kept > 0, f64), 0)
    balance = variation(importance) + variation(load)
    loss = tf.reduce_mean(tf.square(out - y)) + 0.1 * balance
    fetches = {"loss": loss, "importance": importance, "load": load, "balance": balance}
    return Built([sgd(loss)], fetches, rows_of(x, y))


@program()
def sparse_dispatcher() -> Built:
    """Rows are sent to experts by `where`, `gather` and `split`, and put together by a segment sum."""
    x, y = fed([None, 4]), fed([None])
    gates = tf.nn.softmax(dense(x, 2, "gate"))
    hard = gates * tf.cast(gates >= tf.reduce_max(gates, 1, keepdims=True), f64)
    where = tf.cast(tf.where(tf.transpose(hard) > 0), tf.int32)
    expert, batch = tf.unstack(where, num=2, axis=1)
    sizes = tf.reduce_sum(tf.cast(hard > 0, tf.int32), 0)
    nonzero = tf.gather(tf.reshape(tf.transpose(hard), [-1]), expert * tf.shape(x)[0] + batch)
    parts = tf.split(tf.gather(x, batch), sizes, 0, num=2)
    outs = [dense(tf.ensure_shape(p, [None, 4]), 1, f"e{i}") for i, p in enumerate(parts)]
    stitched = tf.concat(outs, 0)[:, 0] * nonzero
    out = tf.math.unsorted_segment_sum(stitched, batch, tf.shape(x)[0])
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss)], {"loss": loss, "out": out, "sizes": sizes}, rows_of(x, y))


@program()
def sum_by_number_of_rows() -> Built:
    """A sum divided by the size of the batch, which is cast from the shape."""
    _, _, logits, losses, feed = classified()
    loss = tf.reduce_sum(losses) / tf.cast(tf.shape(logits)[0], f64)
    return Built([momentum(loss)], {"loss": loss, "count": tf.shape(logits)[0]}, feed)


@program()
def plain_sum() -> Built:
    _, _, _, losses, feed = classified()
    loss = tf.reduce_sum(losses)
    return Built([sgd(loss, 0.02)], {"loss": loss}, feed)


@program()
def sum_and_l2() -> Built:
    """A sum over the batch and a penalty that does not depend on it."""
    _, _, _, losses, feed = classified()
    penalty = sum(tf.nn.l2_loss(v) for v in tf1.trainable_variables())
    loss = tf.reduce_sum(losses) + 0.1 * penalty
    return Built([sgd(loss, 0.02)], {"loss": loss, "penalty": penalty}, feed)


@program()
def sum_by_a_constant() -> Built:
    """The batch size of the settings, which is not that of every batch."""
    _, _, _, losses, feed = classified()
    loss = tf.reduce_sum(losses) / 7.0
    return Built([adam(loss)], {"loss": loss}, feed)


@program()
def sum_and_mean() -> Built:
    _, _, logits, losses, feed = classified()
    loss = tf.reduce_sum(losses) + tf.reduce_mean(tf.square(logits))
    return Built([sgd(loss, 0.02)], {"loss": loss}, feed)


@program()
def loss_of_the_mean() -> Built:
    """A nonlinear function of a mean over the batch: a root, a logarithm, a product of two means."""
    x, y = fed([None, 4]), fed([None])
    error = tf.reduce_mean(tf.square(dense(x, 1, "out")[:, 0] - y))
    size = tf.reduce_mean(tf.square(dense(x, 2, "other")))
    loss = tf.sqrt(error) + tf.math.log1p(error) * size
    return Built([sgd(loss)], {"loss": loss, "error": error}, rows_of(x, y))


@program(splits=True)
def averages_and_noise() -> Built:
    """Moving averages of variables, a decayed rate, noise from a feed on the gradients, clipping by norm."""
    x, y = fed([None, 4]), fed([None])
    noise = fed([])
    out = dense(x, 1, "out")[:, 0]
    loss = tf.reduce_mean(tf.abs(out - y))
    step = tf1.train.get_or_create_global_step()
    rate = tf1.train.exponential_decay(tf.constant(0.1, f64), step, 2, 0.5, staircase=True)
    optimizer = tf1.train.RMSPropOptimizer(rate)
    pairs = [(tf.clip_by_norm(g + noise, 0.5), v) for g, v in optimizer.compute_gradients(loss)]
    with tf.control_dependencies([optimizer.apply_gradients(pairs, step)]):
        average = tf1.train.ExponentialMovingAverage(0.9, step)
        train = average.apply(tf1.trainable_variables())
    feed = rows_of(x, y)

    def feed_all(step: int) -> Any:
        return {**feed(step), noise: 0.01 * step}

    return Built([train], {"loss": loss, "rate": rate}, feed_all)


@program()
def mixup() -> Built:
    """Each row is mixed with the one from the other end of the batch."""
    x, y, share = fed([None, 4]), fed([None, 3]), fed([None])
    part = share[:, tf.newaxis]
    mixed_x = x * part + tf.reverse(x, [0]) * (1 - part)
    mixed_y = y * part + tf.reverse(y, [0]) * (1 - part)
    logits = dense(mixed_x, 3, "out")
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=mixed_y, logits=logits))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, 4), y: np.eye(3)[r.randint(0, 3, n)], share: r.rand(n)}

    return Built([sgd(loss)], {"loss": loss, "mixed": mixed_x}, feed)


@program()
def hard_examples() -> Built:
    """Only the larger part of the losses of the batch is trained on: those above the median, by `top_k`."""
    _, _, _, losses, feed = classified()
    count = tf.shape(losses)[0] // 2 + 1
    hardest, places = tf.nn.top_k(losses, count)
    loss = tf.reduce_mean(hardest)
    return Built([sgd(loss)], {"loss": loss, "places": places}, feed)


@program()
def filtered_rows() -> Built:
    """Rows are dropped by a mask, and the mean is over those that stay."""
    x, y, _, losses, feed = classified()
    kept = tf.boolean_mask(losses, tf.not_equal(y, 0))
    loss = tf.reduce_sum(kept) / tf.cast(tf.maximum(tf.size(kept), 1), f64)
    plain = tf.reduce_mean(tf.gather(losses, tf.where(x[:, 0] > -3.0)[:, 0]))
    total = loss + plain
    return Built([sgd(total)], {"loss": loss, "plain": plain, "kept": kept}, feed)


@program()
def class_weights_of_the_batch() -> Built:
    """Classes are weighted by how often they occur in the batch."""
    _, y, _, losses, feed = classified()
    hot = tf.one_hot(y, 3, dtype=f64)
    counts = tf.reduce_sum(hot, 0)
    weights = tf.reduce_sum(hot / (counts + 1.0), 1)
    loss = tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)
    return Built([sgd(loss)], {"loss": loss, "counts": counts, "weights": weights}, feed)


@program(tolerance=1e-5)
def losses_of_tensorflow() -> Built:
    """`tf.losses` with weights, a collection of losses, and their total."""
    x, y, w = fed([None, 4]), fed([None], tf.int32), fed([None])
    logits = tf.cast(dense(x, 3, "out"), tf.float32)
    tf1.losses.sparse_softmax_cross_entropy(y, logits, tf.cast(w, tf.float32))
    tf1.losses.absolute_difference(tf.one_hot(y, 3), logits, weights=0.5)
    tf1.losses.cosine_distance(
        tf.one_hot(y, 3), tf.nn.l2_normalize(logits, 1), axis=1, weights=w[:, tf.newaxis]
    )
    loss = tf1.losses.get_total_loss()

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, 4), y: r.randint(0, 3, n), w: np.arange(n) % 3}

    return Built([sgd(loss)], {"loss": loss}, feed)


@program(tolerance=1e-5)
def mean_pairwise_squared_error() -> Built:
    x, y = fed([None, 4]), fed([None, 3])
    out = tf.cast(dense(x, 3, "out"), tf.float32)
    loss = tf1.losses.mean_pairwise_squared_error(tf.cast(y, tf.float32), out)

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randn(ROWS[step], 3)}

    return Built([sgd(loss)], {"loss": loss}, feed)


@program(chosen=True)
def dropout() -> Built:
    x, y = fed([None, 4]), fed([None])
    h = tf1.nn.dropout(dense(x, 5, "h", tf.nn.relu), rate=0.5)
    loss = tf.reduce_mean(tf.square(dense(h, 1, "out")[:, 0] - y))
    return Built([sgd(loss)], {}, rows_of(x, y))


@program(chosen=True)
def shuffled_in_the_graph() -> Built:
    x, y = fed([None, 4]), fed([None])
    order = tf.random.shuffle(tf.range(tf.shape(x)[0]))
    out = dense(tf.gather(x, order), 1, "out")[:, 0]
    loss = tf.reduce_mean(
        tf.square(out - tf.gather(y, order)) * tf.cast(tf.range(1, tf.shape(x)[0] + 1), f64)
    )
    return Built([sgd(loss)], {}, rows_of(x, y))


@program()
def two_batches_of_different_sizes() -> Built:
    """Semi-supervised: labelled and unlabelled rows, each with a mean of its own."""
    x, y, u = fed([None, 4]), fed([None], tf.int32), fed([None, 4])

    def model(rows: Any) -> Any:
        with tf1.variable_scope("model", reuse=tf1.AUTO_REUSE):
            return dense(rows, 3, "out")

    near = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=model(x)))
    logits = model(u)
    entropy = tf.reduce_mean(-tf.reduce_sum(tf.nn.softmax(logits) * tf.nn.log_softmax(logits), 1))
    loss = near + 0.3 * entropy

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, 4), y: r.randint(0, 3, n), u: r.randn(n + 3, 4)}

    return Built([sgd(loss)], {"loss": loss, "entropy": entropy}, feed)
