"""Branches, loops, maps, scans and tensor arrays, whose predicates and lengths depend on the batch."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed, lengths_of
from support.programs.parts import dense, f64, momentum, sgd, tf1, weight
from support.programs.registry import Built, program

BOTH = ("v1", "v2")


def regression(width: int = 3) -> tuple[Any, Any, Any]:
    x, y = fed([None, width]), fed([None])

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, width) + np.linspace(0, 2, n)[:, None], y: r.randn(n)}

    return x, y, feed


@program(flow=BOTH)
def cond_on_the_largest() -> Built:
    """Both branches give each row the same; a constant stands in one of them."""
    x, y, feed = regression()
    h = dense(x, 1, "h")[:, 0]
    out = tf1.cond(
        tf.reduce_max(h) > 1.0, lambda: h * tf.constant(3.0, f64), lambda: tf.identity(h) * 3.0
    )
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss, 0.01)], {"loss": loss, "out": out}, feed)


@program(flow=BOTH)
def cond_on_the_mean_loss() -> Built:
    """The rate depends on how large the loss is."""
    x, y, feed = regression()
    loss = tf.reduce_mean(tf.square(dense(x, 1, "h")[:, 0] - y))
    rate = tf1.cond(loss > 1.0, lambda: tf.constant(0.01, f64), lambda: tf.constant(0.1, f64))
    return Built([sgd(loss, rate)], {"loss": loss, "rate": rate}, feed)


@program(flow=BOTH)
def cond_that_trains() -> Built:
    """An optimizer in each branch, by whether all rows are small."""
    x, y, feed = regression()
    out = dense(x, 1, "h")[:, 0]
    losses = tf.square(out - y)
    loss = tf.reduce_mean(losses)
    (w, b) = tf1.trainable_variables()
    gradients = tf.gradients(loss, [w, b])

    def move(rate: float) -> Any:
        pairs = zip((w, b), gradients, strict=True)
        with tf.control_dependencies([v.assign_sub(rate * g) for v, g in pairs]):
            return tf.constant(rate, f64)

    used = tf1.cond(tf.reduce_all(losses < 4.0), lambda: move(0.1), lambda: move(0.01))
    return Built([used.op], {"loss": loss}, feed)


@program(flow=BOTH)
def cond_on_rows_present() -> Built:
    """The loss of a class that may be absent: zero if there is none."""
    x, y, feed = regression()
    out = dense(x, 1, "h")[:, 0]
    some = tf.boolean_mask(tf.square(out - y), y > 0.5)
    loss = tf1.cond(
        tf.size(some) > 0, lambda: tf.reduce_mean(some), lambda: tf.constant(0.0, f64)
    ) + tf.reduce_mean(tf.square(out))
    return Built([sgd(loss, 0.01)], {"loss": loss}, feed)


@program(flow=BOTH)
def nested_conds() -> Built:
    x, y, feed = regression()
    h = dense(x, 2, "h")
    mean = tf.reduce_mean(h)

    def outer() -> Any:
        return tf1.cond(tf.reduce_any(h > 2.0), lambda: tf.tanh(h), lambda: h / 2.0)

    out = tf1.cond(mean > 0.0, outer, lambda: tf.nn.relu(h) + mean)
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(out, 1) - y))
    return Built([sgd(loss, 0.01)], {"loss": loss, "out": out}, feed)


@program(flow=BOTH)
def case_on_the_size() -> Built:
    x, y, feed = regression()
    h = dense(x, 1, "h")[:, 0]
    rows = tf.shape(x)[0]
    factor = tf1.case(
        [(rows < 5, lambda: tf.constant(0.5, f64)), (rows < 6, lambda: tf.constant(2.0, f64))],
        default=lambda: tf.constant(1.5, f64),
        exclusive=False,
    )
    loss = tf.reduce_mean(tf.square(h * factor - y))
    return Built([sgd(loss, 0.01)], {"loss": loss, "factor": factor}, feed)


@program(flow=BOTH)
def loop_over_steps() -> Built:
    """A fixed number of steps: a layer that is applied again and again to all rows."""
    x, y, feed = regression()
    w = weight("w", [3, 3])
    _, h = tf1.while_loop(
        lambda i, _: i < 3, lambda i, h: (i + 1, tf.tanh(tf.matmul(h, w))), [0, x]
    )
    loss = tf.reduce_mean(tf.square(dense(h, 1, "out")[:, 0] - y))
    return Built([momentum(loss)], {"loss": loss, "h": h}, feed)


@program(flow=BOTH)
def loop_until_all_rows_are_small() -> Built:
    """Newton's steps for all rows, until the largest error of the batch is small."""
    x, y, feed = regression()
    target = tf.nn.softplus(dense(x, 1, "h")[:, 0]) + 0.1

    def advance(i: Any, root: Any) -> Any:
        return i + 1, 0.5 * (root + target / root)

    count, root = tf1.while_loop(
        lambda i, r: tf.logical_and(i < 9, tf.reduce_max(tf.abs(r * r - target)) > 1e-2),
        advance,
        [tf.constant(0), tf.ones_like(target)],
    )
    loss = tf.reduce_mean(tf.square(root - y))
    return Built([sgd(loss, 0.05)], {"loss": loss, "count": count, "root": root}, feed)


