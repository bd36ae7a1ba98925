"""The order in which a save commits its files, and what a failed save leaves behind."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist import tf_internals
from autodist.checkpoint import meta_graph
from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1
BUNDLE = {"m-1.data-00000-of-00001", "m-1.index"}


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def spy(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, directory: Path, seen: dict[str, Any]
) -> None:
    """Notes the files that are there when a function is called."""
    real = getattr(owner, name)

    def spied(*args: Any, **kwargs: Any) -> Any:
        seen.setdefault(name, files(directory))
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, spied)


def fail(*_: Any, **__: Any) -> None:
    raise OSError("no space left")


def test_bundle_then_graph_then_state(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {}
    spy(monkeypatch, meta_graph, "export", tmp_path, seen)
    spy(monkeypatch, tf_internals, "update_checkpoint_state_internal", tmp_path, seen)

    Saver().save(session, str(tmp_path / "m"), 1)

    assert seen["export"] == BUNDLE
    assert seen["update_checkpoint_state_internal"] == {*BUNDLE, "m-1.meta"}
    assert files(tmp_path) == {*BUNDLE, "m-1.meta", "checkpoint"}


def test_old_checkpoints_go_after_the_new_one_is_named(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver(max_to_keep=1)
    saver.save(session, str(tmp_path / "m"), 0)
    real = saver._MaybeDeleteOldCheckpoints
    named = []

    def delete(**kwargs: Any) -> None:
        named.append(tf.train.latest_checkpoint(str(tmp_path)))
        assert "m-0.index" in files(tmp_path)
        real(**kwargs)

    monkeypatch.setattr(saver, "_MaybeDeleteOldCheckpoints", delete)
    saver.save(session, str(tmp_path / "m"), 1)

    assert named == [str(tmp_path / "m-1")]
    assert "m-0.index" not in files(tmp_path)


def test_the_graph_is_renamed_into_place_after_it_is_synced(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    real_sync, real_rename = meta_graph.paths.sync, tf.io.gfile.rename
    monkeypatch.setattr(
        meta_graph.paths, "sync", lambda path: (events.append(("sync", path)), real_sync(path))
    )
    monkeypatch.setattr(
        tf.io.gfile,
        "rename",
        lambda source, target, overwrite: (
            events.append(("rename", target)),
            real_rename(source, target, overwrite),
        ),
    )

    Saver().save(session, str(tmp_path / "m"))

    (first, temporary), *rest = events
    assert first == "sync"
    assert temporary.startswith(str(tmp_path / "m.tmp"))
    assert rest == [("rename", str(tmp_path / "m.meta")), ("sync", str(tmp_path))]


def test_an_uninitialised_variable_leaves_nothing_behind(
    graph: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = Saver()
    with tf1.Session() as session, pytest.raises(tf.errors.FailedPreconditionError):
        saver.save(session, str(tmp_path / "m"), 1)
    assert files(tmp_path) == set()
    assert saver.last_checkpoints == []


@pytest.mark.parametrize(
    ("owner", "name"),
    [(tf1.train, "export_meta_graph"), (tf_internals, "update_checkpoint_state_internal")],
    ids=["graph", "state"],
)
def test_a_save_that_fails_late_takes_back_what_it_wrote(
    owner: Any, name: str, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver(max_to_keep=1)
    kept = saver.save(session, str(tmp_path / "m"), 0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(OSError, match="no space left"):
            saver.save(session, str(tmp_path / "m"), 1)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert saver.last_checkpoints == [kept]
    assert tf.train.latest_checkpoint(str(tmp_path)) == kept
    saver.save(session, str(tmp_path / "m"), 1)
    assert {name.split(".")[0] for name in files(tmp_path)} == {"checkpoint", "m-1"}


def test_a_graph_that_cannot_be_renamed_leaves_no_temporary_file(
    session: Any, tmp_path: Path
) -> None:
    (tmp_path / "m-1.meta").mkdir()
    with pytest.raises(tf.errors.OpError):
        Saver().save(session, str(tmp_path / "m"), 1)
    assert not {name for name in files(tmp_path) if "tmp" in name}
    assert not BUNDLE & files(tmp_path)


def test_a_checkpoint_under_a_name_that_was_there_is_not_taken_back(
    session: Any, model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver()
    path = saver.save(session, str(tmp_path / "m"), 1)
    session.run(model["w"].assign([1.0, 2.0]))
    monkeypatch.setattr(tf_internals, "update_checkpoint_state_internal", fail)
    with pytest.raises(OSError, match="no space left"):
        saver.save(session, str(tmp_path / "m"), 1)
    assert tf.train.load_variable(path, "w").tolist() == [1.0, 2.0]
