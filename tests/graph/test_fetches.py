"""What is fetched of a tensor that each replica has its own value of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import AllReduce, PartitionedPS

tf1 = tf.compat.v1
ROWS = np.arange(7.0)


def build_input() -> Any:
    return tf1.placeholder(tf.float64, [None], "x")


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_tensors_of_the_batch_are_concatenated_in_its_order(
    rows: int, replicas: int, distribute: Any
) -> None:
    session, x = distribute(lambda: build_input() * 2.0, replicas=replicas)
    np.testing.assert_array_equal(session.run(x, {"x:0": ROWS[:rows]}), 2.0 * ROWS[:rows])


COMPUTED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "mean": (tf.reduce_mean, ROWS.mean()),
    "mean of a vector": (lambda x: tf.reduce_mean(tf.stack([x, -x], 1), 0), [3.0, -3.0]),
    "count": (lambda x: tf.reduce_sum(tf.cast(x > 2.0, tf.int32)), 4),
    "count, reshaped": (lambda x: tf.reshape(tf.reduce_sum(tf.cast(x > 2.0, tf.int64)), [1]), [4]),
    "histogram": (
        lambda x: tf.math.unsorted_segment_sum(tf.ones_like(x, tf.int32), tf.cast(x, tf.int32), 7),
        [1] * 7,
    ),
    "strings": (tf.strings.as_string, [f"{i:f}".encode() for i in range(7)]),
    "booleans": (lambda x: x > 3.0, [False] * 4 + [True] * 3),
    "complex": (lambda x: tf.reduce_mean(tf.complex(x, x)), 3.0 + 3.0j),
    "constant": (lambda _: tf.constant(4), 4),
    "the batch": (lambda x: x, ROWS),
    "rows": (lambda x: tf.shape(x)[0], 7),
    "elements": (lambda x: tf.cast(tf.size(tf.stack([x, x], 1)), tf.int64), 14),
    "largest": (lambda x: tf.reduce_max(x - 6.5), -0.5),
    "largest of a column": (lambda x: tf.reduce_max(tf.stack([x, -x], 1), 0), [6.0, 0.0]),
    "largest of rows": (lambda x: tf.reduce_max(tf.stack([x, -x], 1), 1), ROWS),
    "smallest integer": (lambda x: tf.reduce_min(tf.cast(x, tf.int32)), 0),
    "any": (lambda x: tf.reduce_any(x > 5.0), True),
    "all": (lambda x: tf.cast(tf.reduce_all(x > 0.0), tf.float32), 0.0),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_the_fetched_value_is_that_of_the_whole_batch(name: str, distribute: Any) -> None:
    compute, expected = COMPUTED[name]
    session, fetched = distribute(lambda: compute(build_input()), replicas=3)
    got = session.run(fetched, {"x:0": ROWS})
    if fetched.dtype.is_floating or fetched.dtype.is_complex:
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    else:
        np.testing.assert_array_equal(got, expected)


COMPUTED_ONCE_MORE: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "largest index": (tf.argmax, 6),
    "product": (lambda x: tf.reduce_prod(tf.cast(x, tf.int32) + 1), 5040),
    "size": (tf.shape, [7]),
    "text": (lambda x: tf.strings.reduce_join(tf.strings.as_string(x, precision=0)), b"0123456"),
    "order": (lambda x: tf.argsort(-x), [6, 5, 4, 3, 2, 1, 0]),
    "first half": (lambda x: x[: tf.shape(x)[0] // 2], [0.0, 1.0, 2.0]),
    "differences": (lambda x: x[1:] - x[:-1], [1.0] * 6),
    "row numbers": (lambda x: tf.where(x > 4.0)[:, 0], [5, 6]),
    "every pair": (lambda x: tf.reduce_max(x[:, None] - x[None, :]), 6.0),
}


@pytest.mark.parametrize("name", COMPUTED_ONCE_MORE)
def test_what_follows_from_no_replicas_values_is_computed_from_the_whole_batch(
    name: str, distribute: Any
) -> None:
    compute, expected = COMPUTED_ONCE_MORE[name]
    session, fetched = distribute(lambda: compute(build_input()), replicas=3)
    np.testing.assert_array_equal(session.run(fetched, {"x:0": ROWS}), expected)


def test_a_gradient_is_the_mean_over_the_batch(distribute: Any) -> None:
    def build() -> Any:
        v = tf1.get_variable("v", initializer=tf.constant(2.0, tf.float64))
        return tf.gradients(tf.reduce_mean(v * v * build_input()), v)

    session, gradients = distribute(build, replicas=3)
    np.testing.assert_allclose(session.run(gradients, {"x:0": ROWS}), [12.0], rtol=1e-12)


def test_sparse_gradients_come_in_the_order_of_the_batch(distribute: Any) -> None:
    def build() -> Any:
        ids = tf1.placeholder(tf.int32, [None], "ids")
        v = tf1.get_variable("v", initializer=tf.ones([9, 1], tf.float64))
        return tf.gradients(tf.reduce_mean(tf.nn.embedding_lookup(v, ids) * 5.0), v)[0]

    session, gradient = distribute(build, replicas=3)
    got = session.run(gradient, {"ids:0": [8, 0, 8, 3, 0]})
    assert got.indices.tolist() == [8, 0, 8, 3, 0]
    np.testing.assert_allclose(got.values, np.ones([5, 1]), rtol=1e-12)


ROWS_OF_WORDS = [b"a b c", b"", b"d", b"e f", b"g h i j"]


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_sparse_and_ragged_tensors_are_joined_as_such(
    rows: int, replicas: int, distribute: Any
) -> None:
    def build() -> Any:
        lines = tf1.placeholder(tf.string, [None], "lines")
        ragged = tf.strings.split(lines)
        return ragged.to_sparse(), ragged, tf.strings.bytes_split(ragged)

    feed = {"lines:0": ROWS_OF_WORDS[:rows]}
    session, built = distribute(build, replicas=replicas)
    sparse, ragged, deep = session.run(built, feed)
    with tf.Graph().as_default(), tf1.Session() as stock:
        expected = stock.run(build(), feed)
    np.testing.assert_array_equal(sparse.indices, expected[0].indices)
    np.testing.assert_array_equal(sparse.values, expected[0].values)
    np.testing.assert_array_equal(sparse.dense_shape, expected[0].dense_shape)
    assert ragged.to_list() == expected[1].to_list()
    assert deep.to_list() == expected[2].to_list()
    call = session.make_callable({"again": [built[1]]}, ["lines:0"])
    assert call(feed["lines:0"])["again"][0].to_list() == expected[1].to_list()


def test_sparse_and_ragged_tensors_whose_rows_meet_are_those_of_one_node(distribute: Any) -> None:
    def build() -> Any:
        x = build_input()
        largest = tf.cast(tf.reshape(tf.argmax(x), [1, 1]), tf.int64)
        return (
            tf.SparseTensor([[0]], tf.reduce_mean(x, keepdims=True), [3]),
            tf.SparseTensor(largest, [1.0], [9]),
            tf.sparse.from_dense(tf.cumsum(x)),
            tf.RaggedTensor.from_tensor(tf.reverse(x, [0])[:, None]),
        )

    session, built = distribute(build)
    found = session.run(built, {"x:0": ROWS})
    with tf.Graph().as_default(), tf1.Session() as stock:
        expected = stock.run(build(), {"x:0": ROWS})
    for ours, theirs in zip(found[:3], expected[:3], strict=True):
        for part, wanted in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(part, wanted)
    assert found[3].to_list() == expected[3].to_list()


class Pair(NamedTuple):
    first: Any
    second: Any


def test_every_structure_of_fetches_comes_back(distribute: Any) -> None:
    def build() -> Any:
        x = build_input()
        text = tf.strings.as_string(x, name="text")
        v = tf1.get_variable("v", initializer=tf.ones([2], tf.float64))
        rows = tf.IndexedSlices(x * 2.0, tf.cast(x, tf.int64))
        return x, text, v, rows, tf.group(v.assign_add([1.0, 1.0]), name="update")

    session, (x, text, v, rows, update) = distribute(build, replicas=3)
    fetches = {1: Pair(x, (text, "text:0")), "b": [x, v, [rows], update, "update"], "c": {}}
    got = session.run(fetches, {"x:0": ROWS[:4]})
    assert isinstance(got[1], Pair)
    np.testing.assert_array_equal(got[1].first, ROWS[:4])
    assert got[1].second[0].tolist() == got[1].second[1].tolist() == [b"%f" % i for i in range(4)]
    np.testing.assert_array_equal(got["b"][0], ROWS[:4])
    # The update is made once, before or after the value is read.
    assert got["b"][1].tolist() in ([1.0, 1.0], [2.0, 2.0])
    assert session.run(v).tolist() == [2.0, 2.0]
    assert got["b"][2][0].indices.tolist() == [0, 1, 2, 3]
    assert got["b"][2][0].values.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert got["b"][3:] == [None, None]
    assert got["c"] == {}
    assert session.run([], {"x:0": ROWS}) == []


def test_nested_fetches_keep_their_structure(distribute: Any) -> None:
    session, x = distribute(lambda: build_input() + 1.0)
    got = session.run({"a": [x, (x.op, x.name)], "b": tf.reduce_mean(x)}, {"x:0": [1.0, 2.0]})
    assert got["a"][1][0] is None
    np.testing.assert_array_equal(got["a"][1][1], [2.0, 3.0])
    assert got["b"] == 2.5


@pytest.mark.parametrize("strategy", [PartitionedPS(2, min_variable_bytes=0), AllReduce()])
def test_a_variable_fetched_by_the_name_of_its_tensor_gives_its_value(
    strategy: Any, distribute: Any
) -> None:
    def build() -> None:
        x = build_input()
        tf1.get_variable("v", initializer=ROWS)
        average = tf1.get_variable("average", initializer=np.zeros(2), trainable=False)
        average.assign(tf.fill([2], tf.reduce_sum(x)), name="update")

    session, _ = distribute(build, strategy)
    session.run("update", {"x:0": [1.0, 5.0]})
    for _ in range(2):
        found = session.run(["v:0", "average:0"])
        np.testing.assert_array_equal(found[0], ROWS)
        np.testing.assert_array_equal(found[1], [6.0, 6.0])
