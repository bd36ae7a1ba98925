"""Gradients that an optimizer is given although no differentiation made them: computed by hand, or from others."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

tf1 = tf.compat.v1
ROWS = 5


def by_sum(x: Any, errors: Any, _: Any) -> Any:
    return tf.matmul(x, errors, transpose_a=True)


def by_mean(x: Any, errors: Any, w: Any) -> Any:
    return by_sum(x, errors, w) / tf.cast(tf.shape(x)[0], tf.float64)


def by_rows(x: Any, errors: Any, _: Any) -> Any:
    return tf.IndexedSlices(errors, tf.range(tf.shape(x)[0]) % 4)


def beside_a_derivative(x: Any, errors: Any, w: Any) -> Any:
    (derivative,) = tf.gradients(tf.reduce_mean(tf.square(errors)), w)
    return derivative + by_sum(x, errors, w)


def by_first_rows(x: Any, errors: Any, _: Any) -> Any:
    return tf.matmul(x[:2], errors[:2], transpose_a=True)


def of_printed_rows(x: Any, errors: Any, w: Any) -> Any:
    return by_sum(tf1.Print(x, [tf.shape(x)], summarize=0, first_n=0), errors, w)


# By how the gradient is made: whether the batch is split.
GRADIENTS = {
    by_sum: True,
    by_mean: True,
    by_rows: False,
    beside_a_derivative: True,
    by_first_rows: False,
    of_printed_rows: True,
}


def build(gradient: Callable[[Any, Any, Any], Any]) -> Any:
    x, y = tf1.placeholder(tf.float64, [None, 4], "x"), tf1.placeholder(tf.float64, [None, 1], "y")
    w = tf1.get_variable("w", initializer=np.ones([4, 1]), use_resource=True)
    made = gradient(x, tf.matmul(x, w) - y, w)
    train = tf1.train.MomentumOptimizer(0.05, 0.9).apply_gradients([(made, w)])
    return w, train


def run(session: Any, w: Any, train: Any) -> Any:
    generator = np.random.default_rng(0)
    for _ in range(3):
        fed = {"x:0": generator.normal(size=(ROWS, 4)), "y:0": generator.normal(size=(ROWS, 1))}
        session.run(train, fed)
    return session.run(w)


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_update_is_that_of_one_node(gradient: Any, replicas: int, distribute: Any) -> None:
    session, built = distribute(lambda: build(gradient), replicas=replicas)
    found = run(session, *built)
    with tf.Graph().as_default(), tf1.Session() as stock:
        again = build(gradient)
        stock.run(tf1.global_variables_initializer())
        np.testing.assert_allclose(found, run(stock, *again), rtol=1e-9)
    is_split = [root.is_split for root in session.explain().roots]
    assert is_split == [GRADIENTS[gradient]] * 2
