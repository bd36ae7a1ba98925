"""Graphs made to harm (`.meta`): an error or a save as if they were harmless, and nothing outside the directory."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
HUGE = 1 << 62


@pytest.fixture
def graph_file(session: Any, tmp_path: Path) -> Path:
    Saver().save(session, str(tmp_path / "m"))
    return tmp_path / "m.meta"


def attribute(**fields: Any) -> Any:
    return tf1.AttrValue(**fields)


MARKS = [
    ("threads", attribute(i=HUGE)),
    ("threads", attribute(i=-HUGE)),
    ("threads", attribute(s=b"many")),
    ("layout", attribute(s=b"\x1b[2J")),
    ("layout", attribute(i=3)),
    ("lock", attribute(s=b"none")),
    ("verify", attribute(s=b"never")),
    ("aggregations", attribute(list=tf1.AttrValue.ListValue(s=[b"MEAN"] * 100_000))),
    ("aggregations", attribute(list=tf1.AttrValue.ListValue(s=[]))),
    ("aggregations", attribute(i=1)),
    ("durable", attribute(s=b"yes")),
]


@pytest.mark.parametrize(("mark", "value"), MARKS)
def test_marks_that_no_saver_makes(mark: str, value: Any, graph_file: Path) -> None:
    meta = tf1.MetaGraphDef.FromString(graph_file.read_bytes())
    for node in meta.graph_def.node:
        if node.op == "SaveV2":
            node.attr["_autodist_save"].b = True
            node.attr["_autodist_" + mark].CopyFrom(value)
        if node.op == "RestoreV2":
            node.attr["_autodist_restore"].b = True
            node.attr["_autodist_" + mark].CopyFrom(value)
    with tf.Graph().as_default(), tf1.Session() as session:
        saver = tf1.train.import_meta_graph(meta)
        try:
            saver.restore(session, str(graph_file.parent / "m"))
            saver.save(session, str(graph_file.parent / "n"))
        except (tf.errors.OpError, ValueError, TypeError):
            return
    assert tf.train.load_variable(str(graph_file.parent / "n"), "w").tolist() == [5.0, 7.0]


def deep_function(levels: int) -> bytes:
    """An attribute of functions within functions, as a serialized graph."""
    value = b""
    for _ in range(levels):
        inner = b"\x12" + varint(len(value)) + value
        entry = b"\x0a\x01a" + inner
        function = b"\x12" + varint(len(entry)) + entry
        value = b"\x52" + varint(len(function)) + function
    node = b"\x0a\x01n\x12\x04NoOp" + b"\x2a" + varint(len(value) + 5) + b"\x0a\x01a\x12" + value
    graph = b"\x0a" + varint(len(node)) + node
    return b"\x12" + varint(len(graph)) + graph


def varint(number: int) -> bytes:
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 100,
        deep_function(5000),
        b"\x12" + varint(HUGE),
        b"graph_def {",
        b"\0" * 100_000,
    ],
    ids=["empty", "not a graph", "deep", "a length that is not there", "text", "zeros"],
)
def test_a_file_that_is_no_graph(content: bytes, graph_file: Path) -> None:
    graph_file.write_bytes(content)
    with tf.Graph().as_default(), pytest.raises(Exception) as raised:  # noqa: PT011 TensorFlow's own
        Saver.from_proto(tf1.train.import_meta_graph(str(graph_file)).saver_def)
    assert not isinstance(raised.value, MemoryError | SystemError)


def test_a_graph_that_ends_early(graph_file: Path) -> None:
    content = graph_file.read_bytes()
    whole = {node.name: node for node in tf1.MetaGraphDef.FromString(content).graph_def.node}
    refused = 0
    for size in range(1, len(content), len(content) // 20):
        graph_file.write_bytes(content[:size])
        with tf.Graph().as_default() as graph, tf1.Session() as session:
            try:
                saver = tf1.train.import_meta_graph(str(graph_file))
            except (OSError, ValueError, KeyError):
                refused += 1
                continue
            # Where a field ends, the rest is a graph of less.
            for node in graph.as_graph_def().node:
                assert node.op == whole[node.name].op
            if saver is not None:
                saver.restore(session, str(graph_file.with_suffix("")))
                assert session.run("w/Read/ReadVariableOp:0").tolist() == [5.0, 7.0]
    assert refused > 10


@pytest.mark.parametrize("field", ["filename_tensor_name", "save_tensor_name", "restore_op_name"])
@pytest.mark.parametrize("name", ["", "none:0", "../../m", "a\0b", "x" * 100_000, "w:0"])
def test_a_saver_def_of_other_nodes(
    field: str, name: str, graph: Any, session: Any, tmp_path: Path
) -> None:
    saver_def = tf1.train.SaverDef.FromString(Saver().saver_def.SerializeToString())
    setattr(saver_def, field, name)
    (tmp_path / "inside").mkdir()
    try:
        saver = Saver(saver_def=saver_def)
        saver.save(session, str(tmp_path / "inside" / "m"))
    except (tf.errors.OpError, ValueError, TypeError, KeyError):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
