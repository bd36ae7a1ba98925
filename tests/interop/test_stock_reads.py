"""TensorFlow alone reads what our `Saver` wrote, and trains on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.python_programs import run_python, stock_environment

tf1 = tf.compat.v1
VALUE = np.arange(35, dtype=np.float32).reshape(7, 5) / 35


def build_model(partitioner: Any = None) -> Any:
    """`y = x v + b`, trained by Adam, which puts the train op into a collection."""
    x = tf1.placeholder(tf.float32, [None, 7], name="x")
    v = tf1.get_variable("v", initializer=tf.constant(VALUE), partitioner=partitioner)
    b = tf1.get_variable("b", initializer=tf.zeros([5]))
    loss = tf.reduce_mean(tf.square(tf.matmul(x, tf.convert_to_tensor(v)) + b - 1.0), name="loss")
    step = tf1.train.get_or_create_global_step()
    return tf1.train.AdamOptimizer(0.01).minimize(loss, step)


@pytest.fixture
def checkpoint(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A checkpoint of the model after two steps, saved by our `Saver`."""
    with tf.Graph().as_default():
        train = build_model(request.param)
        saver = Saver()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            for _ in range(2):
                session.run(train, {"x:0": np.ones([2, 7])})
            path: str = saver.save(session, str(tmp_path / "m"), tf1.train.get_global_step())
    return path


CUT = tf1.fixed_size_partitioner(3)


@pytest.mark.parametrize("checkpoint", [None, CUT], ids=["whole", "cut"], indirect=True)
def test_import_restore_and_train_on(checkpoint: str, run_stock: Any) -> None:
    run_stock("""
tf1.disable_eager_execution()
saver = tf1.train.import_meta_graph(str(here / "m-2.meta"))
feed = {"x:0": np.ones([2, 7])}
with tf1.Session() as session:
    saver.restore(session, tf.train.latest_checkpoint(str(here)))
    assert session.run("global_step/Read/ReadVariableOp:0") == 2
    losses = []
    for _ in range(5):
        losses.append(session.run("loss:0", feed))
        session.run(tf1.get_collection("train_op"), feed)
    assert losses == sorted(losses, reverse=True), losses
    saver.save(session, str(here / "tuned"))
assert tf.train.load_variable(str(here / "tuned"), "global_step") == 7
""")


@pytest.mark.parametrize("checkpoint", [CUT], ids=["cut"], indirect=True)
def test_every_way_to_look_at_it_shows_the_original_variables(
    checkpoint: str, run_stock: Any
) -> None:
    printed = run_stock("""
prefix = str(here / "m-2")
shapes = dict(tf.train.list_variables(prefix))
assert shapes == {
    "b": [5], "b/Adam": [5], "b/Adam_1": [5], "v": [7, 5], "v/Adam": [7, 5], "v/Adam_1": [7, 5],
    "beta1_power": [], "beta2_power": [], "global_step": [],
}, shapes
reader = tf.train.load_checkpoint(prefix)
assert reader.get_variable_to_dtype_map()["v"] == tf.float32
assert reader.get_variable_to_dtype_map()["global_step"] == tf.int64
assert reader.get_tensor("v").shape == (7, 5)
from tensorflow.python.tools import inspect_checkpoint
inspect_checkpoint.print_tensors_in_checkpoint_file(prefix, "", False, all_tensor_names=True)
""")
    assert "tensor: v (float32) [7, 5]" in printed


@pytest.mark.parametrize("count", [None, 1, 2, 5])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reader_class", [tf1.train.Saver, Saver], ids=["stock", "ours"])
def test_restored_into_any_other_partitioning(
    reader_class: Any, axis: int, count: int | None, tmp_path: Path
) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=tf.constant(VALUE), partitioner=CUT)
        session.run(tf1.global_variables_initializer())
        path = Saver().save(session, str(tmp_path / "m"))

    partitioner = tf1.fixed_size_partitioner(count, axis=axis) if count else None
    with tf.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("v", [7, 5], partitioner=partitioner)
        reader_class().restore(session, path)
        assert (session.run(tf.convert_to_tensor(variable)) == VALUE).all()


@pytest.mark.parametrize("dtype", [tf.float16, tf.uint16], ids=lambda dtype: dtype.name)
def test_what_stock_cannot_cut_anew_is_restored_into_the_same_slices(
    dtype: Any, tmp_path: Path
) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        value = tf.cast(tf.reshape(tf.range(12), [6, 2]), dtype)
        variable = tf1.get_variable("v", initializer=value, partitioner=CUT)
        session.run(tf1.global_variables_initializer())
        path = Saver().save(session, str(tmp_path / "m"))
        session.run([part.assign(tf.zeros_like(part)) for part in variable])
        tf1.train.Saver().restore(session, path)
        assert session.run(tf.convert_to_tensor(variable)).tolist() == [
            [2 * row, 2 * row + 1] for row in range(6)
        ]


def test_a_sliced_checkpoint_of_stock_is_restored(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=tf.constant(VALUE), partitioner=CUT)
        session.run(tf1.global_variables_initializer())
        path = tf1.train.Saver().save(session, str(tmp_path / "m"))
    with tf.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("v", [7, 5])
        Saver().restore(session, path)
        assert (session.run(variable) == VALUE).all()


@pytest.mark.parametrize("checkpoint", [CUT], ids=["cut"], indirect=True)
def test_inspect_checkpoint_as_a_program(checkpoint: str) -> None:
    module = "tensorflow.python.tools.inspect_checkpoint"
    done = run_python("-m", module, "--file_name", checkpoint, env=stock_environment())
    assert "v/Adam_1 (DT_FLOAT) [7,5]" in done.stdout
