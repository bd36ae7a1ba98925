"""A step consumes from a `tf.data` iterator what a step of the original graph consumes."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import AllReduce, PartitionedPS

tf1 = tf.compat.v1
ROWS = np.arange(11.0)


def make_dataset() -> Any:
    return tf1.data.Dataset.from_tensor_slices((ROWS, ROWS * 2)).batch(4)


def make_one_shot() -> tuple[Any, Any]:
    return tf1.data.make_one_shot_iterator(make_dataset()).get_next(), None


def make_initializable() -> tuple[Any, Any]:
    iterator = tf1.data.make_initializable_iterator(make_dataset())
    return iterator.get_next(), iterator.initializer


def make_reinitializable() -> tuple[Any, Any]:
    dataset = make_dataset()
    iterator = tf1.data.Iterator.from_structure(
        tf1.data.get_output_types(dataset), tf1.data.get_output_shapes(dataset)
    )
    return iterator.get_next(), iterator.make_initializer(dataset)


KINDS = [make_one_shot, make_initializable, make_reinitializable]


def build(make: Callable[[], tuple[Any, Any]]) -> dict[str, Any]:
    (x, y), initializer = make()
    w = tf1.get_variable("w", initializer=tf.constant([0.5, 0.5], tf.float64))
    loss = tf.reduce_mean(tf.square(w[0] * x + w[1] - y))
    train = tf1.train.GradientDescentOptimizer(0.01).minimize(loss)
    return {"x": x, "loss": loss, "train": train, "w": w, "initializer": initializer}


def run_epoch(session: Any, built: dict[str, Any]) -> list[Any]:
    if built["initializer"] is not None:
        session.run(built["initializer"])
    found = []
    with contextlib.suppress(tf.errors.OutOfRangeError):
        while True:
            found.append(session.run([built["x"], built["loss"], built["train"]])[:2])
    return [*found, session.run(built["w"])]


@pytest.mark.parametrize("make", KINDS, ids=lambda m: m.__name__)
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_step_consumes_one_batch_and_trains_on_all_of_it(
    make: Any, replicas: int, distribute: Any
) -> None:
    strategy = AllReduce() if replicas == 3 else PartitionedPS(2, min_variable_bytes=0)
    with tf.Graph().as_default(), tf1.Session() as stock:
        reference = build(make)
        stock.run(tf1.global_variables_initializer())
        expected = run_epoch(stock, reference)

    session, built = distribute(lambda: build(make), strategy, replicas)
    got = run_epoch(session, built)

    assert len(got) == len(expected) == 4
    for (x, loss), (expected_x, expected_loss) in zip(got[:-1], expected[:-1], strict=True):
        np.testing.assert_array_equal(x, expected_x)
        assert loss == pytest.approx(expected_loss, rel=1e-9)
    np.testing.assert_allclose(got[-1], expected[-1], rtol=1e-9)


def test_an_iterator_can_start_again(distribute: Any) -> None:
    session, built = distribute(lambda: build(make_initializable), replicas=2)
    for _ in range(2):
        session.run(built["initializer"])
        np.testing.assert_array_equal(session.run(built["x"]), ROWS[:4])


def test_an_iterator_whose_data_are_fed(distribute: Any) -> None:
    def build_fed() -> Any:
        data = tf1.placeholder(tf.float64, [None], "data")
        dataset = tf1.data.Dataset.from_tensor_slices(data).batch(3)
        iterator = tf1.data.make_initializable_iterator(dataset)
        return iterator.initializer, iterator.get_next() * 2.0

    session, (initializer, doubled) = distribute(build_fed, replicas=2)
    session.run(initializer, {"data:0": ROWS})
    np.testing.assert_array_equal(session.run(doubled), ROWS[:3] * 2)
    np.testing.assert_array_equal(session.run(doubled), ROWS[3:6] * 2)


def test_batches_of_fixed_size_are_computed_whole(distribute: Any) -> None:
    def build_fixed() -> Any:
        dataset = tf1.data.Dataset.from_tensor_slices(ROWS).batch(4, drop_remainder=True)
        x = tf1.data.make_one_shot_iterator(dataset).get_next()
        return x, tf.reduce_mean(x)

    session, (x, mean) = distribute(build_fixed, replicas=2)
    assert session.run(x).tolist() == [0, 1, 2, 3]
    assert session.run(mean) == 5.5


def test_an_iterators_output_can_be_fed_instead(distribute: Any) -> None:
    session, built = distribute(lambda: build(make_one_shot), replicas=2)
    got = session.run(built["x"], {built["x"]: [7.0, 8.0, 9.0]})
    assert got.tolist() == [7.0, 8.0, 9.0]
