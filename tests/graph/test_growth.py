"""Ops and variables that are added after the session exists."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.strategy import AllReduce, PartitionedPS

tf1 = tf.compat.v1
LAYOUTS = {"cut": lambda: PartitionedPS(3, min_variable_bytes=0), "copied": AllReduce}


@pytest.fixture(params=LAYOUTS)
def strategy(request: pytest.FixtureRequest) -> Any:
    return LAYOUTS[request.param]()


def build() -> dict[str, Any]:
    x = tf1.placeholder(tf.float64, [None, 5], "x")
    w = tf1.get_variable("w", initializer=tf.ones([5, 2], tf.float64))
    return {"x": x, "w": w, "y": x @ w}


def test_ops_on_the_batch_run_per_replica(strategy: Any, distribute: Any) -> None:
    session, built = distribute(build, strategy, 3)
    session.run(built["y"], {"x:0": np.ones([4, 5])})
    later = built["y"] * 2.0 + built["w"][0]
    got = session.run([later, tf.reduce_mean(later)], {"x:0": np.ones([7, 5])})
    np.testing.assert_array_equal(got[0], np.full([7, 2], 11.0))
    assert got[1] == 11.0


def test_a_variable_is_initialised_and_the_old_ones_keep_their_values(
    strategy: Any, distribute: Any
) -> None:
    session, built = distribute(build, strategy)
    session.run(built["w"].assign(np.full([5, 2], 4.0)))
    new = tf1.get_variable("new", initializer=tf.zeros([6], tf.float64))
    session.run(new.initializer)
    session.run(new.assign_add(np.arange(6.0)))
    assert session.run(new).tolist() == list(range(6))
    assert (session.run(built["w"]) == 4.0).all()


def test_an_optimizer_made_later_trains(strategy: Any, distribute: Any) -> None:
    session, built = distribute(build, strategy)
    session.run(built["w"])
    loss = tf.reduce_mean(built["y"])
    train = tf1.train.GradientDescentOptimizer(1.0).minimize(loss)
    session.run(train, {"x:0": np.ones([3, 5])})
    np.testing.assert_allclose(session.run(built["w"]), np.full([5, 2], 0.5), rtol=1e-9)


def test_an_optimizer_with_slots_made_later_trains(strategy: Any, distribute: Any) -> None:
    session, built = distribute(build, strategy)
    session.run(built["w"])
    optimizer = tf1.train.MomentumOptimizer(1.0, 0.5)
    train = optimizer.minimize(tf.reduce_mean(built["y"]))
    session.run([v.initializer for v in optimizer.variables()])
    for _ in range(2):
        session.run(train, {"x:0": np.ones([3, 5])})
    np.testing.assert_allclose(session.run(built["w"]), np.full([5, 2], 1 - 0.5 - 0.75), rtol=1e-9)


def test_a_placeholder_is_split(distribute: Any) -> None:
    session, _ = distribute(build, replicas=3)
    z = tf1.placeholder(tf.float32, [None], "z")
    assert session.run(tf.reduce_mean(z * z), {z: [1.0, 2.0, 4.0]}) == pytest.approx(7.0)


def test_an_op_added_between_runs_does_not_run_what_was_not_asked_for(
    strategy: Any, distribute: Any
) -> None:
    session, built = distribute(build, strategy)
    built["w"].assign_add(np.ones([5, 2]))
    assert (session.run(built["w"]) == 1.0).all()


def test_ops_of_a_run_may_be_added_for_ever(distribute: Any) -> None:
    session, built = distribute(build, AllReduce())
    for i in range(5):
        assert session.run(tf.reduce_sum(built["w"]) + i) == 10.0 + i


LATE_OPS: dict[str, Callable[[Any], Any]] = {
    "a row": lambda w: w[1].assign(np.zeros([2])),
    "a slice": lambda w: w[1:3].assign(np.zeros([2, 2])),
    "a column": lambda w: w[:, 1].assign(np.zeros([5])),
    "rows by number": lambda w: w.scatter_nd_update([[1], [4]], np.zeros([2, 2])),
    "elements": lambda w: w.scatter_nd_add([[1, 1]], np.zeros([1])),
    "smaller elements": lambda w: w.scatter_nd_min([[4, 0]], np.zeros([1])),
    "elements that are read": lambda w: w.gather_nd([[4, 0]]),
    "rows of a batch": lambda w: tf.raw_ops.ResourceGather(
        resource=w.handle, indices=np.zeros([5, 1], np.int32), dtype=w.dtype, batch_dims=1
    ),
}


@pytest.mark.parametrize("what", LATE_OPS)
def test_a_late_op_that_needs_a_variable_whole_is_refused_where_it_is_cut(
    what: str, distribute: Any
) -> None:
    session, built = distribute(build, LAYOUTS["cut"]())
    session.run(built["w"])
    late = LATE_OPS[what](built["w"])
    with pytest.raises(UnsupportedGraphError, match="holds variable 'w' cut"):
        session.run(late)
    assert (session.run(built["w"]) == 1.0).all()


@pytest.mark.parametrize("what", LATE_OPS)
def test_a_late_op_that_needs_a_variable_whole_runs_where_it_is(what: str, distribute: Any) -> None:
    session, built = distribute(build, LAYOUTS["copied"]())
    session.run(built["w"])
    session.run(LATE_OPS[what](built["w"]))
    with tf.Graph().as_default(), tf1.Session() as stock:
        w = build()["w"]
        stock.run(w.initializer)
        stock.run(LATE_OPS[what](w))
        expected = stock.run(w)
    np.testing.assert_array_equal(session.run(built["w"]), expected)