@program(flow=BOTH)
def loop_over_rows() -> Built:
    """Row after row by its number, with a tensor array of what was computed."""
    x, y, feed = regression()
    w = weight("w", [3])
    rows = tf.shape(x)[0]

    def advance(i: Any, total: Any, outs: Any) -> Any:
        value = tf.tanh(tf.reduce_sum(x[i] * w) + 0.1 * total)
        return i + 1, value, outs.write(i, value)

    start = [tf.constant(0), tf.constant(0.0, f64), tf.TensorArray(f64, rows, element_shape=[])]
    _, _, outs = tf1.while_loop(lambda i, *_: i < rows, advance, start)
    out = outs.stack()
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss)], {"loss": loss, "out": out}, feed)


@program(flow=BOTH)
def map_over_rows() -> Built:
    x, y, feed = regression()
    w = weight("w", [3, 2])
    out = tf.map_fn(lambda row: tf.reduce_sum(tf.tanh(tf.matmul(row[tf.newaxis], w))), x)
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss)], {"loss": loss, "out": out}, feed)


@program(flow=BOTH)
def map_over_pairs_with_a_cond() -> Built:
    """A branch per row, by the row's own value."""
    x, y, feed = regression()
    w = weight("w", [3])

    def row(parts: Any) -> Any:
        value = tf.reduce_sum(parts[0] * w)
        return tf1.cond(value > parts[1], lambda: tf.square(value), lambda: -value)

    out = tf.map_fn(row, (x, y), fn_output_signature=f64)
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss, 0.01)], {"loss": loss, "out": out}, feed)


@program(flow=BOTH)
def scan_over_time() -> Built:
    """Time first, the batch in dimension 1."""
    x, y = fed([None, 4, 3]), fed([None])
    w = weight("w", [3, 3])
    start = tf.zeros([tf.shape(x)[0], 3], f64)
    h = tf.scan(lambda s, e: tf.tanh(tf.matmul(s, w) + e), tf.transpose(x, [1, 0, 2]), start)
    loss = tf.reduce_mean(tf.square(dense(h[-1], 1, "out")[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4, 3), y: r.randn(ROWS[step])}

    return Built([sgd(loss)], {"loss": loss, "h": h}, feed)


@program(flow=BOTH)
def scan_over_rows() -> Built:
    """A running sum over the rows of the batch."""
    x, y, feed = regression()
    h = dense(x, 1, "h")[:, 0]
    running = tf.scan(lambda a, b: 0.5 * a + b, h)
    loss = tf.reduce_mean(tf.square(running - y))
    return Built([sgd(loss, 0.02)], {"loss": loss, "running": running}, feed)


@program(flow=BOTH)
def fold_over_rows() -> Built:
    x, y, feed = regression()
    h = dense(x, 1, "h")[:, 0]
    total = tf.foldl(lambda a, b: tf.tanh(a + b), h, tf.constant(0.0, f64))
    loss = tf.reduce_mean(tf.square(h - y)) + total
    return Built([sgd(loss, 0.05)], {"loss": loss, "total": total}, feed)


@program(flow=BOTH)
def tensor_array_of_rows() -> Built:
    """Rows are unstacked, gathered in another order, and concatenated."""
    x, y, feed = regression()
    h = dense(x, 2, "h")
    rows = tf.shape(h)[0]
    array = tf.TensorArray(f64, rows, clear_after_read=False).unstack(h)
    back = array.gather(tf.range(rows - 1, -1, -1))
    back = tf.ensure_shape(back, [None, 2])
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(back * h, 1) - y))
    return Built([sgd(loss, 0.02)], {"loss": loss, "back": back}, feed)


