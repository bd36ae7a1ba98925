"""Replicas draw different numbers; seeds make them reproducible."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from support.equivalence import training

tf1 = tf.compat.v1


def build_dropout(seed: int | None = None, graph_seed: int | None = None) -> Any:
    if graph_seed is not None:
        tf1.set_random_seed(graph_seed)
    x = tf1.placeholder(tf.float32, [None, 40], "x")
    return tf1.nn.dropout(x, rate=0.5, seed=seed)


def run_dropout(distribute: Any, **seeds: Any) -> np.ndarray:
    with tf.Graph().as_default():
        session, dropped = distribute(lambda: build_dropout(**seeds), replicas=2)
        return np.stack([session.run(dropped, {"x:0": np.ones([4, 40])}) for _ in range(2)])


@pytest.mark.parametrize("seeds", [{}, {"seed": 3}, {"graph_seed": 4}], ids=str)
def test_replicas_drop_different_units(seeds: dict[str, int], distribute: Any) -> None:
    dropped = run_dropout(distribute, **seeds)
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert (dropped[0, :2] != dropped[0, 2:]).any()
    assert (dropped[0] != dropped[1]).any()


@pytest.mark.parametrize("seeds", [{"seed": 3}, {"graph_seed": 4}], ids=str)
def test_seeds_make_a_run_reproducible(seeds: dict[str, int], distribute: Any) -> None:
    first = run_dropout(distribute, **seeds)
    np.testing.assert_array_equal(first, run_dropout(distribute, **seeds))


def test_without_a_seed_runs_differ(distribute: Any) -> None:
    assert (run_dropout(distribute) != run_dropout(distribute)).any()


def test_random_numbers_that_do_not_depend_on_the_batch_are_drawn_once(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        return x * 0.0 + tf.random.uniform([])

    session, drawn = distribute(build, replicas=3)
    assert np.unique(session.run(drawn, {"x:0": np.ones(6)})).size == 1


def drop_ones(n: Any) -> Any:
    return tf.nn.experimental.stateless_dropout(tf.ones([n]), 0.5, [1, 2])


STATELESS = {
    "uniform": lambda n: tf.random.stateless_uniform([n], [1, 2]),
    "normal": lambda n: tf.random.stateless_normal([n], tf.constant([1, 2], tf.int64)),
    "gamma": lambda n: tf.random.stateless_gamma([n], [1, 2], alpha=2.0),
    "int": lambda n: tf.random.stateless_uniform([n], [1, 2], 0, 10**6, tf.int32),
    "dropout": drop_ones,
    "old": lambda n: tf.raw_ops.StatelessRandomUniform(shape=[n], seed=[1, 2]),
}


@pytest.mark.parametrize("kind", STATELESS)
def test_stateless_random_ops_draw_other_numbers_in_each_replica(
    kind: str, distribute: Any
) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        return tf.cast(STATELESS[kind](tf.shape(x)[0]), tf.float64)

    session, drawn = distribute(build, replicas=3)
    first, again = (session.run(drawn, {"x:0": np.zeros(60)}).reshape(3, 20) for _ in range(2))
    with tf.Graph().as_default(), tf1.Session() as stock:
        expected = stock.run(STATELESS[kind](20))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[0], expected.astype(np.float64))
    assert np.unique(first, axis=0).shape[0] == 3


def test_stateless_random_ops_keep_their_numbers(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        return x + tf.random.stateless_uniform([], [1, 2])

    session, drawn = distribute(build, replicas=2)
    with tf.Graph().as_default(), tf1.Session() as stock:
        expected = stock.run(tf.random.stateless_uniform([], [1, 2]))
    np.testing.assert_allclose(session.run(drawn, {"x:0": np.zeros(3)}), [expected] * 3)


def draw(seed: Any, shape: Any) -> Any:
    """Random numbers by an op with a state, or, where `seed` is a list, by one without."""
    if isinstance(seed, list):
        return tf.random.stateless_uniform(shape, seed)
    return tf.random.uniform(shape, seed=seed)


def in_function(seed: Any, x: Any) -> Any:
    @tf.function
    def inner(x: Any) -> Any:
        return x + draw(seed, tf.shape(x))

    @tf.function
    def outer(x: Any) -> Any:
        return inner(x) * 1.0

    return outer(x)


def in_loop(seed: Any, x: Any) -> Any:
    return tf.while_loop(
        lambda i, _: i < 2, lambda i, x: (i + 1, x + draw(seed, tf.shape(x))), [0, x]
    )[1]


def in_branch(seed: Any, x: Any) -> Any:
    return tf.cond(tf.size(x) > 0, lambda: x + draw(seed, tf.shape(x)), lambda: x)


def run_body(build: Any, seed: Any, distribute: Any, replicas: int) -> np.ndarray:
    """What three replicas draw in two steps: `[step, replica, number]`."""
    with tf.Graph().as_default():
        session, drawn = distribute(
            lambda: build(seed, tf1.placeholder(tf.float32, [None], "x")), replicas=replicas
        )
        steps = [session.run(drawn, {"x:0": np.zeros(20 * replicas)}) for _ in range(2)]
    return np.reshape(steps, [2, replicas, 20])


@pytest.mark.parametrize("v2", [True, False], ids=["v2", "v1"])
@pytest.mark.parametrize("seed", [7, [1, 2]], ids=["stateful", "stateless"])
@pytest.mark.parametrize("build", [in_function, in_loop, in_branch])
def test_replicas_draw_different_numbers_in_bodies(
    build: Any, seed: Any, v2: bool, distribute: Any
) -> None:
    with training.control_flow(v2):
        drawn = run_body(build, seed, distribute, replicas=3)
        again = run_body(build, seed, distribute, replicas=3)
        alone = run_body(build, seed, distribute, replicas=1)
    np.testing.assert_array_equal(drawn, again)
    np.testing.assert_array_equal(drawn[:, 0], alone[:, 0])
    assert np.unique(drawn[0], axis=0).shape[0] == 3
