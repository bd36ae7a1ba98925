"""`batch_dims`: the user says where the batch lies, and what is no batch."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.errors import ArgumentError, ArgumentTypeError
from autodist.strategy import PartitionedPS

tf1 = tf.compat.v1
RNG = np.random.default_rng(0)


@pytest.fixture
def distribute_with(graph: Any, make_autodist: Any) -> Any:
    """Builds a graph in a scope; returns the session made with `batch_dims`, and what was built."""
    sessions = []

    def distribute_with(build: Any, batch_dims: Any, replicas: int = 2) -> Any:
        autodist = make_autodist(PartitionedPS(2, min_variable_bytes=0), replicas)
        with autodist.scope():
            built = build()
            asked = batch_dims(built) if callable(batch_dims) else batch_dims
            sessions.append(autodist.create_distributed_session(batch_dims=asked))
        return sessions[-1], built

    yield distribute_with
    for session in sessions:
        session.close()


def build_time_major(steps: int | None) -> dict[str, Any]:
    x = tf1.placeholder(tf.float64, [steps, None, 3], "x")
    y = tf1.placeholder(tf.float64, [None, 2], "y")
    w = tf1.get_variable("w", initializer=tf.ones([3, 2], tf.float64))
    outputs = tf.tanh(tf.tensordot(x, w, 1), "outputs")
    last = tf.identity(outputs[-1], "last")
    loss = tf.reduce_mean(tf.square(last - y))
    train = tf1.train.GradientDescentOptimizer(0.5).minimize(loss)
    return {"x": x, "w": w, "outputs": outputs, "last": last, "loss": loss, "train": train}


@pytest.mark.parametrize("steps", [4, None])
@pytest.mark.parametrize("rows", [1, 5, 6])
def test_a_batch_in_the_second_dimension_is_split_there(
    steps: int | None, rows: int, distribute_with: Any
) -> None:
    x, y = RNG.normal(size=(4, rows, 3)), RNG.normal(size=(rows, 2))
    session, built = distribute_with(lambda: build_time_major(steps), {"x:0": 1}, 3)
    fetches = [built["outputs"], built["last"], built["loss"]]
    got = session.run([fetches, built["train"]], {"x:0": x, "y:0": y})[0]
    with tf.Graph().as_default(), tf1.Session() as stock:
        built_again = build_time_major(steps)
        stock.run(tf1.global_variables_initializer())
        fetches = [built_again["outputs"], built_again["last"], built_again["loss"]]
        expected = stock.run([fetches, built_again["train"]], {"x:0": x, "y:0": y})[0]
        w = stock.run(built_again["w"])
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose(session.run(built["w"]), w, rtol=1e-9)


def test_a_replica_that_gets_no_rows_along_the_second_dimension_computes_on_the_last(
    distribute_with: Any,
) -> None:
    def build() -> Any:
        return tf.sqrt(tf1.placeholder(tf.float64, [2, None, 3], "x"))

    session, roots = distribute_with(build, {"x:0": 1}, 3)
    options = tf1.RunOptions(trace_level=tf1.RunOptions.FULL_TRACE)
    for rows, sizes in ((4, [2, 1, 1]), (2, [1, 1, 1]), (1, [1, 1, 1]), (0, [0, 0, 0])):
        x, metadata = RNG.uniform(size=(2, rows, 3)), tf1.RunMetadata()
        found = session.run(roots, {"x:0": x}, options=options, run_metadata=metadata)
        np.testing.assert_array_equal(found, np.sqrt(x))
        shapes = [
            [dim.size for dim in node.output[0].tensor_description.shape.dim]
            for device in metadata.step_stats.dev_stats
            for node in device.node_stats
            if node.timeline_label.partition(" = ")[2].startswith("Sqrt(")
        ]
        assert sorted(shapes, reverse=True) == [[2, size, 3] for size in sizes], rows


def test_none_gives_every_replica_the_whole(distribute_with: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None, 2], "x")
        table = tf1.placeholder(tf.float64, [None], "table")
        return table, tf.reduce_sum(x, 1) * tf.reduce_sum(table)

    session, (_, fetched) = distribute_with(build, lambda built: {built[0].ref(): None})
    got = session.run(fetched, {"x:0": np.ones([5, 2]), "table:0": [1.0, 2.0, 4.0]})
    np.testing.assert_array_equal(got, np.full([5], 14.0))


def test_a_batch_of_known_size_is_split_when_asked_for(distribute_with: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [6, 2], "x")
        w = tf1.get_variable("w", initializer=tf.ones([2, 1], tf.float64))
        y = tf.sigmoid(x @ w)
        return y, tf.reduce_mean(y)

    x = RNG.normal(size=(6, 2))
    session, (y, loss) = distribute_with(build, {"x:0": 0}, 3)
    got = session.run([y, loss], {"x:0": x})
    expected = 1 / (1 + np.exp(-x.sum(1, keepdims=True)))
    np.testing.assert_allclose(got[0], expected, rtol=1e-9)
    assert got[1] == pytest.approx(expected.mean())
    parts = [p for p in session.transformed_graph.get_operations() if p.type == "Sigmoid"]
    assert len(parts) == 3


def test_a_tensor_that_is_no_placeholder_can_be_split(distribute_with: Any) -> None:
    rows = np.arange(7.0)

    def build() -> Any:
        queue = tf1.FIFOQueue(10, tf.float64, shapes=[[]])
        batch = queue.dequeue_many(7)
        return queue.enqueue_many([rows]), batch, tf.sqrt(batch)

    session, (fill, _, roots) = distribute_with(build, lambda built: {built[1]: 0}, 2)
    session.run(fill)
    np.testing.assert_allclose(session.run(roots), np.sqrt(rows))
    assert len([o for o in session.transformed_graph.get_operations() if o.type == "Sqrt"]) == 2


def test_it_says_how_a_fetched_tensor_is_joined(distribute_with: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None, 2], "x")
        return tf.transpose(x), tf.where(x[:, 0] > 0)[:, 0] * 0 + 1

    session, (turned, _) = distribute_with(build, lambda built: {built[0]: 1})
    x = RNG.normal(size=(5, 2))
    np.testing.assert_array_equal(session.run(turned, {"x:0": x}), x.T)


def test_lengths_are_those_along_the_dimension(distribute_with: Any) -> None:
    session, built = distribute_with(lambda: build_time_major(4), {"x:0": 1})
    with pytest.raises(ArgumentError, match=r"different lengths: \{'x:0': 5, 'y:0': 4\}"):
        session.run(built["loss"], {"x:0": np.ones([4, 5, 3]), "y:0": np.ones([4, 2])})


def test_a_default_of_another_length_is_refused_by_the_step(distribute_with: Any) -> None:
    def build() -> Any:
        weights = tf1.placeholder_with_default(tf.ones([1], tf.float64), [None], "weights")
        x = tf1.placeholder(tf.float64, [None], "x")
        return weights, tf.reduce_mean(x * weights)

    session, (_, mean) = distribute_with(build, None)
    with pytest.raises(tf.errors.InvalidArgumentError, match="different numbers of rows"):
        session.run(mean, {"x:0": [1.0, 2.0, 6.0]})
    session.run(mean, {"x:0": [1.0, 2.0], "weights:0": [1.0, 1.0]})


def test_a_default_that_is_no_batch_is_used_whole(distribute_with: Any) -> None:
    def build() -> Any:
        weights = tf1.placeholder_with_default(tf.ones([1], tf.float64), [None], "weights")
        x = tf1.placeholder(tf.float64, [None], "x")
        return weights, tf.reduce_mean(x * weights)

    session, (_, mean) = distribute_with(build, {"weights:0": None})
    assert session.run(mean, {"x:0": [1.0, 2.0, 6.0]}) == 3.0


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no tensor": ({"z:0": 0}, ArgumentError, "batch_dims names 'z:0', no tensor"),
    "an op": ({"x": 0}, ArgumentError, "batch_dims names 'x', no tensor"),
    "no dimension": ({"x:0": 3}, ArgumentError, "and no such dimension"),
    "no number": ({"x:0": "1"}, ArgumentTypeError, "expected the number of a dimension"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_batch_dimension_is_refused(name: str, distribute_with: Any) -> None:
    batch_dims, error, message = BAD[name]
    with pytest.raises(error, match=message):
        distribute_with(lambda: build_time_major(4), batch_dims)


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_empty_batch_gives_what_a_single_node_gives(replicas: int, distribute_with: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None, 2], "x")
        w = tf1.get_variable("w", initializer=tf.ones([2, 1], tf.float64))
        y = x @ w
        loss = tf.reduce_mean(y)
        return y, loss, w, tf1.train.GradientDescentOptimizer(1.0).minimize(loss)

    session, (y, loss, w, train) = distribute_with(build, None, replicas)
    rows, mean, _ = session.run([y, loss, train], {"x:0": np.zeros([0, 2])})
    assert rows.shape == (0, 1)
    assert np.isnan(mean)
    np.testing.assert_array_equal(session.run(w), np.ones([2, 1]))


KNOWN_ROWS = np.arange(6.0)


def build_with_a_constant(x: Any, w: Any) -> Any:
    return tf.reduce_mean(tf.square(w * x - KNOWN_ROWS))


def build_with_a_static_placeholder(x: Any, w: Any) -> Any:
    other = tf1.placeholder_with_default(tf.constant(KNOWN_ROWS), [6])
    return tf.reduce_mean(tf.square(other * w - x))


def build_with_logits_of_known_rows(x: Any, w: Any) -> Any:
    logits = tf.stack([w * KNOWN_ROWS, -w * KNOWN_ROWS], 1)
    labels = tf.cast(x > 0, tf.int32)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


@pytest.mark.parametrize(
    "build_loss",
    [build_with_a_constant, build_with_a_static_placeholder, build_with_logits_of_known_rows],
)
def test_a_batch_that_meets_data_of_known_rows_is_not_split(
    build_loss: Any, distribute_with: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None], "x")
        w = tf1.get_variable("w", initializer=tf.constant(2.0, tf.float64))
        loss = build_loss(x, w)
        return loss, w, tf1.train.GradientDescentOptimizer(0.125).minimize(loss)

    def run(session: Any, built: Any) -> Any:
        loss, w, train = built
        losses = [session.run([loss, train], {"x:0": KNOWN_ROWS - 2})[0] for _ in range(3)]
        return [*losses, session.run(w)]

    got = run(*distribute_with(build, None))
    assert "x:0 is not split over the replicas" in caplog.text
    with tf.Graph().as_default(), tf1.Session() as stock:
        built = build()
        stock.run(tf1.global_variables_initializer())
        np.testing.assert_allclose(got, run(stock, built), rtol=1e-9)


def test_a_vector_that_scales_the_columns_does_not_keep_a_batch_from_being_split(
    distribute_with: Any,
) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None, 6], "x")
        scale = tf1.placeholder_with_default(tf.constant(KNOWN_ROWS), [6])
        return tf.identity(x * scale * tf.ones([1, 6], tf.float64))

    session, scaled = distribute_with(build, None)
    assert session.run(scaled, {"x:0": np.ones([3, 6])}).tolist() == [KNOWN_ROWS.tolist()] * 3
    names = [op.name for op in session.transformed_graph.get_operations()]
    assert any(name.startswith("replica_1/") for name in names)


def test_a_batch_of_known_size_that_is_asked_for_meets_one_of_unknown_size(
    distribute_with: Any,
) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [5], "x")
        y = tf1.placeholder(tf.float64, [None], "y")
        return tf.reduce_mean(tf.square(x - y)), x - y

    session, fetches = distribute_with(build, {"x:0": 0})
    assert len(session._transformer.batch.roots) == 2
    mean, rows = session.run(fetches, {"x:0": np.arange(5.0), "y:0": np.ones(5)})
    np.testing.assert_allclose(mean, 3.0)
    np.testing.assert_array_equal(rows, np.arange(5.0) - 1.0)
