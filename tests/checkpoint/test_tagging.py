"""Which `SaveV2` nodes a `Saver` marks, and what the marks say."""

import logging
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from autodist.tf_nodes import marks as tf_marks
from support.threads import training

tf1 = tf.compat.v1
MEAN = tf.VariableAggregation.MEAN
SUM = tf.VariableAggregation.SUM


def saves(graph: Any) -> list[Any]:
    return [op for op in graph.get_operations() if op.type == "SaveV2"]


def marks(op: Any) -> dict[str, Any]:
    return {
        key.removeprefix("_autodist_"): op.get_attr(key)
        for key in op.node_def.attr
        if key.startswith("_autodist")
    }


def cut(name: str, dtype: tf.DType = tf.float32) -> Any:
    return tf1.get_variable(
        name,
        shape=[5, 2],
        dtype=dtype,
        initializer=None if dtype.is_floating else tf1.zeros_initializer(),
        partitioner=tf1.fixed_size_partitioner(3),
    )


def test_the_node_carries_the_options(graph: Any, model: dict[str, Any]) -> None:
    Saver(threads=3, lock="copy", layout="slices", durable=False)
    (op,) = saves(graph)
    assert marks(op) == {
        "save": True,
        "threads": 3,
        "lock": b"copy",
        "layout": b"slices",
        "durable": False,
    }


def test_the_defaults(graph: Any, model: dict[str, Any]) -> None:
    Saver()
    (op,) = saves(graph)
    defaults = {"threads": 0, "lock": b"block", "layout": b"restorable", "durable": True}
    assert marks(op) == {"save": True, **defaults}


def test_no_op_of_ours_is_added(model: dict[str, Any]) -> None:
    with tf.Graph().as_default() as stock:
        tf1.get_variable("v", initializer=[1.0])
        tf1.train.Saver()
    with tf.Graph().as_default() as ours:
        tf1.get_variable("v", initializer=[1.0])
        Saver()
    graph_def = ours.as_graph_def()
    tf_marks.strip(graph_def)
    assert graph_def == stock.as_graph_def()


@pytest.mark.parametrize(
    "arguments", [{"sharded": True}, {"write_version": tf1.train.SaverDef.V1}], ids=str
)
def test_what_stock_must_write_is_not_marked(
    arguments: dict[str, Any], graph: Any, model: dict[str, Any]
) -> None:
    Saver(**arguments)
    assert not any(marks(op) for op in graph.get_operations() if op.type != "RestoreV2")


def test_only_the_savers_own_node_is_marked(graph: Any, model: dict[str, Any]) -> None:
    tf1.train.Saver()
    Saver(threads=1)
    Saver(threads=2)
    assert [marks(op).get("threads") for op in saves(graph)] == [None, 1, 2]


def test_a_saver_made_from_a_saver_def_marks_its_node(graph: Any, model: dict[str, Any]) -> None:
    Saver(saver_def=tf1.train.Saver().as_saver_def(), threads=2)
    assert marks(saves(graph)[0])["threads"] == 2


def test_a_saver_made_from_a_saver_def_keeps_the_marks_of_its_node(
    graph: Any, model: dict[str, Any]
) -> None:
    Saver.from_proto(Saver(threads=2).to_proto())
    assert marks(saves(graph)[0])["threads"] == 2


def test_a_saver_def_whose_nodes_are_elsewhere_is_no_error(model: dict[str, Any]) -> None:
    saver_def = Saver().as_saver_def()
    with tf.Graph().as_default():
        assert Saver(saver_def=saver_def).as_saver_def() == saver_def


def test_building_later_marks_too(graph: Any, model: dict[str, Any]) -> None:
    saver = Saver(defer_build=True)
    assert not saves(graph)
    saver.build()
    assert marks(saves(graph)[0])["save"]


def test_inside_a_control_dependency_and_a_name_scope(graph: Any, model: dict[str, Any]) -> None:
    with tf1.name_scope("outer"), tf.control_dependencies([tf.no_op()]):
        Saver(name="mine")
    assert marks(saves(graph)[0])["save"]


