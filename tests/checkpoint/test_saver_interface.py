"""`Saver` behaves as TensorFlow's: return values, state file, retention, errors."""

import contextlib
import inspect
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
BOTH = pytest.mark.parametrize("saver_class", [Saver, tf1.train.Saver], ids=["ours", "stock"])


def read_state(directory: Path, name: str = "checkpoint") -> Any:
    return tf.train.get_checkpoint_state(str(directory), name)


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def change(session: Any, model: dict[str, Any]) -> None:
    """Gives every variable another value."""
    session.run([variable.assign(variable + 1) for variable in model.values()])


def assert_values(session: Any, model: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in session.run(model).items():
        np.testing.assert_array_equal(value, expected[name], name)


def test_arguments_begin_with_tensorflows_in_their_order_and_with_their_defaults() -> None:
    for method in ("__init__", "save", "restore", "build", "export_meta_graph", "to_proto"):
        ours = inspect.signature(getattr(Saver, method)).parameters
        stock = inspect.signature(getattr(tf1.train.Saver, method)).parameters
        assert list(ours)[: len(stock)] == list(stock)
        assert [ours[n].default for n in stock] == [stock[n].default for n in stock]
        extra = list(ours.values())[len(stock) :]
        assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in extra)


def test_save_returns_the_prefix_and_restore_brings_the_values_back(
    session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = Saver()
    path = saver.save(session, str(tmp_path / "m"))
    before = session.run(model)
    change(session, model)

    saver.restore(session, path)

    assert path == str(tmp_path / "m")
    assert_values(session, model, before)


@BOTH
@pytest.mark.parametrize("step", ["int", "tensor", "variable"])
def test_the_step_is_appended(
    saver_class: Any, step: str, session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = saver_class()
    step_values = {"int": 7, "tensor": tf.constant(7), "variable": model["global_step"]}
    session.run(model["global_step"].assign(7))

    path = saver.save(session, str(tmp_path / "m"), global_step=step_values[step])

    assert path == str(tmp_path / "m-7")
    assert files(tmp_path) == {
        "checkpoint",
        "m-7.data-00000-of-00001",
        "m-7.index",
        "m-7.meta",
    }


@BOTH
def test_the_step_is_padded(saver_class: Any, session: Any, tmp_path: Path) -> None:
    path = saver_class(pad_step_number=True).save(session, str(tmp_path / "m"), 12)
    assert path == str(tmp_path / "m-00000012")
    assert "m-00000012.meta" in files(tmp_path)


@BOTH
def test_only_max_to_keep_checkpoints_are_kept(
    saver_class: Any, session: Any, tmp_path: Path
) -> None:
    saver = saver_class(max_to_keep=2)
    paths = [saver.save(session, str(tmp_path / "m"), step) for step in range(4)]

    assert saver.last_checkpoints == paths[2:]
    assert list(read_state(tmp_path).all_model_checkpoint_paths) == paths[2:]
    assert read_state(tmp_path).model_checkpoint_path == paths[3]
    assert {name.split(".")[0] for name in files(tmp_path)} == {"checkpoint", "m-2", "m-3"}


@BOTH
@pytest.mark.parametrize("max_to_keep", [0, None])
def test_all_are_kept_without_a_limit(
    saver_class: Any, max_to_keep: int | None, session: Any, tmp_path: Path
) -> None:
    saver = saver_class(max_to_keep=max_to_keep)
    for step in range(3):
        saver.save(session, str(tmp_path / "m"), step)

    assert saver.last_checkpoints == []
    assert list(read_state(tmp_path).all_model_checkpoint_paths) == [str(tmp_path / "m-2")]
    assert len(files(tmp_path)) == 1 + 3 * 3


@BOTH
def test_one_more_is_kept_every_so_many_hours(
    saver_class: Any, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    saver = saver_class(max_to_keep=1, keep_checkpoint_every_n_hours=1)
    for step, clock[0] in enumerate([10.0, 4000.0, 4010.0, 4020.0, 8000.0, 8010.0]):
        saver.save(session, str(tmp_path / "m"), step)

    assert {name.split(".")[0] for name in files(tmp_path)} == {"checkpoint", "m-1", "m-4", "m-5"}


@BOTH
def test_saving_under_one_name_again_keeps_one_entry(
    saver_class: Any, session: Any, tmp_path: Path
) -> None:
    saver = saver_class(max_to_keep=2)
    for _ in range(3):
        saver.save(session, str(tmp_path / "m"))
    assert saver.last_checkpoints == [str(tmp_path / "m")]
    assert len(files(tmp_path)) == 4


@BOTH
def test_the_state_file_can_have_another_name(
    saver_class: Any, session: Any, tmp_path: Path
) -> None:
    saver_class().save(session, str(tmp_path / "m"), latest_filename="mine")
    assert read_state(tmp_path, "mine").model_checkpoint_path == str(tmp_path / "m")
    assert "checkpoint" not in files(tmp_path)


@BOTH
def test_the_state_file_can_hold_relative_paths(
    saver_class: Any, session: Any, tmp_path: Path
) -> None:
    saver_class(save_relative_paths=True).save(session, str(tmp_path / "m"))
    assert 'model_checkpoint_path: "m"' in (tmp_path / "checkpoint").read_text()


@BOTH
def test_without_state_and_graph_only_the_bundle_is_written(
    saver_class: Any, session: Any, tmp_path: Path
) -> None:
    saver = saver_class()
    saver.save(session, str(tmp_path / "m"), write_meta_graph=False, write_state=False)
    assert files(tmp_path) == {"m.data-00000-of-00001", "m.index"}
    assert saver.last_checkpoints == []


@BOTH
def test_the_graph_can_have_another_suffix(saver_class: Any, session: Any, tmp_path: Path) -> None:
    saver = saver_class(max_to_keep=1)
    for step in range(2):
        saver.save(session, str(tmp_path / "m"), step, meta_graph_suffix="graph")
    assert {name for name in files(tmp_path) if name.endswith("graph")} == {"m-1.graph"}


@BOTH
def test_a_relative_path_without_directory(
    saver_class: Any, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert saver_class().save(session, "m", 1) == "m-1"
    assert files(tmp_path) == {"checkpoint", "m-1.data-00000-of-00001", "m-1.index", "m-1.meta"}


@BOTH
def test_the_debug_information_stands_beside_the_graph(
    saver_class: Any, session: Any, tmp_path: Path
) -> None:
    saver_class().save(session, str(tmp_path / "m"), save_debug_info=True)
    assert {"m.meta", "m.debug"} <= files(tmp_path)
    assert not [name for name in files(tmp_path) if "tmp" in name]


@BOTH
def test_a_saver_of_no_variables_writes_the_graph_only(
    saver_class: Any, graph: Any, tmp_path: Path
) -> None:
    saver = saver_class(allow_empty=True)
    with tf1.Session() as session:
        assert saver.save(session, str(tmp_path / "m")) is None
        saver.restore(session, str(tmp_path / "m"))
    assert files(tmp_path) == {"m.meta"}


@BOTH
def test_the_last_checkpoints_are_recovered(saver_class: Any, session: Any, tmp_path: Path) -> None:
    paths = [saver_class().save(session, str(tmp_path / "m"), step) for step in range(2)]
    saver = saver_class(max_to_keep=2)
    saver.recover_last_checkpoints([*paths, str(tmp_path / "gone")])
    assert saver.last_checkpoints == paths
    saver.save(session, str(tmp_path / "m"), 2)
    assert not os.path.exists(paths[0] + ".index")  # noqa: PTH110


def test_a_saver_is_made_from_its_proto(
    session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = Saver.from_proto(Saver([model["v"]]).to_proto())
    path = saver.save(session, str(tmp_path / "m"))
    assert isinstance(saver, Saver)
    assert [name for name, _ in tf.train.list_variables(path)] == ["v"]


def test_building_can_be_deferred(session: Any, tmp_path: Path) -> None:
    saver = Saver(defer_build=True)
    saver.build()
    assert saver.save(session, str(tmp_path / "m")) == str(tmp_path / "m")


@BOTH
def test_a_sharded_saver_writes_stocks_files(
    saver_class: Any, session: Any, tmp_path: Path
) -> None:
    path = saver_class(sharded=True).save(session, str(tmp_path / "m"), 1)
    assert path == str(tmp_path / "m-1")
    assert {"m-1.data-00000-of-00001", "m-1.index", "m-1.meta"} <= files(tmp_path)


@BOTH
def test_the_v1_format_is_written_as_ever(
    saver_class: Any, session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = saver_class(write_version=tf1.train.SaverDef.V1)
    before = session.run(model)
    path = saver.save(session, str(tmp_path / "m"))
    change(session, model)
    saver.restore(session, path)
    assert_values(session, model, before)
    assert files(tmp_path) == {"checkpoint", "m", "m.meta"}


@BOTH
def test_eagerly_a_saver_is_tensorflows(saver_class: Any, tmp_path: Path) -> None:
    variable = tf.Variable([1.0, 2.0], name="v")
    saver = saver_class([variable])
    path = saver.save(None, str(tmp_path / "m"), 1)
    variable.assign([0.0, 0.0])
    saver.restore(None, path)
    assert variable.numpy().tolist() == [1.0, 2.0]
    assert files(tmp_path) == {"checkpoint", "m-1.data-00000-of-00001", "m-1.index"}


def mistake_latest_filename_with_path(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class().save(session, str(directory / "m"), latest_filename="a/b")


def mistake_state_file_collides(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class().save(session, str(directory / "checkpoint"))


def mistake_state_file_collides_with_step(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class().save(session, str(directory / "m"), 3, latest_filename="m-3")


def mistake_parent_is_missing(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class().save(session, str(directory / "a" / "b" / "m"))


def mistake_not_a_session(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class().save("session", str(directory / "m"))


def mistake_not_built(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class(defer_build=True).save(session, str(directory / "m"))


def mistake_not_built_and_step_is_tensor(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class(defer_build=True).save(session, str(directory / "m"), tf.constant(1))


def mistake_deferred_with_variables(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class(tf1.global_variables(), defer_build=True)


def mistake_no_such_checkpoint(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class().restore(session, str(directory / "m"))


def mistake_restore_from_none(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class().restore(session, None)


def mistake_no_saver_def(saver_class: Any, session: Any, directory: Path) -> None:
    saver_class(saver_def="save")


@pytest.mark.parametrize(
    "mistake", [value for name, value in globals().items() if name.startswith("mistake_")]
)
def test_a_mistake_is_told_as_stock_tells_it(mistake: Any, session: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception) as stock:  # noqa: PT011
        mistake(tf1.train.Saver, session, tmp_path)
    with pytest.raises(type(stock.value)) as ours:
        mistake(Saver, session, tmp_path)
    # Ours goes on to say that the variables are saved, where they are.
    assert str(ours.value).split("\n\nThe var")[0].split("<")[0] == str(stock.value).split("<")[0]


@BOTH
def test_a_state_file_without_a_name_is_refused(
    saver_class: Any, session: Any, tmp_path: Path
) -> None:
    with pytest.raises(tf.errors.FailedPreconditionError):
        saver_class().save(session, str(tmp_path / "m"), latest_filename="")


@BOTH
def test_an_empty_graph_has_nothing_to_save(saver_class: Any, graph: Any) -> None:
    with pytest.raises(ValueError, match="No variables to save"):
        saver_class()


def test_a_missing_variable_is_told_as_stock_tells_it(
    session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    path = Saver([model["v"]]).save(session, str(tmp_path / "m"))
    with pytest.raises(tf.errors.NotFoundError, match="Key w not found in checkpoint"):
        Saver([model["w"]]).restore(session, path)


def test_a_finalized_graph_is_refused_with_what_to_do(session: Any, graph: Any) -> None:
    graph.finalize()
    with pytest.raises(RuntimeError, match="Build the Saver before the graph is finalized"):
        Saver()


def test_a_saver_built_before_saves_from_a_finalized_graph(
    session: Any, graph: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = Saver()
    updates = [variable.assign(variable + 1) for variable in model.values()]
    graph.finalize()
    before = session.run(model)
    path = saver.save(session, str(tmp_path / "m"))
    session.run(updates)
    saver.restore(session, path)
    assert_values(session, model, before)


def test_saving_and_restoring_need_no_default_graph(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        variable = tf1.get_variable("v", initializer=[1.0])
        saver, init, clear = Saver(), tf1.global_variables_initializer(), variable.assign([0.0])
    with tf1.Session(graph=graph) as session:
        session.run(init)
    assert tf.executing_eagerly()
    with contextlib.closing(tf1.Session(graph=graph)) as session:
        session.run(init)
        path = saver.save(session, str(tmp_path / "m"))
        session.run(clear)
        saver.restore(session, path)
        assert session.run("v/Read/ReadVariableOp:0").tolist() == [1.0]
    assert "m.meta" in files(tmp_path)
