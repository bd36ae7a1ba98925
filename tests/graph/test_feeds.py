"""What may be fed, and how it is spread over the replicas."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.errors import ArgumentError
from autodist.strategy import AllReduce, PartitionedPS

tf1 = tf.compat.v1


def build() -> dict[str, Any]:
    x = tf1.placeholder(tf.float64, [None, 2], "x")
    y = tf1.placeholder(tf.float64, [None, 2], "y")
    rate = tf1.placeholder_with_default(tf.constant(3.0, tf.float64), [], "rate")
    shift = tf1.placeholder(tf.float64, [2], "shift")
    hidden = tf.identity(x * 2.0, "hidden")
    return {"sum": hidden + y, "scaled": hidden * rate, "shifted": hidden + shift, "hidden": hidden}


def batch(rows: int, start: float = 0.0) -> np.ndarray:
    return start + np.arange(2.0 * rows).reshape(rows, 2)


def test_batches_are_split_alike(distribute: Any) -> None:
    session, built = distribute(build, replicas=3)
    feed = {"x:0": batch(5), "y:0": batch(5, 100.0)}
    np.testing.assert_array_equal(session.run(built["sum"], feed), 3 * batch(5) + 100.0)


def test_batches_of_different_lengths_are_refused(distribute: Any) -> None:
    session, built = distribute(build)
    with pytest.raises(ArgumentError, match=r"different lengths: \{'x:0': 3, 'y:0': 4\}"):
        session.run(built["sum"], {"x:0": batch(3), "y:0": batch(4)})


def test_what_is_not_a_batch_goes_whole_to_every_replica(distribute: Any) -> None:
    session, built = distribute(build, replicas=3)
    feed = {"x:0": batch(4), "shift:0": [10.0, 20.0]}
    np.testing.assert_array_equal(session.run(built["shifted"], feed), 2 * batch(4) + [10.0, 20.0])


def test_a_default_is_used_unless_fed(distribute: Any) -> None:
    session, built = distribute(build)
    np.testing.assert_array_equal(session.run(built["scaled"], {"x:0": batch(3)}), 6 * batch(3))
    np.testing.assert_array_equal(
        session.run(built["scaled"], {"x:0": batch(3), "rate:0": 1.0}), 2 * batch(3)
    )


# What is fed, computed from four rows of two; with what; what is fetched beside the batch.
FED: dict[str, tuple[Any, Any, Any]] = {
    "columns": (
        lambda x: tf.transpose(x) * 2.0,
        np.ones([2, 4]),
        lambda x, t: [t + 1.0, tf.reduce_sum(t, 1)],
    ),
    "a mean": (lambda x: tf.reduce_mean(x, 0), np.array([3.0, 5.0]), lambda x, t: [t * 2.0, x - t]),
    "a sum": (lambda x: tf.reduce_sum(x, 0), np.array([3.0, 5.0]), lambda x, t: [t * 2.0, x / t]),
    "a number of rows": (
        lambda x: tf.shape(x)[0],
        7,
        lambda x, t: [t * 2, tf.cast(t, x.dtype) * x],
    ),
    "the largest": (tf.reduce_max, 3.0, lambda x, t: [x / t, t + 1.0]),
    "any": (lambda x: tf.reduce_any(x > 99.0), True, lambda x, t: [tf.where(t, x, -x)]),
    "fewer rows": (lambda x: x[1:], np.ones([3, 2]), lambda x, t: [t * 2.0, tf.reduce_mean(t)]),
    "rows that met": (tf.cumsum, np.ones([4, 2]), lambda x, t: [t * 2.0, tf.reduce_mean(t)]),
    "rows behind others": (
        lambda x: tf.transpose(tf.stack([x, -x], 1), [1, 0, 2]),
        np.arange(16.0).reshape(2, 4, 2),
        lambda x, t: [tf.reduce_sum(t, 0), t * 2.0],
    ),
}


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("name", FED)
def test_what_is_computed_from_the_batch_is_fed_as_on_one_node(
    name: str, replicas: int, distribute: Any
) -> None:
    compute, value, use = FED[name]

    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None, 2], "x")
        fed = compute(x)
        return fed, use(x, fed)

    rows = np.arange(1.0, 9.0).reshape(4, 2)
    session, (fed, fetched) = distribute(build, replicas=replicas)
    found = session.run(fetched, {"x:0": rows, fed: value})
    with tf.Graph().as_default(), tf1.Session() as stock:
        fed, fetched = build()
        expected = stock.run(fetched, {"x:0": rows, fed: value})
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_row_numbers_are_not_fed(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None], "x")
        numbers = tf.range(tf.shape(x)[0], name="numbers")
        return numbers, tf.gather(x, numbers)

    session, (numbers, gathered) = distribute(build)
    with pytest.raises(ArgumentError, match="cannot feed 'numbers:0'"):
        session.run(gathered, {"x:0": [1.0, 2.0], numbers: [1, 0]})


def test_an_intermediate_tensor_can_be_fed(distribute: Any) -> None:
    session, built = distribute(build, replicas=3)
    got = session.run(built["scaled"], {built["hidden"]: batch(7)})
    np.testing.assert_array_equal(got, 3 * batch(7))


def test_a_batch_can_be_fetched_as_it_was_fed(distribute: Any) -> None:
    session, built = distribute(build, replicas=3)
    got = session.run(["x:0", built["hidden"]], {"x:0": batch(2)})
    np.testing.assert_array_equal(got[0], batch(2))


def test_lists_and_numpy_scalars_are_fed_as_in_stock(distribute: Any) -> None:
    session, built = distribute(build)
    got = session.run(built["scaled"], {"x:0": [[1, 2], [3, 4]], "rate:0": np.float32(2)})
    assert got.tolist() == [[4, 8], [12, 16]]


def test_a_missing_feed_is_told_as_stock_tells_it(distribute: Any) -> None:
    session, built = distribute(build)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must feed a value for placeholder"):
        session.run(built["hidden"])


def test_a_feed_of_another_shape_is_told_as_stock_tells_it(distribute: Any) -> None:
    session, built = distribute(build)
    with pytest.raises(ValueError, match="Cannot feed value of shape"):
        session.run(built["hidden"], {"x:0": np.zeros([3, 5])})


@pytest.mark.parametrize("strategy", [AllReduce(), PartitionedPS(3, min_variable_bytes=0)])
def test_what_a_variable_is_read_as_can_be_fed(strategy: Any, distribute: Any) -> None:
    def build_variable() -> Any:
        v = tf1.get_variable("v", initializer=tf.zeros([5, 2], tf.float64))
        read = v.read_value()
        return read, tf1.placeholder(tf.float64, [None, 5], "x") @ read

    session, (read, product) = distribute(build_variable, strategy)
    got = session.run(product, {read: np.ones([5, 2]), "x:0": np.ones([3, 5])})
    np.testing.assert_array_equal(got, np.full([3, 2], 5.0))


def build_static() -> dict[str, Any]:
    x = tf1.placeholder(tf.float64, [4, 2], "x")
    w = tf1.get_variable("w", initializer=tf.ones([2, 1], tf.float64))
    loss = tf.reduce_mean(tf.square(tf.reshape(x, [8, 1])[:4] @ tf.reshape(w[:1], [1, 1])))
    train = tf1.train.GradientDescentOptimizer(0.01).minimize(loss)
    return {"loss": loss, "train": train, "w": w}


@pytest.mark.parametrize("strategy", [AllReduce(), PartitionedPS(2, min_variable_bytes=0)])
def test_a_batch_of_fixed_size_is_computed_whole(
    strategy: Any, distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    session, built = distribute(build_static, strategy)
    loss, _ = session.run([built["loss"], built["train"]], {"x:0": batch(4)})
    assert loss == pytest.approx(np.mean(np.arange(4.0) ** 2))
    expected = 1.0 - 0.01 * 2 * np.mean(np.arange(4.0) ** 2)
    np.testing.assert_allclose(session.run(built["w"]), [[expected], [1.0]])
    assert "nothing is split over the 2 replicas" in caplog.text


@pytest.mark.parametrize("strategy", [AllReduce(), PartitionedPS(2, min_variable_bytes=0)])
def test_sparse_tensors_are_fed_whole(strategy: Any, distribute: Any) -> None:
    def build_sparse() -> Any:
        ids = tf1.sparse_placeholder(tf.int64, [None, 4], "ids")
        y = tf1.placeholder(tf.float64, [None, 2], "y")
        v = tf1.get_variable("v", initializer=tf.reshape(tf.range(12.0, dtype=tf.float64), [6, 2]))
        found = tf.nn.safe_embedding_lookup_sparse(v, ids, combiner="sum")
        loss = tf.reduce_mean(tf.square(found - y))
        return ids, found, tf1.train.GradientDescentOptimizer(1.0).minimize(loss), v

    session, (ids, found, train, v) = distribute(build_sparse, strategy)
    value = tf1.SparseTensorValue([[0, 0], [1, 0], [1, 1], [2, 0]], [5, 0, 5, 2], [3, 4])
    feed = {ids: value, "y:0": np.zeros([3, 2])}
    rows = np.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(session.run(found, feed), [rows[5], rows[0] + rows[5], rows[2]])
    session.run(train, feed)
    expected = rows.copy()
    for row in ([5], [0, 5], [2]):
        expected[row] -= 2 * rows[row].sum(0) / 6
    np.testing.assert_allclose(session.run(v), expected)


def test_a_list_of_settings_is_not_split(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None], "x")
        scales = tf1.placeholder(tf.float64, [None], "scales")
        offsets = tf1.placeholder(tf.float64, [None], "offsets")
        first, second = tf.unstack(offsets, 2)
        return x * scales[1] + tf.gather(scales, 0) + first - second, x, scales, offsets

    session, (y, x, scales, offsets) = distribute(build)
    rows = np.arange(5.0)
    got = session.run(y, {x: rows, scales: [3.0, 2.0], offsets: [0.5, 0.25]})
    np.testing.assert_array_equal(got, rows * 2.0 + 3.25)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("fed", ["rows", "total", "smallest"])
def test_what_is_fed_in_place_of_a_tensor_reaches_the_updates_that_take_it(
    fed: str, is_late: bool, distribute: Any
) -> None:
    values = {"rows": np.arange(5.0), "total": 7.0, "smallest": -3.0}

    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None], "x")
        rows = x * 2.0
        total = tf.reduce_sum(rows)
        smallest = tf.minimum(total, tf.reduce_min(rows))
        variables = [tf.Variable(0.0, trainable=False, dtype=tf.float64) for _ in range(2)]
        return {"rows": rows, "total": total, "smallest": smallest}, variables

    def update(built: Any) -> Any:
        tensors, (first, second) = built
        return [first.assign(tensors["total"]).op, second.assign(tensors["smallest"]).op]

    made: list[Any] = []

    def build_and_update() -> Any:
        built = build()
        made.extend([] if is_late else update(built))
        return built

    session, built = distribute(build_and_update)
    tensors, variables = built
    feed = {tensors[fed]: values[fed]}
    if fed != "rows":
        feed["x:0"] = np.array([1.0, 2.0, 3.0])
    if is_late:
        session.run(tensors["rows"], feed)
        made.extend(update(built))
    session.run(made, feed)
    session.run(made, feed)
    total = 10.0 if fed == "rows" else values["total"] if fed == "total" else 12.0
    smallest = (
        values["smallest"] if fed == "smallest" else min(total, 0.0 if fed == "rows" else 2.0)
    )
    assert session.run(variables) == [total, smallest]
