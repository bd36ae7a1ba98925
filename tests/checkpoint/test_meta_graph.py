"""The exported graph holds nothing of ours and is stock's byte for byte."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1


def build(saver_class: Any, **arguments: Any) -> tuple[Any, Any]:
    """A graph that trains and has collections of several kinds; its saver stands in one."""
    with tf.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        w = tf1.get_variable("w", shape=[3, 2], initializer=tf1.ones_initializer())
        r = tf1.get_variable("r", initializer=[1.0, 2.0], use_resource=False)
        loss = tf.reduce_mean(tf.matmul(x, w) + r, name="loss")
        step = tf1.train.create_global_step()
        train = tf1.train.AdamOptimizer().minimize(loss, global_step=step)
        tf1.add_to_collection("train_op", train)
        tf1.summary.scalar("loss", loss)
        saver = saver_class(**arguments)
        tf1.add_to_collection(tf1.GraphKeys.SAVERS, saver)
    return graph, saver


def export(saver_class: Any, filename: Path, **arguments: Any) -> bytes:
    graph, saver = build(saver_class)
    with graph.as_default():
        saver.export_meta_graph(str(filename), **arguments)
    return filename.read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"as_text": True},
        {"clear_devices": True},
        {"strip_default_attrs": True},
        {"clear_extraneous_savers": True},
        {"collection_list": ["train_op"]},
        {"export_scope": "save"},
    ],
    ids=str,
)
def test_export_equals_stocks(arguments: dict[str, Any], tmp_path: Path) -> None:
    ours = export(Saver, tmp_path / "ours.meta", **arguments)
    assert ours == export(tf1.train.Saver, tmp_path / "stock.meta", **arguments)
    assert b"_autodist" not in ours


@pytest.mark.parametrize("arguments", [{}, {"strip_default_attrs": True}], ids=str)
def test_the_graph_of_a_save_equals_stocks(arguments: dict[str, Any], tmp_path: Path) -> None:
    for saver_class, name in ((Saver, "ours"), (tf1.train.Saver, "stock")):
        graph, saver = build(saver_class)
        with tf1.Session(graph=graph) as session, graph.as_default():
            session.run(tf1.global_variables_initializer())
            saver.save(session, str(tmp_path / name / "m"), **arguments)
    ours, stock = (tmp_path / name / "m.meta" for name in ("ours", "stock"))
    assert ours.read_bytes() == stock.read_bytes()


def test_a_graph_without_a_file(tmp_path: Path) -> None:
    graph, saver = build(Saver)
    with graph.as_default():
        exported = saver.export_meta_graph()
    assert b"_autodist" not in exported.SerializeToString()
    assert exported.saver_def == saver.as_saver_def()
    assert list(tmp_path.iterdir()) == []


def test_exporting_leaves_the_marks_in_the_graph(tmp_path: Path) -> None:
    graph, saver = build(Saver)
    with graph.as_default():
        saver.export_meta_graph(str(tmp_path / "m.meta"))
    assert b"_autodist_save" in graph.as_graph_def().SerializeToString()


def test_eagerly_there_is_no_graph_to_export() -> None:
    with pytest.raises(RuntimeError, match="not supported when eager execution is enabled"):
        Saver([tf.Variable(1.0, name="v")]).export_meta_graph()


def test_missing_directories_are_made_as_stock_makes_them(tmp_path: Path) -> None:
    graph, saver = build(Saver)
    with graph.as_default():
        saver.export_meta_graph(str(tmp_path / "a" / "b" / "m.meta"))
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["m.meta"]
