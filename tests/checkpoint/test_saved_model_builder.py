"""`SavedModelBuilder` behaves as TensorFlow's; what it exports is read in `tests/interop`."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
StockBuilder = tf1.saved_model.builder.SavedModelBuilder


def read_saved_model(directory: Path) -> Any:
    saved_model = tf1.saved_model.Builder(str(directory / "unused"))._saved_model
    saved_model.ParseFromString((directory / "saved_model.pb").read_bytes())
    return saved_model


@pytest.mark.parametrize("method", ["add_meta_graph_and_variables", "add_meta_graph", "save"])
def test_arguments_begin_with_tensorflows_in_their_order_and_with_their_defaults(
    method: str,
) -> None:
    ours = inspect.signature(getattr(SavedModelBuilder, method)).parameters
    stock = inspect.signature(inspect.unwrap(getattr(StockBuilder, method))).parameters
    assert list(ours)[: len(stock)] == list(stock)
    assert [ours[name].default for name in stock] == [stock[name].default for name in stock]
    assert list(ours)[len(stock) :] in ([], ["init_op", "train_op"])


@pytest.mark.parametrize("given", ["none", "ours", "stock"])
def test_no_mark_of_ours_is_exported(given: str, session: Any, tmp_path: Path) -> None:
    Saver(name="another")
    saver = {"none": None, "ours": Saver(), "stock": tf1.train.Saver()}[given]
    builder = SavedModelBuilder(str(tmp_path))
    builder.add_meta_graph_and_variables(session, ["tag"], saver=saver)
    builder.add_meta_graph(["other"], saver=saver)

    path = builder.save()

    assert path == str(tmp_path / "saved_model.pb").encode()
    assert b"_autodist" not in (tmp_path / "saved_model.pb").read_bytes()
    assert {file.name for file in (tmp_path / "variables").iterdir()} == {
        "variables.data-00000-of-00001",
        "variables.index",
    }


def test_outside_of_any_graph_the_sessions_graph_is_exported(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf1.get_variable("v", initializer=[1.0])
        init = tf1.global_variables_initializer()
    session = tf1.Session(graph=graph)
    session.run(init)
    builder = SavedModelBuilder(str(tmp_path / "export"))
    builder.add_meta_graph_and_variables(session, ["tag"])
    builder.add_meta_graph(["other"])
    builder.save()
    session.close()

    first, second = read_saved_model(tmp_path / "export").meta_graphs
    assert {"v"} <= {node.name for node in first.graph_def.node}
    assert {"v"} <= {node.name for node in second.graph_def.node}


def test_the_train_op_stands_in_its_collection(
    session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    train = tf1.assign_add(model["w"], [1.0, 1.0])
    builder = SavedModelBuilder(str(tmp_path / "export"))
    builder.add_meta_graph_and_variables(session, ["tag"], train_op=train.op)
    builder.save()
    (meta_graph,) = read_saved_model(tmp_path / "export").meta_graphs
    collection = meta_graph.collection_def["saved_model_train_op"]
    assert list(collection.node_list.value) == [train.op.name]


@pytest.mark.parametrize("argument", ["main_op", "init_op", "legacy_init_op"])
def test_the_main_op_has_three_names(
    argument: str, session: Any, graph: Any, tmp_path: Path
) -> None:
    main = tf.no_op("main")
    builder = SavedModelBuilder(str(tmp_path / "export"))
    builder.add_meta_graph_and_variables(session, ["tag"], **{argument: main})
    builder.save()
    (meta_graph,) = read_saved_model(tmp_path / "export").meta_graphs
    assert list(meta_graph.collection_def["saved_model_main_op"].node_list.value) == ["main"]


def test_a_cleared_graph_has_no_devices(graph: Any, tmp_path: Path) -> None:
    with tf.device("/job:localhost/task:0/cpu:0"):
        tf1.get_variable("v", initializer=[1.0])
    init = tf1.global_variables_initializer()
    builder = SavedModelBuilder(str(tmp_path / "export"))
    with tf1.Session() as session:
        session.run(init)
        builder.add_meta_graph_and_variables(session, ["tag"], clear_devices=True)
    builder.save()
    (meta_graph,) = read_saved_model(tmp_path / "export").meta_graphs
    assert {node.device for node in meta_graph.graph_def.node} == {""}


def test_variables_of_one_task_are_saved_whole_and_of_several_by_their_tasks(
    graph: Any, tmp_path: Path
) -> None:
    builder = SavedModelBuilder(str(tmp_path / "export"))
    with tf.device("/job:ps/task:0"):
        tf1.get_variable("v", initializer=[1.0])
    assert not builder._maybe_create_saver().as_saver_def().sharded
    with tf.device("/job:ps/task:1"):
        tf1.get_variable("w", initializer=[1.0])
    assert builder._maybe_create_saver().as_saver_def().sharded


def mistake_directory_is_not_empty(builder_class: Any, session: Any, directory: Path) -> None:
    (directory / "file").write_text("")
    builder_class(str(directory))


def mistake_variables_twice(builder_class: Any, session: Any, directory: Path) -> None:
    builder = builder_class(str(directory))
    builder.add_meta_graph_and_variables(session, ["tag"])
    builder.add_meta_graph_and_variables(session, ["tag"])


def mistake_not_a_session(builder_class: Any, session: Any, directory: Path) -> None:
    builder_class(str(directory)).add_meta_graph_and_variables(None, ["tag"])


def mistake_no_variables(builder_class: Any, session: Any, directory: Path) -> None:
    builder_class(str(directory)).add_meta_graph(["tag"])


def mistake_main_op_is_a_tensor(builder_class: Any, session: Any, directory: Path) -> None:
    builder = builder_class(str(directory))
    builder.add_meta_graph_and_variables(session, ["tag"], main_op=tf.constant(1, name="c"))


def mistake_reserved_signature(builder_class: Any, session: Any, directory: Path) -> None:
    signature = tf1.saved_model.signature_def_utils.build_signature_def()
    builder = builder_class(str(directory))
    builder.add_meta_graph_and_variables(
        session, ["tag"], signature_def_map={"__saved_model_init_op": signature}
    )


def mistake_finalized(builder_class: Any, session: Any, directory: Path) -> None:
    main = tf.no_op()
    session.graph.finalize()
    builder = builder_class(str(directory))
    builder.add_meta_graph_and_variables(session, ["tag"], main_op=main)


@pytest.mark.parametrize(
    "mistake",
    [value for name, value in globals().items() if name.startswith("mistake_")],
)
def test_a_mistake_is_told_as_stock_tells_it(mistake: Any, session: Any, tmp_path: Path) -> None:
    raised = []
    for builder_class in (StockBuilder, SavedModelBuilder):
        directory = tmp_path / builder_class.__module__
        directory.mkdir()
        with pytest.raises(Exception) as error:  # noqa: PT011
            mistake(builder_class, session, directory)
        raised.append((type(error.value), str(error.value).replace(str(directory), "")))
    assert raised[0][0] is raised[1][0]
    assert raised[0][1].split(" name=")[0] == raised[1][1].split(" name=")[0]


def test_a_finalized_graph_needs_a_saver_built_before(
    session: Any, graph: Any, tmp_path: Path
) -> None:
    saver = Saver()
    graph.finalize()
    with pytest.raises(RuntimeError, match="pass it as saver="):
        SavedModelBuilder(str(tmp_path / "a")).add_meta_graph_and_variables(session, ["tag"])
    builder = SavedModelBuilder(str(tmp_path / "b"))
    builder.add_meta_graph_and_variables(session, ["tag"], saver=saver)
    builder.save()


@pytest.mark.parametrize("fault", ["export", "save"])
def test_the_variables_stay_where_the_graph_cannot_be_written(
    fault: str, session: Any, model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("the graph is larger than 2 GB")

    def export(builder: SavedModelBuilder) -> None:
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()

    builder = SavedModelBuilder(str(tmp_path / "export"))
    prefix = str(tmp_path / "export" / "variables" / "variables")
    with monkeypatch.context() as patch:
        if fault == "export":
            patch.setattr(tf1.train, "export_meta_graph", fail)
        else:
            (tmp_path / "export" / "saved_model.pb").mkdir()
        with pytest.raises((ValueError, tf.errors.OpError)) as failure:
            export(builder)
    assert f"saver.restore(sess, {prefix!r})" in str(failure.value)
    assert ("larger than 2 GB" if fault == "export" else "saved_model.pb") in str(failure.value)
    assert tf.train.load_variable(prefix, "w").tolist() == [5.0, 7.0]
    if fault == "export":
        builder.add_meta_graph_and_variables(session, ["serve"])
    else:
        (tmp_path / "export" / "saved_model.pb").rmdir()
    builder.save()
    with tf1.Session(graph=tf.Graph()) as other:
        tf1.saved_model.load(other, ["serve"], str(tmp_path / "export"))
        assert other.run("w/Read/ReadVariableOp:0").tolist() == [5.0, 7.0]


def test_an_export_that_fails_before_its_variables_are_saved_is_taken_back(
    graph: Any, tmp_path: Path
) -> None:
    tf1.get_variable("u", [1])
    builder = SavedModelBuilder(str(tmp_path / "export"))
    with tf1.Session() as session, pytest.raises(tf.errors.FailedPreconditionError) as failure:
        builder.add_meta_graph_and_variables(session, ["serve"])
    assert "saved all the same" not in str(failure.value)
    assert list((tmp_path / "export").iterdir()) == []
