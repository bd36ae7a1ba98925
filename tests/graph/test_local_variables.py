"""Variables that are updated with values of the batch: batch norm, metrics, running averages, copies."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce, PartitionedPS
from support.equivalence import training

tf1 = tf.compat.v1
LAYOUTS = {"cut": lambda: PartitionedPS(2, min_variable_bytes=0), "copied": AllReduce}


@pytest.fixture(params=LAYOUTS)
def strategy(request: pytest.FixtureRequest) -> Any:
    return LAYOUTS[request.param]()


def draw(rows: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(rows, 3))


def build_batch_norm() -> dict[str, Any]:
    x = tf1.placeholder(tf.float64, [None, 3], "x")
    w = tf1.get_variable("w", initializer=tf.ones([3, 2], tf.float64))
    mean = tf1.get_variable("moving_mean", initializer=tf.zeros([2], tf.float64), trainable=False)
    hidden = x @ w
    batch_mean, batch_variance = tf.nn.moments(hidden, [0])
    normal = (hidden - batch_mean) * tf.math.rsqrt(batch_variance + 0.1)
    tf.gradients(tf.reduce_mean(normal), w)
    update = mean.assign(mean * 0.9 + batch_mean * 0.1)
    return {"normal": normal, "update": update, "mean": mean, "used": hidden - mean}


def test_each_replica_normalises_its_own_part(strategy: Any, distribute: Any) -> None:
    session, built = distribute(build_batch_norm, strategy, 3)
    x = draw(7)
    got = session.run(built["normal"], {"x:0": x})
    hidden = x @ np.ones([3, 2])
    parts = [(p - p.mean(0)) / np.sqrt(p.var(0) + 0.1) for p in np.split(hidden, [3, 5])]
    np.testing.assert_allclose(got, np.concatenate(parts), rtol=1e-9, atol=1e-12)


def test_a_moving_average_is_that_of_the_whole_batch(strategy: Any, distribute: Any) -> None:
    session, built = distribute(build_batch_norm, strategy, 2)
    expected = np.zeros(2)
    for rows in (6, 7, 1):
        session.run(built["update"].op, {"x:0": draw(rows)})
        expected = expected * 0.9 + (draw(rows) @ np.ones([3, 2])).mean(0) * 0.1
    np.testing.assert_allclose(session.run(built["mean"]), expected, rtol=1e-9)


def test_a_value_loaded_reaches_every_replicas_copy(strategy: Any, distribute: Any) -> None:
    session, built = distribute(build_batch_norm, strategy, 2)
    session.run(built["update"].op, {"x:0": draw(6)})
    built["mean"].load(np.array([5.0, 6.0]), session)
    got = session.run(built["used"], {"x:0": draw(5)})
    np.testing.assert_allclose(got, draw(5) @ np.ones([3, 2]) - [5.0, 6.0], rtol=1e-9)
    np.testing.assert_allclose(session.run(built["mean"]), [5.0, 6.0])


def test_the_moving_average_of_the_whole_batch_is_saved(
    strategy: Any, distribute: Any, tmp_path: Path
) -> None:
    session, built = distribute(build_batch_norm, strategy, 3)
    session.run(built["update"].op, {"x:0": draw(7)})
    path = Saver().save(session, str(tmp_path / "m"))
    saved = tf.train.load_checkpoint(path).get_tensor("moving_mean")
    np.testing.assert_array_equal(saved, session.run(built["mean"]))
    np.testing.assert_allclose(saved, (draw(7) @ np.ones([3, 2])).mean(0) * 0.1, rtol=1e-9)


def test_a_restored_moving_average_reaches_every_replicas_copy(
    strategy: Any, distribute: Any, tmp_path: Path
) -> None:
    session, built = distribute(build_batch_norm, strategy, 2)
    saver = Saver()
    built["mean"].load(np.array([5.0, 6.0]), session)
    path = saver.save(session, str(tmp_path / "m"))
    session.run(built["update"].op, {"x:0": draw(6)})
    saver.restore(session, path)
    got = session.run(built["used"], {"x:0": draw(5)})
    np.testing.assert_allclose(got, draw(5) @ np.ones([3, 2]) - [5.0, 6.0], rtol=1e-9)


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
def test_an_update_in_a_branch_has_the_mean_of_the_whole_batch(
    rows: int, v2: bool, strategy: Any, distribute: Any
) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None, 3], "x")
        is_training = tf1.placeholder(tf.bool, [], "is_training")
        mean = tf1.get_variable("mean", initializer=tf.zeros([3], tf.float64), trainable=False)
        value = tf.reduce_mean(x, 0)
        with training.control_flow(v2):
            update = tf.cond(is_training, lambda: mean.assign_add(value), mean.read_value)
        return mean, update

    session, (mean, update) = distribute(build, strategy, 2)
    for is_training in (True, False, True):
        session.run(update, {"x:0": draw(rows), "is_training:0": is_training})
    np.testing.assert_allclose(session.run(mean), 2 * draw(rows).mean(0), rtol=1e-9)


def test_a_count_in_a_branch_is_that_of_the_whole_batch(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None], "x")
        how = tf.VariableAggregation.SUM
        seen = tf.Variable(0.0, trainable=False, dtype=tf.float64, aggregation=how)
        count = tf.cast(tf.size(x), tf.float64)
        update = tf.cond(tf.constant(value=True), lambda: seen.assign_add(count), seen.read_value)
        return seen, update

    session, (seen, update) = distribute(build, replicas=3)
    for rows in (7, 1):
        session.run(update, {"x:0": np.zeros(rows)})
    assert session.run(seen) == 8.0


def test_a_sum_in_a_branch_of_what_python_computes_is_that_of_the_whole_batch(
    distribute: Any,
) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None], "x")
        how = tf.VariableAggregation.SUM
        seen = tf.Variable(0.0, trainable=False, dtype=tf.float64, aggregation=how)
        made = tf.ensure_shape(tf1.py_func(np.sum, [x], tf.float64), [])
        update = tf.cond(tf.constant(value=True), lambda: seen.assign_add(made), seen.read_value)
        return seen, update

    session, (seen, update) = distribute(build)
    session.run(update, {"x:0": [1.0, 2.0, 4.0]})
    assert session.run(seen) == 7.0


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_keras_batch_normalisation_trains(package: str, strategy: Any, distribute: Any) -> None:
    keras = pytest.importorskip(package)

    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None, 3], "x")
        layer = keras.layers.BatchNormalization(momentum=0.5, dtype="float64")
        y = layer(x, training=True)
        loss = tf.reduce_mean(tf.square(y - 1.0))
        train = tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
        updates = list(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS))
        return loss, train, updates

    session, (loss, train, updates) = distribute(build, strategy, 2)
    losses = [session.run([loss, train, updates], {"x:0": draw(8)})[0] for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_a_streaming_mean_is_that_of_the_whole_batch(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        return tf1.metrics.mean(x)

    session, (value, update) = distribute(build, strategy, 3)
    for batch in ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0], [7.0]):
        session.run(update.op, {"x:0": batch})
    assert session.run(value) == pytest.approx(4.0)


SCALARS: dict[str, tuple[Any, float]] = {
    "a mean": (tf.reduce_mean, 2.0 + 5.0 + 6.5),
    "half a mean": (lambda x: 0.5 * tf.reduce_sum(tf.reduce_mean(x)), (2.0 + 5.0 + 6.5) / 2),
    "a ratio of sums": (lambda x: tf.reduce_sum(x) / tf.cast(tf.size(x), tf.float64), 13.5),
}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("aggregation", ["NONE", "SUM"])
def test_a_scalar_updated_with_means_has_the_value_of_one_node(
    name: str, aggregation: str, strategy: Any, distribute: Any
) -> None:
    compute, expected = SCALARS[name]

    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None], "x")
        how = getattr(tf.VariableAggregation, aggregation)
        total = tf.Variable(0.0, dtype=tf.float64, trainable=False, aggregation=how)
        return total, total.assign_add(compute(x))

    session, (total, update) = distribute(build, strategy, 3)
    for batch in ([1.0, 1.0, 2.0, 4.0], [5.0], [6.0, 7.0]):
        session.run(update.op, {"x:0": batch})
    assert session.run(total) == pytest.approx(expected)


def test_accuracy_is_that_of_the_whole_batch(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.int64, [None], "x")
        y = tf1.placeholder(tf.int64, [None], "y")
        return tf1.metrics.accuracy(x, y)

    session, (value, update) = distribute(build, strategy, 2)
    session.run(update.op, {"x:0": [1, 2, 3, 4, 5], "y:0": [1, 2, 0, 4, 0]})
    assert session.run(value) == pytest.approx(0.6)


def test_an_integer_counter_of_the_batch_needs_no_aggregation(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        seen = tf1.get_variable("seen", initializer=tf.constant(0), trainable=False)
        return seen, seen.assign_add(tf.shape(x)[0]).op

    session, (seen, update) = distribute(build, replicas=3)
    for rows in (5, 1):
        session.run(update, {"x:0": np.zeros(rows)})
    assert session.run(seen) == 6


def test_an_integer_counter_of_the_batch_is_summed_when_it_says_so(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        seen = tf.Variable(
            100, name="seen", trainable=False, aggregation=tf.VariableAggregation.SUM
        )
        return seen, tf.group(seen.assign_add(tf.size(x)))

    session, (seen, count) = distribute(build, replicas=3)
    for rows in (7, 3, 2):
        session.run(count, {"x:0": np.zeros(rows)})
    assert session.run(seen) == 100 + 12
    session.run(seen.assign(5))
    assert session.run(seen) == 5


def test_a_batch_of_fewer_rows_than_replicas_counts_its_rows(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        seen = tf.Variable(0, name="seen", trainable=False, aggregation=tf.VariableAggregation.SUM)
        return seen, tf.group(seen.assign_add(tf.size(x)))

    session, (seen, count) = distribute(build, replicas=3)
    session.run(count, {"x:0": [1.0]})
    assert session.run(seen) == 1


COPIES = {"MEAN": (2.0 + 4.0) / 2, "ONLY_FIRST_REPLICA": 2.0}


def keep_largest(how: str) -> tuple[Any, Any]:
    """A variable that a branch updates which returns rows: it cannot be made once, and no rule says what it holds."""
    x = tf1.placeholder(tf.float64, [None], "x")
    aggregation = getattr(tf.VariableAggregation, how)
    last = tf.Variable(0.0, name="last", trainable=False, dtype=tf.float64, aggregation=aggregation)

    def step() -> Any:
        with tf.control_dependencies([last.assign(tf.reduce_max(x))]):
            return x * 2.0

    with training.control_flow(v2=True):
        rows = tf.cond(tf1.placeholder_with_default(True, []), step, lambda: x)
    return last, tf.reduce_sum(rows)


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_aggregated_as_the_variable_declares_where_nothing_is_proved(
    how: str, distribute: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "autodist"):
        session, (last, total) = distribute(lambda: keep_largest(how), replicas=2)
    text = rf"copy of variable 'last'.*aggregation={how}.*returns"
    assert [r for r in caplog.records if re.search(text, r.getMessage())]
    session.run(total.op, {"x:0": [1.0, 2.0, 3.0, 4.0]})
    assert session.run(last) == COPIES[how]
    saved = Saver([last]).save(session, str(tmp_path / "m"))
    assert tf.train.load_checkpoint(saved).get_tensor("last") == COPIES[how]


def test_what_is_made_of_copies_is_made_of_their_aggregate(distribute: Any) -> None:
    def build() -> Any:
        first, total = keep_largest("ONLY_FIRST_REPLICA")
        after = tf.Variable(0.0, trainable=False, dtype=tf.float64)
        return total, after, after.assign(first.read_value() * 10.0)

    session, (total, after, assign) = distribute(build, replicas=2)
    session.run(total.op, {"x:0": [1.0, 2.0, 3.0, 4.0]})
    session.run(assign.op)
    assert session.run(after) == 20.0