def test_one_aggregation_for_all(graph: Any, model: dict[str, Any]) -> None:
    Saver(aggregation=SUM)
    assert marks(saves(graph)[0])["aggregations"] == [b"SUM"] * 3


def test_an_aggregation_by_name_variable_and_reference(graph: Any, model: dict[str, Any]) -> None:
    first = tf1.VariableAggregation.ONLY_FIRST_REPLICA
    Saver(aggregation={"w": SUM, model["v"]: MEAN, model["global_step"].ref(): first})
    assert marks(saves(graph)[0])["aggregations"] == [b"ONLY_FIRST_REPLICA", b"MEAN", b"SUM"]


def test_an_aggregation_of_a_ref_variable(graph: Any) -> None:
    variable = tf1.get_variable("v", initializer=[1.0], use_resource=False)
    Saver({"renamed": variable}, aggregation={variable: SUM})
    assert marks(saves(graph)[0])["aggregations"] == [b"SUM"]


def test_an_aggregation_of_a_partitioned_variable_is_that_of_all_its_slices(graph: Any) -> None:
    variable, other = cut("v"), tf1.get_variable("w", initializer=[1.0])
    Saver(aggregation={variable: SUM})
    assert marks(saves(graph)[0])["aggregations"] == [b"SUM"] * 3 + [b"MEAN"]
    assert other is not None


def test_an_aggregation_of_one_slice_is_that_of_its_name(graph: Any) -> None:
    variable = cut("v")
    Saver(aggregation={next(iter(variable)): SUM})
    assert marks(saves(graph)[0])["aggregations"] == [b"SUM"] * 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layout": "whole"}, ValueError, r"layout must be one of .*, not 'whole'"),
        ({"lock": "none"}, ValueError, r"lock must be one of .*, not 'none'"),
        ({"threads": -1}, ValueError, r"threads must be 0 .* or more, not -1"),
        ({"threads": 1.5}, TypeError, r"threads must be an int, not 1.5"),
        ({"threads": True}, TypeError, r"threads must be an int, not True"),
        ({"aggregation": "MEAN"}, TypeError, r"must be a tf.VariableAggregation .* not 'MEAN'"),
        ({"aggregation": {"v": None}}, TypeError, r"must be a tf.VariableAggregation .* not None"),
        ({"aggregation": tf.VariableAggregation.NONE}, ValueError, r"must be one of .*, not NONE"),
        ({"aggregation": {"x": SUM}}, ValueError, r"saved as 'x'; the names are global_step, v, w"),
        ({"aggregation": {3: SUM}}, ValueError, r"this Saver does not save 3"),
    ],
)
def test_a_wrong_option_is_refused(
    options: dict[str, Any], error: type[Exception], message: str, model: dict[str, Any]
) -> None:
    with pytest.raises(error, match=message):
        Saver(**options)


