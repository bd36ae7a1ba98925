"""`AutoDist.scope()`: what it watches while it lasts, and that all is as before afterwards."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from autodist.autodist import AutoDist
from autodist.private_apis import tf_graphs
from autodist.strategy import AllReduce, PartitionedPS
from support.python_programs import run_python

tf1 = tf.compat.v1


def observe_patched() -> list[Any]:
    """Everything that the scope replaces."""
    optimizers = [
        tf1.train.Optimizer,
        tf1.train.AdamOptimizer,
        tf_keras.optimizers.Optimizer,
        tf_keras.optimizers.legacy.Optimizer,
        keras.optimizers.Optimizer,
        keras.optimizers.SGD,
    ]
    methods = ("minimize", "apply_gradients", "apply")
    return [
        tf_graphs.gradients_util._GradientsHelper,
        tf_graphs.imperative_grad.imperative_grad,
        tf.SparseTensor.__init__,
        tf.gradients,
        tf1.resource_variables_enabled(),
        *[getattr(o, m, None) for o in optimizers for m in methods],
    ]


def test_everything_is_as_before_when_the_scope_is_left(spec_file: str, build: Any) -> None:
    before = observe_patched()
    with tf.Graph().as_default(), AutoDist(spec_file).scope():
        assert observe_patched() != before
        build()
    assert observe_patched() == before


def test_everything_is_as_before_when_building_fails(spec_file: str) -> None:
    before = observe_patched()
    with (
        pytest.raises(ZeroDivisionError),
        tf.Graph().as_default(),
        AutoDist(spec_file).scope(),
    ):
        raise ZeroDivisionError
    assert observe_patched() == before


def test_the_scope_may_be_entered_again(spec_file: str) -> None:
    autodist = AutoDist(spec_file, AllReduce())
    with tf.Graph().as_default():
        with autodist.scope():
            x = tf1.placeholder(tf.float64, [None, 2], "x")
            v = tf1.get_variable("v", initializer=tf.ones([2], tf.float64))
        with autodist.scope():
            loss = tf.reduce_mean(tf.linalg.matvec(x, v))
            train = tf1.train.GradientDescentOptimizer(1.0).minimize(loss)
            with autodist.create_distributed_session() as session:
                session.run(train, {x: [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]})
                assert session.run(v).tolist() == pytest.approx([-2.0, -3.0])


def test_eagerly_the_scope_brings_its_own_graph(spec_file: str, build: Any) -> None:
    assert tf.executing_eagerly()
    autodist = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
    with autodist.scope():
        assert not tf.executing_eagerly()
        built = build()
        session = autodist.create_distributed_session()
    assert tf.executing_eagerly()
    with session:
        assert session.run(built["w"]).tolist() == [[1.0, 1.0]] * 4


def test_a_session_lives_on_after_the_scope(spec_file: str, build: Any) -> None:
    autodist = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
    with tf.Graph().as_default():
        with autodist.scope():
            built = build()
            session = autodist.create_distributed_session()
        with session:
            first = session.run([built["loss"], built["train"]], {built["x"]: np.ones([3, 4])})[0]
            assert session.run(built["loss"], {built["x"]: np.ones([3, 4])}) < first


def test_two_scopes_for_two_graphs(spec_file: str, build: Any) -> None:
    first, second = AutoDist(spec_file, AllReduce()), AutoDist(spec_file)
    with tf.Graph().as_default(), first.scope():
        one, one_session = build(), first.create_distributed_session()
    with tf.Graph().as_default(), second.scope():
        two, two_session = build(), second.create_distributed_session()
    one_session.run(one["train"], {one["x"]: np.ones([2, 4])})
    assert (two_session.run(two["w"]) == 1.0).all()
    assert (one_session.run(one["w"]) < 1.0).all()


def test_another_graph_inside_the_scope_is_left_alone(spec_file: str, build: Any) -> None:
    with tf.Graph().as_default(), AutoDist(spec_file).scope():
        build()
        with tf.Graph().as_default():
            v = tf.Variable(1.0)
            result = tf_keras.optimizers.legacy.SGD(1.0).apply_gradients([(tf.constant(1.0), v)])
            with tf1.Session() as stock:
                stock.run(tf1.global_variables_initializer())
                stock.run(result)
                assert stock.run(v) == 0.0


LEGACY_PROGRAM = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_v2_behavior()
from autodist import AutoDist
from autodist.strategy import PartitionedPS

autodist = AutoDist(sys.argv[1], PartitionedPS(2, min_variable_bytes=0))
with autodist.scope():
    x = tf.placeholder(tf.float32, [None, 3])
    w = tf.get_variable("w", [3, 2], initializer=tf.ones_initializer())
    b = tf.Variable(tf.zeros([2]), name="b")
    cell = tf.while_loop(lambda i, h: i < 2, lambda i, h: (i + 1, tf.tanh(h @ tf.ones([2, 2]))),
                         [0, x @ w + b])[1]
    loss = tf.reduce_mean(tf.square(cell - 0.5))
    train = tf.train.AdamOptimizer(0.05).minimize(loss)
    session = autodist.create_distributed_session()
losses = [session.run([loss, train], {x: np.full([5, 3], 0.1)})[0] for _ in range(20)]
assert losses[-1] < 0.5 * losses[0], losses
assert session.graph is tf.get_default_graph()
assert session.run(cell, {x: np.full([5, 3], 0.1)}).shape == (5, 2)
copies = [op for op in session.transformed_graph.get_operations() if op.type == "MatMul"]
assert any(op.name.startswith("replica_1/") for op in copies), copies
print("trained")
"""


def test_a_program_without_v2_behaviour_trains(spec_file: str, tmp_path: Path) -> None:
    script = tmp_path / "legacy.py"
    script.write_text(LEGACY_PROGRAM)
    done = run_python(script, spec_file)
    assert "trained" in done.stdout
