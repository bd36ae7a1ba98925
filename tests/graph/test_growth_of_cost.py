"""A session for twice the variables, batches or shards costs twice the Python, not more: lines that run are counted."""

import collections
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tf_keras

import autodist
from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce, PartitionedPS

tf1 = tf.compat.v1
PACKAGE = str(Path(autodist.__file__).parent)
# What runs less than this may wait for a first time, or fill a cache.
FEW_LINES = 300


@contextmanager
def counting() -> Iterator[collections.Counter[str]]:
    """Counts the lines of each function of the package that run inside the context."""
    lines: collections.Counter[str] = collections.Counter()

    def trace(frame: Any, _: str, __: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        name = f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_qualname}"

        def count(*_: Any) -> Any:
            lines[name] += 1
            return count

        return count

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def of_each(count: int) -> tuple[Any, list[Any]]:
    """A program with so many batches, layers, counters in a function, local variables and summaries."""
    losses, updates, counters = [], [], []
    shared = tf1.get_variable("shared", [6, 6], use_resource=True)
    for i in range(count):
        x = tf1.placeholder(tf.float32, [None, 6], f"x{i}")
        w = tf1.get_variable(f"w{i}", [6, 6], use_resource=True)
        hidden = tf.tanh(x @ shared @ w)
        losses.append(tf.reduce_mean(hidden))
        local = tf.Variable(
            tf.zeros([6]), False, name=f"m{i}", aggregation=tf.VariableAggregation.MEAN
        )
        row = tf.py_function(lambda each: each[0], [hidden], tf.float32)
        updates.append(local.assign(tf.reshape(row, [6])))
        counters.append(tf1.get_variable(f"c{i}", [], use_resource=True, trainable=False))

    @tf.function
    def counted(x: Any) -> Any:
        for counter in counters:
            counter.assign_add(1.0)
            x += counter
        return x

    loss = tf.add_n(losses)
    for i, each in enumerate(losses):
        tf1.summary.scalar(f"s{i}", each)
    weights = [v for v in tf1.trainable_variables() if v.shape.rank == 2]
    optimizer = tf_keras.optimizers.Adam(0.1, global_clipnorm=1.0)
    train = optimizer.apply_gradients(
        zip(tf.gradients(loss, weights), weights, strict=True), skip_gradients_aggregation=True
    )
    return loss, [train, counted(tf.constant(0.0)).op, tf1.summary.merge_all().op, *updates]


def shards(count: int) -> tuple[Any, list[Any]]:
    """A program with a variable, an embedding and an optimizer's slots of which each has so many shards."""
    x = tf1.placeholder(tf.int32, [None], "x")
    v = tf1.get_variable("v", [64, 3], use_resource=True)
    w = tf1.get_variable("w", [64, 3], use_resource=True)
    loss = tf.reduce_mean(tf.nn.embedding_lookup(v, x)) + tf.reduce_sum(w * w)
    return loss, [tf1.train.AdamOptimizer(0.1).minimize(loss)]


def lines_run(
    make_autodist: Any, build: Callable[[], tuple[Any, list[Any]]], strategy: Any
) -> collections.Counter[str]:
    """The lines that a session and the preparation of a run, a save and a restore take."""
    with tf.Graph().as_default() as graph:
        autodist = make_autodist(strategy, 3)
        with autodist.scope():
            loss, train = build()
            saver_def = Saver().saver_def
            with counting() as lines, autodist.create_distributed_session() as session:
                session._late_reads.fetch([loss], train, [])
                for name in (saver_def.restore_op_name, saver_def.save_tensor_name):
                    session._transformer.targets(
                        getattr(graph.as_graph_element(name), "op", graph.as_graph_element(name))
                    )
    return lines


def check_linear(small: Any, double: Any, fourfold: Any) -> None:
    """From double to fourfold no function runs much more than twice the lines that it does from small to double."""
    steep = {
        name: (small[name], double[name], lines)
        for name, lines in fourfold.items()
        if lines > FEW_LINES and lines - double[name] > 2.7 * max(double[name] - small[name], 10)
    }
    assert not steep, steep


@pytest.mark.parametrize("strategy", [AllReduce, functools.partial(PartitionedPS, 3)])
def test_cost_is_linear_in_variables_and_batches(strategy: Any, make_autodist: Any) -> None:
    tf1.disable_control_flow_v2()
    counts = [
        lines_run(make_autodist, functools.partial(of_each, n), strategy()) for n in (4, 8, 16)
    ]
    check_linear(*counts)


def test_cost_is_linear_in_shards(make_autodist: Any) -> None:
    counts = [
        lines_run(
            make_autodist, functools.partial(shards, n), PartitionedPS(n, min_variable_bytes=0)
        )
        for n in (8, 16, 32)
    ]
    check_linear(*counts)