def test_two_aggregations_of_one_name_are_refused(model: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'v' is to be both SUM and MEAN"):
        Saver(aggregation={"v": SUM, model["v"]: MEAN})


def make_save(names: Any, slices: list[str], tensors: list[Any]) -> Any:
    """The `SaverDef` of a `SaveV2` node that a program made itself."""
    filename = tf1.placeholder_with_default("model", [])
    save = tf.raw_ops.SaveV2(
        prefix=filename, tensor_names=names, shape_and_slices=slices, tensors=tensors
    )
    with tf.control_dependencies([save]):
        done = tf.identity(filename)
    return tf1.train.SaverDef(
        filename_tensor_name=filename.name,
        save_tensor_name=done.name,
        restore_op_name=tf.no_op().name,
        version=tf1.train.SaverDef.V2,
    )


def make_save_with_computed_names(variable: Any) -> Any:
    """The `SaverDef` of a node whose names are only known when it runs."""
    names = tf1.placeholder_with_default(["w"], [1])
    return make_save(names, [""], [variable.value()])


def test_names_may_be_computed(session: Any, model: dict[str, Any], tmp_path: Path) -> None:
    saver = Saver(saver_def=make_save_with_computed_names(model["w"]))
    path = saver.save(session, str(tmp_path / "m"))
    assert tf.train.load_variable(path, "w").tolist() == [5.0, 7.0]


def test_names_may_be_fed(session: Any, model: dict[str, Any], tmp_path: Path) -> None:
    saver_def = Saver([model["w"]]).saver_def
    filename = session.graph.get_tensor_by_name(saver_def.filename_tensor_name)
    (save,) = [op for op in filename.consumers() if op.type == "SaveV2"]
    path = str(tmp_path / "m")
    session.run(saver_def.save_tensor_name, {filename: path, save.inputs[1]: ["renamed"]})
    assert tf.train.load_variable(path, "renamed").tolist() == [5.0, 7.0]


def test_names_that_are_computed_have_no_aggregation_of_their_own(model: dict[str, Any]) -> None:
    saver_def = make_save_with_computed_names(model["w"])
    with pytest.raises(ValueError, match="names and slices of a SaveV2 node must be constants"):
        Saver(saver_def=saver_def, aggregation={"w": SUM})


def test_dtypes_that_are_kept_as_slices_are_named_once(
    graph: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for dtype in (tf.float32, tf.float16, tf.uint32):
        cut(f"{dtype.name}_a", dtype)
        cut(f"{dtype.name}_b", dtype)
    with caplog.at_level(logging.INFO, "autodist"):
        Saver()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "autodist"]
    assert line.startswith("partitioned variables of float16, uint32 are saved as slices")


@pytest.mark.parametrize("layout", ["original", "slices"])
def test_a_layout_that_was_asked_for_needs_no_line(
    layout: str, graph: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cut("v", tf.float16)
    with caplog.at_level(logging.INFO, "autodist"):
        Saver(layout=layout)
    assert not [record for record in caplog.records if record.name == "autodist"]


def test_whole_variables_need_no_line(graph: Any, caplog: pytest.LogCaptureFixture) -> None:
    tf1.get_variable("v", shape=[3], dtype=tf.float16)
    with caplog.at_level(logging.INFO, "autodist"):
        Saver()
    assert not [record for record in caplog.records if record.name == "autodist"]


@pytest.mark.parametrize(
    ("slices", "missing"),
    [(["4 0,2", "4 3,1"], "w"), (["4 0,2", "4 2,2"], ""), (["4 0,4"] * 2, "")],
)
def test_slices_that_are_missing_are_named(
    slices: list[str], missing: str, session: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = [tf.zeros([int(text.rpartition(",")[2])]) for text in slices]
    with caplog.at_level(logging.INFO, "autodist"):
        Saver(saver_def=make_save(["w"] * 2, slices, tensors))
    lines = [record.getMessage() for record in caplog.records if record.name == "autodist"]
    assert lines == (
        [f"slices of {missing} are missing: TensorFlow saves the slices that are there"]
        if missing
        else []
    )


@pytest.mark.parametrize("bad", ["nonsense", "4 0,9", "4 4 0,2", "4 0,0", "4 "])
def test_a_bad_slice_is_refused_by_the_save(bad: str, session: Any, tmp_path: Path) -> None:
    saver_def = make_save(["w", "w"], ["4 0,2", bad], [tf.zeros([2])] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=bad.rsplit(maxsplit=1)[-1]):
        Saver(saver_def=saver_def).save(session, str(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


def test_each_save_logs_a_line(
    session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saver = Saver()
    with caplog.at_level(logging.INFO, "autodist"):
        path = saver.save(session, str(tmp_path / "m"), 1)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "autodist"]
    assert line.startswith(f"saved {path}: {12 * 4 + 2 * 4 + 8} bytes in ")
    assert "GiB/s" in line
    assert "locked for at most" in line


def test_a_saver_that_is_built_beside_training_is_marked_for_its_session(
    session: Any, model: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another thread's run makes its session take up what is new in the graph."""
    step = tf1.train.get_or_create_global_step()
    session.run(tf1.global_variables_initializer())
    with training(session, step.assign_add(1)), caplog.at_level(logging.INFO, "autodist"):
        for number in range(20):
            Saver().save(session, str(tmp_path / f"model{number}"), write_meta_graph=False)
    assert caplog.text.count("saved") == 20
