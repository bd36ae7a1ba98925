"""`Saver(sharded=True)`: TensorFlow's nodes write, and the result replaces what is there at one instant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1


@pytest.fixture
def session(graph: Any) -> Any:
    with tf.device("/device:CPU:0"):
        tf1.get_variable("a", initializer=tf.range(6.0))
    with tf.device("/device:CPU:1"):
        tf1.get_variable("b", initializer=[7, 8])
    init = tf1.global_variables_initializer()
    with tf1.Session(config=tf1.ConfigProto(device_count={"CPU": 2})) as session:
        session.run(init)
        yield session


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in directory.iterdir() if ".data" in path.name
    } | {path.name: path.read_bytes() for path in directory.glob("*.index")}


def test_files_are_those_of_stock(session: Any, tmp_path: Path) -> None:
    for name, maker in {"ours": Saver, "stock": tf1.train.Saver}.items():
        (tmp_path / name).mkdir()
        saver = maker(sharded=True)
        for _ in range(2):
            path = saver.save(session, str(tmp_path / name / "m"))
        assert path == str(tmp_path / name / "m")
    assert contents(tmp_path / "ours") == contents(tmp_path / "stock")
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == sorted(
        path.name for path in (tmp_path / "stock").iterdir()
    )


def test_whole_and_sharded_checkpoints_replace_each_other(session: Any, tmp_path: Path) -> None:
    prefix = str(tmp_path / "m")
    whole, sharded = Saver(), Saver(sharded=True)
    for saver, count in ((whole, 1), (sharded, 2), (sharded, 2), (whole, 1), (sharded, 2)):
        session.run(tf1.global_variables()[0].assign_add([1.0] * 6))
        saver.save(session, prefix)
        expected = session.run(tf1.global_variables()[0]).tolist()
        assert tf.train.load_variable(prefix, "a").tolist() == expected
        assert len(list(tmp_path.glob("m.data-*"))) == count


@pytest.mark.parametrize("directory", ["", "new", "a/b"])
def test_a_directory_that_is_missing_is_told_as_stock_tells_it(
    directory: str, session: Any, tmp_path: Path
) -> None:
    def outcome(maker: Callable[..., Any], where: Path) -> Any:
        where.mkdir()
        try:
            maker(sharded=True).save(session, str(where / directory / "m"))
        except Exception as error:  # noqa: BLE001 compared
            return type(error)
        return sorted(path.name for path in (where / directory).iterdir())

    assert outcome(Saver, tmp_path / "ours") == outcome(tf1.train.Saver, tmp_path / "stock")


def test_an_error_leaves_the_former_checkpoint_and_nothing_else(
    graph: Any, session: Any, tmp_path: Path
) -> None:
    saver = Saver(sharded=True)
    saver.save(session, str(tmp_path / "m"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with tf1.Session(config=tf1.ConfigProto(device_count={"CPU": 2})) as empty:
        with pytest.raises(tf.errors.FailedPreconditionError):
            saver.save(empty, str(tmp_path / "m"))
        with pytest.raises(tf.errors.FailedPreconditionError):
            saver.save(empty, str(tmp_path / "m"), 1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_session_is_asked_for_as_stock_does(session: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be a Session"):
        Saver(sharded=True).save("no session", str(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [tf1.train.SaverDef.V1, tf1.train.SaverDef.V2])
def test_the_path_that_save_returns_is_that_of_stock(tmp_path: Path, version: int) -> None:
    config = tf1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), tf1.Session(config=config) as session:
        for i in range(2):
            with tf.device(f"/cpu:{i}"):
                tf1.get_variable(f"v{i}", initializer=float(i))
        session.run(tf1.global_variables_initializer())
        returned = {}
        for name, kind in (("ours", Saver), ("stock", tf1.train.Saver)):
            directory = tmp_path / name
            directory.mkdir()
            saver = kind(sharded=True, write_version=version)
            path = saver.save(session, str(directory / "m"), 3)
            state = tf1.train.get_checkpoint_state(str(directory)).model_checkpoint_path
            returned[name] = [p.replace(str(directory), "") for p in (path, state)]
    assert returned["ours"] == returned["stock"]
