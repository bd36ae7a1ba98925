"""`AutoDist.function`: functions over arrays that run distributed."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.errors import ArgumentTypeError
from autodist.strategy import PartitionedPS

tf1 = tf.compat.v1
X = np.random.default_rng(0).normal(size=(7, 3))
Y = X.sum(1, keepdims=True)


@pytest.fixture
def autodist(spec_file: str) -> Any:
    autodist = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
    with tf.Graph().as_default(), autodist.scope():
        yield autodist
        if autodist.open_session() is not None:
            autodist.open_session().close()


class Batch(NamedTuple):
    x: Any
    y: Any


def train_by_hand(steps: int) -> tuple[list[float], np.ndarray]:
    w, losses = np.zeros([3, 1]), []
    for _ in range(steps):
        error = X @ w - Y
        losses.append(float(np.mean(error**2)))
        w -= 0.125 * 2 * X.T @ error / error.size
    return losses, w


def test_a_function_trains_as_one_node_does(autodist: Any, tmp_path: Any) -> None:
    w = tf1.get_variable("w", initializer=tf.zeros([3, 1], tf.float64))
    built = []

    @autodist.function
    def train_step(x: Any, y: Any) -> Any:
        """Trains."""
        built.append((x, y))
        loss = tf.reduce_mean(tf.square(x @ w - y))
        optimizer = tf_keras.optimizers.SGD(0.125)
        return loss, optimizer.apply_gradients([(tf.gradients(loss, w)[0], w)]), w

    results = [train_step(X, y=Y) for _ in range(3)]
    losses, expected = train_by_hand(3)
    np.testing.assert_allclose([r[0] for r in results], losses, rtol=1e-9)
    assert results[0][1] is None
    assert len(built) == 1
    assert built[0][0].shape.as_list() == [None, 3]
    assert train_step.__doc__ == "Trains."
    session = autodist.create_distributed_session()
    np.testing.assert_allclose(session.run(w), expected, rtol=1e-9)
    path = Saver([w]).save(session, str(tmp_path / "m"))
    np.testing.assert_allclose(tf.train.load_variable(path, "w"), expected, rtol=1e-9)


def test_a_method_takes_a_batch_in_a_structure(autodist: Any) -> None:
    class Model:
        def __init__(self) -> None:
            self.w = tf.Variable(tf.zeros([3, 1], tf.float64))
            self.optimizer = tf1.train.GradientDescentOptimizer(0.125)

        @autodist.function
        def train_step(self, batch: Any, options: Any = None) -> Any:
            loss = tf.reduce_mean(tf.square(batch.x @ self.w - batch.y))
            train = self.optimizer.minimize(loss)
            return {"loss": loss, "train": train, "options": options}

    model = Model()
    got = [model.train_step(Batch(X, Y), options="kept") for _ in range(3)]
    np.testing.assert_allclose([g["loss"] for g in got], train_by_hand(3)[0], rtol=1e-9)
    assert got[0]["train"] is None
    assert got[0]["options"] == "kept"


def test_an_iterator_is_part_of_the_graph(autodist: Any) -> None:
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(4)
    rows = tf1.data.make_one_shot_iterator(dataset).get_next()
    double = autodist.function(lambda x: 2.0 * x)
    np.testing.assert_array_equal(double(rows), 2 * X[:4])
    np.testing.assert_array_equal(double(rows), 2 * X[4:])


def test_other_arguments_build_another_graph(autodist: Any) -> None:
    built = []

    @autodist.function
    def scale(x: Any, factor: float, rows: Any = None) -> Any:
        built.append(factor)
        v = tf1.get_variable(f"v{len(built)}", initializer=factor)
        return x * tf.cast(v, x.dtype) if rows is None else x

    np.testing.assert_array_equal(scale(X, 2.0), 2 * X)
    np.testing.assert_array_equal(scale(X[:2], 2.0), 2 * X[:2])
    np.testing.assert_array_equal(scale(X, 3.0), 3 * X)
    np.testing.assert_array_equal(scale(X[:, :2], 3.0), 3 * X[:, :2])
    np.testing.assert_array_equal(scale(X.astype(np.float32), 3.0), 3 * X.astype(np.float32))
    assert built == [2.0, 3.0, 3.0, 3.0]


def test_two_functions_share_the_session(autodist: Any) -> None:
    w = tf1.get_variable("w", initializer=tf.zeros([3, 1], tf.float64))

    @autodist.function
    def train_step(x: Any, y: Any) -> Any:
        loss = tf.reduce_mean(tf.square(x @ w - y))
        return loss, tf1.train.GradientDescentOptimizer(0.125).minimize(loss)

    predict = autodist.function(lambda x: x @ w)
    train_step(X, Y)
    np.testing.assert_allclose(predict(X), X @ train_by_hand(1)[1], rtol=1e-9)


def test_a_function_is_called_outside_of_the_scope(spec_file: str) -> None:
    autodist = AutoDist(spec_file)
    double = autodist.function(lambda x: 2 * x)
    assert tf.executing_eagerly()
    for rows in (X, X[:1]):
        np.testing.assert_array_equal(double(rows), 2 * rows)
    autodist.open_session().close()
    with pytest.raises(RuntimeError, match="closed"):
        double(X)


def test_a_function_that_returns_nothing_is_refused(autodist: Any) -> None:
    @autodist.function
    def nothing(x: Any) -> None:
        tf.square(x)

    with pytest.raises(ArgumentTypeError, match="nothing returned None, in which there is nothing"):
        nothing(X)
