"""What `create_distributed_session` initialises: whatever has no value and does not wait for the user."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from autodist.autodist import AutoDist
from autodist.errors import GraphStateError
from autodist.strategy import AllReduce, Parallax, PartitionedPS

tf1 = tf.compat.v1
GRAPH = tf1.GraphKeys


@pytest.fixture(params=[lambda: PartitionedPS(2, min_variable_bytes=0), AllReduce])
def autodist(request: Any, spec_file: str) -> Iterator[AutoDist]:
    """In its scope, in a graph of its own."""
    made = AutoDist(spec_file, request.param())
    with tf.Graph().as_default(), made.scope():
        yield made
        session = made.open_session()
        if session is not None:
            session.close()


def test_what_depends_on_a_placeholder_is_left_to_the_user(
    autodist: AutoDist, caplog: pytest.LogCaptureFixture
) -> None:
    start = tf1.placeholder(tf.float32, [4, 2], "start")
    fed = tf1.get_variable("fed", initializer=lambda: start + 1.0)
    after = tf1.get_variable("after", initializer=fed.read_value() * 2.0)
    with tf.control_dependencies([tf.identity(start)]):
        waits = tf1.get_variable("waits", initializer=tf.ones([2]))
    other = tf1.get_variable("other", initializer=tf.zeros([4, 2]))
    session = autodist.create_distributed_session()
    assert session.run(other).tolist() == np.zeros([4, 2]).tolist()
    for name, reason in (
        ("fed", "depends on 'start:0', which is not fed"),
        ("waits", "depends on 'start:0'"),
        ("after", "depends on 'fed', which is not initialised"),
    ):
        assert f"the initializer of variable {name!r} is left to you: it {reason}" in caplog.text
    with pytest.raises(tf.errors.FailedPreconditionError):
        session.run(fed)
    session.run([fed.initializer, waits.initializer], {start: np.ones([4, 2])})
    assert autodist.create_distributed_session() is session
    assert session.run(after).tolist() == np.full([4, 2], 4.0).tolist()


def test_init_feed_dict_feeds_initial_values(autodist: AutoDist) -> None:
    rows = tf1.placeholder(tf.float32, [None, 2], "rows")
    table = tf1.get_variable("table", initializer=rows, validate_shape=False)
    average = tf1.get_variable("average", initializer=table.read_value() / 2, validate_shape=False)
    count = tf1.get_variable("count", initializer=tf.shape(rows)[0])
    session = autodist.create_distributed_session(init_feed_dict={rows: np.ones([5, 2])})
    values = session.run([table, average, count])
    assert [v.tolist() for v in values] == [[[1.0, 1.0]] * 5, [[0.5, 0.5]] * 5, 5]


def test_variables_start_from_tables_and_iterators(autodist: AutoDist) -> None:
    keys = tf.constant(["a", "b"])
    numbers = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, tf.constant([3.0, 4.0])), -1.0
    )
    found = tf1.get_variable("found", initializer=numbers.lookup(keys))
    scaled = tf.data.Dataset.from_tensors(keys).map(lambda k: numbers.lookup(k) * 2.0)
    iterator = tf1.data.make_initializable_iterator(scaled)
    tf1.add_to_collection(GRAPH.TABLE_INITIALIZERS, iterator.initializer)
    first = tf1.get_variable("first", initializer=iterator.get_next())
    session = autodist.create_distributed_session()
    assert session.run(found).tolist() == [3.0, 4.0]
    assert session.run(first).tolist() == [6.0, 8.0]


def test_an_iterator_that_must_be_fed_is_left_to_the_user(
    autodist: AutoDist, caplog: pytest.LogCaptureFixture
) -> None:
    files = tf1.placeholder(tf.float32, [None])
    plain = tf1.data.make_initializable_iterator(tf.data.Dataset.range(3))
    fed = tf1.data.make_initializable_iterator(tf.data.Dataset.from_tensor_slices(files))
    own = tf1.data.make_initializable_iterator(tf.data.Dataset.from_tensors([7.0]))
    tf1.add_to_collection(GRAPH.TABLE_INITIALIZERS, fed.initializer)
    tf1.add_to_collection(GRAPH.TABLE_INITIALIZERS, plain.initializer)
    start = tf1.get_variable("seed", initializer=own.get_next())
    numbers, batch = plain.get_next(), fed.get_next()
    session = autodist.create_distributed_session()
    assert session.run(numbers) == 0
    assert f"initializer {fed.initializer.name!r} is left to you" in caplog.text
    assert "the initializer of variable 'seed' is left to you" in caplog.text
    session.run([fed.initializer, own.initializer], {files: [5.0]})
    session.run(start.initializer)
    assert session.run(batch) == 5.0
    autodist.create_distributed_session()
    assert session.run(start).tolist() == [7.0]
    assert session.run(numbers) == 1, "an iterator that has begun goes on"


def save_in_stock(path: str) -> str:
    with tf.Graph().as_default(), tf1.Session() as session:
        for name, value in (("m/w", np.arange(8.0).reshape(4, 2)), ("m/b", np.full(2, 5.0))):
            tf1.get_variable(name, initializer=value.astype(np.float32))
        session.run(tf1.global_variables_initializer())
        return str(tf1.train.Saver().save(session, path))


@pytest.mark.parametrize("way", ["warm_start", "init_from_checkpoint"])
def test_a_warm_start(way: str, spec_file: str, tmp_path: Path) -> None:
    prefix = save_in_stock(str(tmp_path / "stock"))
    made = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
    with tf.Graph().as_default(), made.scope():
        w = tf1.get_variable("m/w", [4, 2])
        b = tf1.get_variable("m/b", [2])
        average = tf1.get_variable("average", initializer=w.read_value() + 1.0)
        x = tf1.placeholder(tf.float32, [None, 4])
        train = tf1.train.AdamOptimizer(0.1).minimize(tf.reduce_mean(x @ w + b))
        if way == "warm_start":
            tf1.train.warm_start(prefix, vars_to_warm_start="m/.*")
        else:
            tf1.train.init_from_checkpoint(prefix, {"m/w": w, "m/b": b})
        with made.create_distributed_session() as session:
            assert session.run(w).tolist() == np.arange(8.0).reshape(4, 2).tolist()
            assert session.run(b).tolist() == [5.0, 5.0]
            assert session.run(average).tolist() == (np.arange(8.0).reshape(4, 2) + 1).tolist()
            session.run(train, {x: np.ones([3, 4])})


def test_what_is_added_later_is_initialised_and_the_rest_keeps_its_value(
    autodist: AutoDist,
) -> None:
    x = tf1.placeholder(tf.float32, [None, 2], "x")
    w = tf1.get_variable("w", initializer=tf.ones([2, 3]))
    session = autodist.create_distributed_session()
    session.run(w.assign(tf.fill([2, 3], 9.0)))
    loss = tf.reduce_mean(x @ w)
    train = tf1.train.AdamOptimizer(0.5).minimize(loss)
    count = tf1.get_variable("count", [], tf.int64, collections=[GRAPH.LOCAL_VARIABLES])
    assert autodist.create_distributed_session() is session
    assert session.run(w).tolist() == [[9.0] * 3] * 2
    session.run(train, {x: np.ones([4, 2])})
    assert session.run(count) == 0
    assert session.run(w)[0, 0] == pytest.approx(8.5)


def test_config_and_batch_dims_come_too_late_for_an_open_session(autodist: AutoDist) -> None:
    x = tf1.placeholder(tf.float32, [3, None], "x")
    tf1.get_variable("w", initializer=1.0)
    with autodist.create_distributed_session() as session:
        with pytest.raises(GraphStateError, match="come too late"):
            autodist.create_distributed_session(batch_dims={x: 1})
        with pytest.raises(GraphStateError, match="come too late"):
            autodist.create_distributed_session(tf1.ConfigProto())
    with autodist.create_distributed_session(batch_dims={x: 1}) as another:
        assert another is not session


def layers_between_raw_ops(inputs: Any, norm: bool) -> Any:
    layers = tf_keras.layers
    hidden = layers.Dense(6, activation="tanh")(inputs)
    if norm:
        hidden = layers.BatchNormalization()(hidden)
    weights = tf.reshape(tf.reduce_sum(layers.Dense(12)(hidden), 0), [6, 2])
    hidden = tf.nn.softmax(tf.matmul(hidden, weights))
    return layers.Dense(3, activation="softmax")(hidden)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    "strategy", [lambda: PartitionedPS(2, min_variable_bytes=0), AllReduce, Parallax]
)
def test_keras_asks_for_the_session_while_the_model_is_built(
    strategy: Callable[[], Any], norm: bool, spec_file: str
) -> None:
    made = AutoDist(spec_file, strategy())
    with tf.Graph().as_default(), made.scope():
        before = tf1.get_variable("before", initializer=tf.fill([4], 2.0))
        inputs = tf_keras.layers.Input(shape=(5,), batch_size=4)
        model = tf_keras.Model(inputs, layers_between_raw_ops(inputs, norm))
        assert made.open_session() is not None, "Keras asked for none: nothing is tested"
        optimizer = tf_keras.optimizers.legacy.Adam(0.1)
        loss = tf.reduce_mean(model(tf.ones([4, 5]), training=True)[:, 0])
        made.open_session().run(before.assign([3.0] * 4))
        gradients = tf.gradients(loss, model.trainable_variables)
        train = optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        with made.create_distributed_session() as session:
            assert session is made.open_session()
            assert session.run(before).tolist() == [3.0] * 4
            losses = [session.run([loss, train])[0] for _ in range(5)]
            assert np.isfinite(losses).all()
            assert losses[-1] < losses[0]
    tf_keras.backend.clear_session()


def test_nothing_is_logged_where_nothing_is_left(
    autodist: AutoDist, caplog: pytest.LogCaptureFixture
) -> None:
    with_default = tf1.placeholder_with_default(2.0, [])
    v = tf1.get_variable("v", initializer=with_default)
    copy = tf1.get_variable(
        "copy", initializer=tf1.cond(with_default > 1.0, lambda: v, lambda: 0.0)
    )
    session = autodist.create_distributed_session()
    assert session.run([v, copy]) == [2.0, 2.0]
    assert [r for r in caplog.records if r.levelno >= logging.WARNING and "left" in r.msg] == []
