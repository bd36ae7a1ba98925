"""A user's own graph stays stock: whatever serialises or runs it need not know of us.

Each graph here has had our `Saver` built in it and used.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.python_programs import read_line, starting

tf1 = tf.compat.v1
FEED = {"x:0": np.ones([1, 6])}


def build_model() -> Any:
    """`y = x v` over a partitioned `v`, trained towards 1 by Momentum."""
    x = tf1.placeholder(tf.float32, [None, 6], name="x")
    v = tf1.get_variable(
        "v",
        [6, 2],
        initializer=tf.ones_initializer(),
        partitioner=tf1.fixed_size_partitioner(2),
    )
    y = tf.matmul(x, tf.convert_to_tensor(v), name="y")
    loss = tf.reduce_mean(tf.square(y - 1.0), name="loss")
    step = tf1.train.get_or_create_global_step()
    return tf1.train.MomentumOptimizer(0.01, 0.9).minimize(loss, step)


@contextlib.contextmanager
def trained_and_saved(prefix: Path) -> Iterator[Any]:
    """A session of a graph in which our `Saver` has saved."""
    with tf.Graph().as_default():
        train = build_model()
        saver = Saver()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            session.run(train, FEED)
            saver.save(session, str(prefix))
            yield session


def test_simple_save_loads_without_us(tmp_path: Path, run_stock: Any) -> None:
    with trained_and_saved(tmp_path / "m") as session:
        graph = session.graph
        inputs = {"x": graph.get_tensor_by_name("x:0")}
        outputs = {"y": graph.get_tensor_by_name("y:0")}
        tf1.saved_model.simple_save(session, str(tmp_path / "export"), inputs, outputs)
    run_stock("""
with tf1.Session() as session:
    tf1.saved_model.loader.load(session, ["serve"], str(here / "export"))
    feed = {"x:0": np.ones([1, 6])}
    before = session.run("loss:0", feed)
    session.run(tf1.get_collection("train_op"), feed)
    assert session.run("loss:0", feed) < before
""")


def test_an_exported_graph_with_our_marks_runs_without_us(tmp_path: Path, run_stock: Any) -> None:
    with trained_and_saved(tmp_path / "m"):
        tf1.train.export_meta_graph(
            str(tmp_path / "exported.meta"),
            saver_def=tf1.train.Saver().as_saver_def(),
        )
    assert b"_autodist_save" in (tmp_path / "exported.meta").read_bytes()
    run_stock("""
tf1.disable_eager_execution()
saver = tf1.train.import_meta_graph(str(here / "exported.meta"))
with tf1.Session() as session:
    saver.restore(session, str(here / "m"))
    assert session.run("global_step/Read/ReadVariableOp:0") == 1
    session.run(tf1.get_collection("train_op"), {"x:0": np.ones([1, 6])})
    # The node that carries our marks, too.
    prefix = str(here / "marked")
    session.run("save/control_dependency:0", {"save/Const:0": prefix})
assert tf.train.load_variable(prefix, "v").shape == (6, 2)
assert tf.train.load_variable(prefix, "global_step") == 2
""")


def test_the_graph_of_a_monitored_session_loads_without_us(tmp_path: Path, run_stock: Any) -> None:
    directory = tmp_path / "train"
    with tf.Graph().as_default():
        train = build_model()
        scaffold = tf1.train.Scaffold(saver=Saver(max_to_keep=2))
        with tf1.train.MonitoredTrainingSession(
            checkpoint_dir=str(directory),
            scaffold=scaffold,
            save_checkpoint_steps=2,
            log_step_count_steps=None,
        ) as session:
            for _ in range(5):
                session.run(train, FEED)
    assert tf.train.latest_checkpoint(str(directory)) == str(directory / "model.ckpt-5")
    run_stock("""
from google.protobuf import text_format
directory = here / "train"
graph_def = text_format.Parse((directory / "graph.pbtxt").read_text(), tf1.GraphDef())
with tf.Graph().as_default() as graph:
    tf.import_graph_def(graph_def, name="")
    with tf1.Session() as session:
        latest = tf.train.latest_checkpoint(str(directory))
        session.run("save/restore_all", {"save/Const:0": latest})
        assert session.run("global_step/Read/ReadVariableOp:0") == 5
with tf.Graph().as_default():
    saver = tf1.train.import_meta_graph(latest + ".meta")
    with tf1.Session() as session:
        saver.restore(session, latest)
        session.run(tf1.get_collection("train_op"), {"x:0": np.ones([1, 6])})
        assert session.run("global_step/Read/ReadVariableOp:0") == 6
""")


def test_a_monitored_session_goes_on_from_our_checkpoint(tmp_path: Path) -> None:
    for expected in (3, 6):
        with tf.Graph().as_default():
            train = build_model()
            with tf1.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path),
                scaffold=tf1.train.Scaffold(saver=Saver()),
                log_step_count_steps=None,
            ) as session:
                for _ in range(3):
                    session.run(train, FEED)
        assert tf.train.load_variable(str(tmp_path), "global_step") == expected


_SERVER = """
import sys
import tensorflow as tf
server = tf.distribute.Server.create_local_server()
assert not [name for name in sys.modules if name.split(".")[0] == "autodist"]
print(server.target.decode() if isinstance(server.target, bytes) else server.target, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def stock_server() -> Iterator[str]:
    """The address of a TensorFlow server that has never heard of us; gone when its input ends."""
    with starting() as start:
        yield read_line(start("-c", _SERVER))


def test_a_server_without_us_trains_and_saves(stock_server: str, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        train = build_model()
        saver = Saver()
        init = tf1.global_variables_initializer()
        with tf1.Session(stock_server) as session:
            session.run(init)
            before = session.run("loss:0", FEED)
            for _ in range(3):
                session.run(train, FEED)
            path = saver.save(session, str(tmp_path / "m"), 3)
            after = session.run("loss:0", FEED)
            session.run(init)
            saver.restore(session, path)
            assert session.run("loss:0", FEED) == after
    assert after < before
    assert tf.train.load_variable(path, "v").shape == (6, 2)
    assert tf.train.load_variable(path, "v/Momentum").shape == (6, 2)
