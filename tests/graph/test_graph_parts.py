"""Tables, summaries, functions, loops and assertions: the other things that graphs hold."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import AllReduce, PartitionedPS

tf1 = tf.compat.v1
LAYOUTS = {"cut": lambda: PartitionedPS(2, min_variable_bytes=0), "copied": AllReduce}


@pytest.fixture(params=LAYOUTS)
def strategy(request: pytest.FixtureRequest) -> Any:
    return LAYOUTS[request.param]()


def test_lookup_tables_are_initialised_and_look_up(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        words = tf1.placeholder(tf.string, [None], "words")
        start = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([3, 1], tf.int64))
        table = tf.lookup.StaticHashTable(start, -1)
        rows = tf1.get_variable("rows", initializer=tf.reshape(tf.range(8.0), [4, 2]))
        ids = table.lookup(words)
        return ids, tf.nn.embedding_lookup(rows, tf.maximum(ids, 0))

    session, (ids, rows) = distribute(build, strategy)
    got_ids, got_rows = session.run([ids, rows], {"words:0": ["b", "a", "z"]})
    assert got_ids.tolist() == [1, 3, -1]
    assert got_rows.tolist() == [[2, 3], [6, 7], [0, 1]]


def test_a_mutable_table_is_one_table(distribute: Any) -> None:
    def build() -> Any:
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)
        words = tf1.placeholder(tf.string, [None], "words")
        return table.insert(["x"], tf.constant([5], tf.int64)), table.lookup(words), table.size()

    session, (insert, found, size) = distribute(build, AllReduce())
    session.run(insert)
    assert session.run(found, {"words:0": ["y", "x", "x"]}).tolist() == [0, 5, 5]
    assert session.run(size) == 1


def read_summary(serialised: bytes) -> dict[str, Any]:
    return {v.tag: v for v in tf1.Summary.FromString(serialised).value}


def test_summaries_are_of_the_whole_batch(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        v = tf1.get_variable("v", initializer=[1.0, 2.0, 3.0])
        tf1.summary.scalar("average", tf.reduce_mean(x))
        tf1.summary.scalar("seven", tf.constant(7.0))
        tf1.summary.histogram("inputs", x)
        tf1.summary.histogram("weights", v)
        return tf1.summary.merge_all()

    session, merged = distribute(build, strategy)
    found = read_summary(session.run(merged, {"x:0": [1.0, 2.0, 6.0]}))
    assert found["average"].simple_value == 3.0
    assert found["seven"].simple_value == 7.0
    assert (found["inputs"].histo.num, found["inputs"].histo.sum) == (3.0, 9.0)
    assert (found["weights"].histo.num, found["weights"].histo.sum) == (3.0, 6.0)


def test_a_function_that_reads_a_variable_sees_it_whole(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float64, [None, 3], "x")
        v = tf1.get_variable("v", initializer=tf.ones([3, 2], tf.float64))

        @tf.function
        def multiply(a: Any) -> Any:
            return a @ v

        y = multiply(x)
        loss = tf.reduce_mean(y)
        return y, tf1.train.GradientDescentOptimizer(1.0).minimize(loss), v

    session, (y, train, v) = distribute(build, PartitionedPS(3, min_variable_bytes=0))
    feed = {"x:0": np.arange(9.0).reshape(3, 3)}
    np.testing.assert_array_equal(session.run(y, feed), feed["x:0"] @ np.ones([3, 2]))
    session.run(train, feed)
    np.testing.assert_allclose(session.run(v)[:, 0], 1 - np.array([3.0, 4.0, 5.0]) / 2)


def test_a_function_sees_the_whole_batch_where_its_rows_meet(distribute: Any) -> None:
    @tf.function
    def double(a: Any) -> Any:
        return 2.0 * a if tf.reduce_sum(a) > 0.0 else a

    session, y = distribute(lambda: double(tf1.placeholder(tf.float32, [None], "x")), replicas=3)
    assert session.run(y, {"x:0": [1.0, 2.0, -5.0, 4.0]}).tolist() == [2.0, 4.0, -10.0, 8.0]


@pytest.mark.parametrize("v2", [False, True])
def test_tensor_arrays_and_loops_give_what_one_node_gives(v2: bool, distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None, 3], "x")
        (tf1.enable_control_flow_v2 if v2 else tf1.disable_control_flow_v2)()
        try:
            return tf.transpose(tf.map_fn(tf.cumsum, tf.transpose(x)))
        finally:
            tf1.enable_control_flow_v2()

    session, sums = distribute(build, replicas=2)
    x = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(session.run(sums, {"x:0": x}), x.cumsum(0))


def test_assertions_are_checked_on_every_replica(distribute: Any) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        with tf.control_dependencies([tf1.assert_positive(x)]):
            return tf.identity(x)

    session, x = distribute(build, replicas=2)
    assert session.run(x, {"x:0": [1.0, 2.0]}).tolist() == [1.0, 2.0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="x > 0"):
        session.run(x, {"x:0": [1.0, -2.0]})


@pytest.mark.filterwarnings("ignore:.*tf.numpy_function")
def test_python_functions_run_once_with_the_whole_batch(distribute: Any) -> None:
    seen = []

    def note(x: np.ndarray) -> np.ndarray:
        seen.append(len(x))
        return x + 1

    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None], "x")
        y = tf.numpy_function(note, [x], tf.float32)
        y.set_shape([None])
        return y

    session, y = distribute(build, replicas=2)
    assert session.run(y, {"x:0": [1.0, 2.0, 3.0]}).tolist() == [2.0, 3.0, 4.0]
    assert seen == [3]


def test_a_device_in_the_original_graph_does_not_bind_the_replicas(distribute: Any) -> None:
    def build() -> Any:
        with tf.device("/job:worker/task:3/device:CPU:0"):
            x = tf1.placeholder(tf.float32, [None], "x")
            v = tf1.get_variable("v", initializer=[2.0])
            return x * v

    session, y = distribute(build, replicas=2)
    assert session.run(y, {"x:0": [1.0, 2.0, 3.0]}).tolist() == [2.0, 4.0, 6.0]