@program(flow=BOTH)
def dynamic_lengths_in_a_loop() -> Built:
    """As `raw_rnn`: ends when every row has ended; rows that have ended keep their state."""
    x, length, y = fed([None, 4, 2]), fed([None], tf.int32), fed([None])
    w = weight("w", [4, 2])

    def advance(t: Any, h: Any, ended: Any) -> Any:
        new = tf.tanh(tf.matmul(tf.concat([x[:, t], h], 1), w))
        h = tf.where(ended[:, tf.newaxis], h, new)
        return t + 1, h, t + 1 >= length

    start = [tf.constant(0), tf.zeros([tf.shape(x)[0], 2], f64), length <= 0]
    shapes = [tf.TensorShape([]), tf.TensorShape([None, 2]), tf.TensorShape([None])]
    count, h, _ = tf1.while_loop(
        lambda t, h, ended: tf.logical_not(tf.reduce_all(ended)), advance, start, shapes
    )
    loss = tf.reduce_mean(tf.square(dense(h, 1, "out")[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        lengths = np.minimum(lengths_of(step, 4), 4 if step else 3)
        return {x: r.randn(n, 4, 2), length: lengths, y: r.randn(n)}

    return Built([sgd(loss)], {"loss": loss, "count": count, "h": h}, feed)


@program(flow=BOTH)
def gradient_in_a_cond() -> Built:
    x, y, feed = regression()
    w = weight("w", [3])
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(x * w, 1) - y))
    moved = tf1.cond(
        tf.reduce_max(x) > 1.0, lambda: tf.gradients(loss, w)[0], lambda: tf.zeros_like(w)
    )
    return Built([w.assign_sub(0.05 * moved).op], {"loss": loss}, feed)


@program(flow=BOTH)
def training_in_a_loop() -> Built:
    """Several steps of gradient descent on one batch in a loop of the graph."""
    x, y, feed = regression()
    w = weight("w", [3])

    def advance(i: Any, v: Any) -> Any:
        loss = tf.reduce_mean(tf.square(tf.reduce_sum(x * v, 1) - y))
        return i + 1, v - 0.05 * tf.gradients(loss, v)[0]

    _, found = tf1.while_loop(lambda i, _: i < 3, advance, [tf.constant(0), w.read_value()])
    return Built([w.assign(found).op], {"found": found}, feed)


@program(flow=BOTH)
def assert_in_the_graph() -> Built:
    x, y, feed = regression()
    checks = [
        tf1.assert_equal(tf.shape(x)[0], tf.shape(y)[0]),
        tf1.assert_less(tf.reduce_max(x), tf.constant(99.0, f64)),
        tf1.assert_rank(x, 2),
    ]
    with tf.control_dependencies(checks):
        out = dense(tf.identity(x), 1, "h")[:, 0]
    loss = tf.reduce_mean(tf.square(tf.debugging.check_numerics(out, "out") - y))
    return Built([sgd(loss, 0.02)], {"loss": loss}, feed)
