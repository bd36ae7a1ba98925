"""Partial runs: feeds and fetches of one run in several calls."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.errors import ArgumentError, GraphStateError
from autodist.strategy import PartitionedPS

tf1 = tf.compat.v1
X = np.arange(20.0).reshape(5, 4)


@pytest.fixture
def session(spec_file: str) -> Any:
    autodist = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
    with tf.Graph().as_default(), autodist.scope():
        x = tf1.placeholder(tf.float64, [None, 4], "x")
        y = tf1.placeholder(tf.float64, [None, 2], "y")
        scale = tf1.placeholder(tf.float64, [], "scale")
        w = tf1.get_variable("w", initializer=tf.ones([4, 2], tf.float64))
        hidden = tf.identity(x @ w, "hidden")
        scaled = tf.multiply(hidden, scale, "scaled")
        tf.reduce_mean(tf.square(scaled - y), name="loss")
        with autodist.create_distributed_session() as session:
            yield session


def test_what_is_fed_later_continues_the_run(session: Any) -> None:
    handle = session.partial_run_setup(
        ["hidden:0", "scaled:0", "loss:0"], ["x:0", "scale:0", "y:0"]
    )
    hidden = session.partial_run(handle, "hidden:0", {"x:0": X})
    np.testing.assert_array_equal(hidden, X @ np.ones([4, 2]))
    scaled = session.partial_run(handle, "scaled:0", {"scale:0": 2.0})
    np.testing.assert_array_equal(scaled, 2 * hidden)
    loss = session.partial_run(handle, "loss:0", {"y:0": np.ones([5, 2])})
    assert loss == pytest.approx(np.mean((scaled - 1) ** 2))
    with pytest.raises(ArgumentError, match="there is no partial run"):
        session.partial_run(handle, "loss:0")


def test_a_tensor_computed_from_the_batch_can_be_fed(session: Any) -> None:
    handle = session.partial_run_setup(["scaled:0", "loss:0"], ["hidden:0", "scale:0", "y:0"])
    rows = np.arange(10.0).reshape(5, 2)
    session.partial_run(handle, "scaled:0", {"hidden:0": rows, "scale:0": 1.0})
    loss = session.partial_run(handle, "loss:0", {"y:0": np.zeros([5, 2])})
    assert loss == pytest.approx(np.mean(rows**2))


def test_batches_of_all_calls_have_one_length(session: Any) -> None:
    handle = session.partial_run_setup("loss:0", ["x:0", "scale:0", "y:0"])
    session.partial_run(handle, [], {"x:0": X})
    with pytest.raises(ArgumentError, match=r"different lengths: \{'x:0': 5, 'y:0': 4\}"):
        session.partial_run(handle, "loss:0", {"scale:0": 1.0, "y:0": np.ones([4, 2])})


def test_what_was_not_set_up_is_refused(session: Any) -> None:
    handle = session.partial_run_setup("hidden:0", "x:0")
    with pytest.raises(tf.errors.InvalidArgumentError, match="not specified in partial_run_setup"):
        session.partial_run(handle, "scaled:0", {"x:0": X})


def test_a_closed_session_sets_up_nothing(session: Any) -> None:
    session.close()
    with pytest.raises(GraphStateError, match="closed Session"):
        session.partial_run_setup("hidden:0", "x:0")
