"""Losses that are means over a part of the batch train as on one node."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import PS, AllReduce, PartitionedPS

tf1 = tf.compat.v1
DTYPE = tf.float64
SIZES = (8, 7, 3, 2, 1, 9, 5)


def divide(loss: Any, mask: Any) -> Any:
    return tf.reduce_sum(loss * mask) / tf.reduce_sum(mask)


def divide_by_almost(loss: Any, mask: Any) -> Any:
    flat = tf.reshape(mask, [-1])
    return tf.reduce_sum(flat * tf.reshape(loss, [-1])) / (tf.reduce_sum(flat) + 1e-5)


def divide_or_zero(loss: Any, mask: Any) -> Any:
    return tf.math.divide_no_nan(tf.reduce_sum(tf.reduce_sum(loss * mask, 1)), tf.reduce_sum(mask))


def divide_by_at_least_one(loss: Any, mask: Any) -> Any:
    count = tf.reduce_sum(tf.cast(mask > 0, tf.int32))
    return 0.5 * tf.reduce_sum(loss * mask) / tf.cast(tf.maximum(count, 1), DTYPE)


def scale_the_mask(loss: Any, mask: Any) -> Any:
    scale = tf.cast(tf.size(mask), DTYPE) / tf.reduce_sum(mask)
    return tf.reduce_mean(loss * mask * scale)


def scale_by_rows(loss: Any, mask: Any) -> Any:
    rows = tf.cast(tf.shape(mask)[0], DTYPE)
    return tf.reduce_mean(loss * mask) * (rows / tf.reduce_sum(mask))


def add_others(loss: Any, mask: Any) -> Any:
    inverse = 1.0 - mask
    part = tf.reduce_sum(loss * inverse) - 2.0 * tf.reduce_sum(loss * mask * 0.1)
    return divide(loss, mask) + tf.reduce_mean(loss) + part / tf.reduce_sum(inverse + 0.1)


def use_the_library(loss: Any, mask: Any) -> Any:
    return tf1.losses.compute_weighted_loss(loss, mask)


LOSSES = [
    divide,
    divide_by_almost,
    divide_or_zero,
    divide_by_at_least_one,
    scale_the_mask,
    scale_by_rows,
    add_others,
    use_the_library,
]
LAYOUTS = [(PS(), 2), (AllReduce(), 3), (PartitionedPS(7, min_variable_bytes=0), 3)]


def build(reduce: Callable[[Any, Any], Any]) -> Any:
    x = tf1.placeholder(DTYPE, [None, 4], "x")
    mask = tf1.placeholder(DTYPE, [None, 2], "mask")
    kernel = tf1.get_variable("kernel", initializer=np.linspace(-1, 1, 8).reshape(4, 2))
    loss = reduce(tf.square(tf.matmul(x, kernel) - 1.0), mask)
    optimizer = tf1.train.MomentumOptimizer(0.05, 0.9)
    pairs = optimizer.compute_gradients(loss)
    clipped, norm = tf.clip_by_global_norm([g for g, _ in pairs], 0.7)
    train = optimizer.apply_gradients(zip(clipped, [v for _, v in pairs], strict=True))
    return [loss, norm, train], tf1.global_variables()


def draw(step: int, rows: int) -> dict[str, np.ndarray]:
    """A batch whose mask leaves few rows, most of them in its first half."""
    generator = np.random.default_rng(step)
    mask = (generator.uniform(size=(rows, 2)) < np.linspace(0.9, 0.1, rows)[:, None]).astype(float)
    mask[0] = 1.0
    return {"x:0": generator.normal(size=(rows, 4)), "mask:0": mask}


def train(session: Any, built: Any) -> list[Any]:
    fetches, variables = built
    steps = [session.run(fetches, draw(i, SIZES[i % len(SIZES)]))[:2] for i in range(20)]
    return [*np.transpose(steps), *session.run(variables)]


@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
@pytest.mark.parametrize("reduce", LOSSES)
def test_a_mean_over_what_a_mask_leaves_trains_as_on_one_node(
    reduce: Callable[[Any, Any], Any], layout: int, distribute: Any
) -> None:
    with tf.Graph().as_default(), tf1.Session() as stock:
        built = build(reduce)
        stock.run(tf1.global_variables_initializer())
        expected = train(stock, built)
    found = train(*distribute(lambda: build(reduce), *LAYOUTS[layout]))
    # The losses of tf.losses are float32.
    rtol = 1e-5 if reduce is use_the_library else 1e-9
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol, atol=rtol / 10)


def test_a_part_of_which_the_mask_leaves_nothing_counts_as_nothing(distribute: Any) -> None:
    session, (fetches, _) = distribute(lambda: build(divide), replicas=3)
    mask = np.zeros([6, 2])
    mask[1, 0] = 1.0
    feeds = {"x:0": np.ones([6, 4]), "mask:0": mask}
    with tf.Graph().as_default(), tf1.Session() as stock:
        built, _ = build(divide)
        stock.run(tf1.global_variables_initializer())
        expected = stock.run(built[:2], feeds)
    np.testing.assert_allclose(session.run(fetches[:2], feeds), expected)


def test_rates_of_counts_are_those_of_the_whole_batch(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(DTYPE, [None], "x")
        hits, found = tf.cast(x > 2.0, DTYPE), tf.cast(x > 1.0, DTYPE)
        return tf.reduce_sum(hits * found) / tf.reduce_sum(found)

    session, precision = distribute(build, replicas=2)
    found = session.run(precision, {"x:0": [3.0, 2.0, 2.0, 2.0, 0.0, 3.0, 0.0]})
    np.testing.assert_allclose(found, 2 / 5)


def test_a_divisor_may_be_learned(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(DTYPE, [None], "x")
        v = tf1.get_variable("v", initializer=np.float64(1.0))
        return tf.reduce_sum(x) / tf.reduce_sum(x * v)

    session, quotient = distribute(build, replicas=2)
    np.testing.assert_allclose(session.run(quotient, {"x:0": [1.0, 3.0]}), 1.0)


def test_rows_are_divided_by_the_sum_of_all(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(DTYPE, [None], "x")
        return x / tf.reduce_sum(x)

    session, rows = distribute(build, replicas=2)
    np.testing.assert_allclose(session.run(rows, {"x:0": [1.0, 3.0, 5.0]}), [1 / 9, 3 / 9, 5 / 9])
