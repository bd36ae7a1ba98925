"""TensorFlow alone loads, serves and fine-tunes what our `SavedModelBuilder` exported."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from autodist.checkpoint.saver import Saver
from support.python_programs import run_python, stock_environment

tf1 = tf.compat.v1
TRAIN_OP_KEY = "fine_tuning"


def build_model(vocabulary: Path) -> dict[str, Any]:
    """`y = x v`, trained towards 1; an asset, and the train op in a collection."""
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    partitioner = tf1.fixed_size_partitioner(2)
    v = tf1.get_variable("v", [3, 2], initializer=tf.ones_initializer(), partitioner=partitioner)
    y = tf.matmul(x, tf.convert_to_tensor(v), name="y")
    loss = tf.reduce_mean(tf.square(y - 1.0), name="loss")
    train = tf1.train.GradientDescentOptimizer(0.05).minimize(loss)
    tf1.add_to_collection(TRAIN_OP_KEY, train)
    asset = tf.constant(str(vocabulary), name="vocabulary")
    tf1.add_to_collection(tf1.GraphKeys.ASSET_FILEPATHS, asset)
    info = tf1.saved_model.utils.build_tensor_info
    signature = tf1.saved_model.signature_def_utils.build_signature_def(
        {"x": info(x)}, {"y": info(y), "loss": info(loss)}, "tensorflow/serving/predict"
    )
    return {"train": train, "signatures": {"serving_default": signature}}


@pytest.fixture
def export_dir(tmp_path: Path) -> Path:
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("one two")
    with tf.Graph().as_default():
        model = build_model(vocabulary)
        saver = Saver()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            session.run(model["train"], {"x:0": np.ones([1, 3])})
            builder = SavedModelBuilder(str(tmp_path / "export"))
            builder.add_meta_graph_and_variables(
                session,
                ["serve"],
                signature_def_map=model["signatures"],
                assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
                saver=saver,
                train_op=model["train"],
            )
            builder.save()
    return tmp_path / "export"


def test_the_tf1_loader_serves_and_trains_on(export_dir: Path, run_stock: Any) -> None:
    run_stock("""
tf1.disable_eager_execution()
with tf1.Session() as session:
    loaded = tf1.saved_model.loader.load(session, ["serve"], str(here / "export"))
    signature = loaded.signature_def["serving_default"]
    feed = {signature.inputs["x"].name: np.ones([1, 3])}
    fetch = signature.outputs["loss"].name
    train_op = tf1.get_collection("fine_tuning")
    assert train_op == tf1.get_collection("saved_model_train_op")
    assert len(train_op) == 1
    losses = [session.run([fetch, train_op], feed)[0] for _ in range(4)]
    assert losses == sorted(losses, reverse=True), losses
    assert losses[0] < 4.0
assert (here / "export" / "assets" / "vocabulary.txt").read_text() == "one two"
""")


def test_every_op_is_stocks(export_dir: Path, run_stock: Any) -> None:
    run_stock("""
from tensorflow.python.framework import op_def_registry
model = tf1.saved_model.Builder(str(here / "unused"))._saved_model
model.ParseFromString((here / "export" / "saved_model.pb").read_bytes())
(meta_graph,) = model.meta_graphs
for node in meta_graph.graph_def.node:
    assert op_def_registry.get(node.op) is not None, node
    assert "/job:" not in node.device, node
    assert "autodist" not in str(node).lower(), node
""")


def test_tf_saved_model_load_serves(export_dir: Path, run_stock: Any) -> None:
    run_stock("""
loaded = tf.saved_model.load(str(here / "export"))
signature = loaded.signatures["serving_default"]
y = signature(x=tf.ones([1, 3]))["y"].numpy()
with tf.Graph().as_default(), tf1.Session() as session:
    tf1.saved_model.loader.load(session, ["serve"], str(here / "export"))
    assert (session.run("y:0", {"x:0": np.ones([1, 3])}) == y).all()
""")


def test_saved_model_cli_shows_and_runs(export_dir: Path) -> None:
    def run(*arguments: str) -> str:
        program = ("-m", "tensorflow.python.tools.saved_model_cli")
        return run_python(*program, *arguments, env=stock_environment()).stdout

    shown = run("show", "--dir", str(export_dir), "--all")
    computed = run(
        "run",
        "--dir",
        str(export_dir),
        "--tag_set=serve",
        "--signature_def=serving_default",
        "--input_exprs=x=[[1.0, 1.0, 1.0]]",
    )

    assert "signature_def['serving_default']" in shown
    assert "name: y:0" in shown
    assert "Result for output key y:" in computed
