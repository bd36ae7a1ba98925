"""The order in which a save commits its files, and what a failed save leaves behind."""

import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist import _native
from autodist.checkpoint.files import state_file
from autodist.checkpoint.saver import Saver
from autodist.checkpoint.saving import transaction
from autodist.private_apis.tf_variables import SaveableObject, SaveSpec

tf1 = tf.compat.v1
BUNDLE = {"m-1.data-00000-of-00001", "m-1.index"}


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def seen_at_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[set[str]]:
    """The files, but for temporary ones, that are there before each file beside a bundle gets its name."""
    seen: list[set[str]] = []
    real = _native.StagedFile.commit

    def commit(file: _native.StagedFile) -> None:
        seen.append({name for name in files(tmp_path) if ".autodist" not in name})
        real(file)

    monkeypatch.setattr(_native.StagedFile, "commit", commit)
    return seen


def fail(*_: Any, **__: Any) -> None:
    raise OSError("no space left")


def test_bundle_then_graph_then_state(
    session: Any, tmp_path: Path, seen_at_commit: list[set[str]]
) -> None:
    Saver().save(session, str(tmp_path / "m"), 1)

    assert seen_at_commit == [BUNDLE, {*BUNDLE, "m-1.meta"}]
    assert files(tmp_path) == {*BUNDLE, "m-1.meta", "checkpoint"}


def test_over_a_prefix_in_use_all_is_written_before_the_bundle_is_replaced(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver()
    saver.save(session, str(tmp_path / "m"), 1)
    staged_before = []
    real = tf1.train.Saver.save

    def save(*args: Any, **kwargs: Any) -> Any:
        staged_before.extend(
            sorted(name.split(".auto")[0] for name in files(tmp_path) if ".auto" in name)
        )
        return real(*args, **kwargs)

    monkeypatch.setattr(tf1.train.Saver, "save", save)
    saver.save(session, str(tmp_path / "m"), 1)

    assert staged_before == ["checkpoint", "m-1", "m-1.meta"]  # the second is the lock
    assert files(tmp_path) == {*BUNDLE, "m-1.meta", "checkpoint"}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_prefix_saved_again_has_the_same_files_with_the_new_values(
    count: int, session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = Saver()
    for number in range(count):
        model["w"].load([number, number], session)
        path = saver.save(session, str(tmp_path / "m"), 1)
    assert files(tmp_path) == {*BUNDLE, "m-1.meta", "checkpoint"}
    assert tf.train.load_variable(path, "w").tolist() == [count - 1, count - 1]
    assert tf.train.latest_checkpoint(str(tmp_path)) == path


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


def test_an_uninitialised_variable_leaves_nothing_behind(
    graph: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = Saver()
    with tf1.Session() as session, pytest.raises(tf.errors.FailedPreconditionError):
        saver.save(session, str(tmp_path / "m"), 1)
    assert files(tmp_path) == set()
    assert saver.last_checkpoints == []


@pytest.mark.parametrize("others", [set(), {"notes.txt"}], ids=["empty", "not empty"])
def test_the_directory_made_for_a_save_that_fails_is_removed_if_it_is_empty(
    others: set[str], graph: Any, tmp_path: Path
) -> None:
    directory = tmp_path / "new"

    def fill() -> None:
        # The save has made its directory before it computes what it saves.
        for name in others:
            (directory / name).write_text("kept")
        assert directory.is_dir()
        raise ValueError("no value")

    class Value(SaveableObject):
        def restore(self, *_: Any) -> Any:
            return tf.no_op()

    value = tf.numpy_function(fill, [], tf.float32)
    saveable = Value(value, [SaveSpec(value, "", "value")], "value")
    with tf1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match="no value"):
        Saver([saveable]).save(session, str(directory / "m"), 1)
    assert directory.exists() == bool(others)
    assert {path.name for path in directory.glob("*")} == others


def weights(prefix: str) -> list[float]:
    found: list[float] = tf.train.load_variable(prefix, "w").tolist()
    return found


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
@pytest.mark.parametrize("step", [0, 1], ids=["same prefix", "new prefix"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(tf1.train, "export_meta_graph"), (state_file, "contents")],
    ids=["graph", "state"],
)
def test_the_variables_stay_without_the_graph_or_state_file(  # noqa: PLR0917 what pytest gives
    owner: Any,
    name: str,
    step: int,
    sharded: bool,
    session: Any,
    model: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saver = Saver(max_to_keep=1, sharded=sharded)
    kept = saver.save(session, str(tmp_path / "m"), 0)
    prefix = str(tmp_path / f"m-{step}")
    model["w"].load([1.0, 2.0], session)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(OSError, match="no space left") as failure:
            saver.save(session, str(tmp_path / "m"), step)

    assert f"saver.restore(sess, {prefix!r})" in str(failure.value)
    assert f"names {kept!r}" in str(failure.value) or name != "contents"
    assert weights(prefix) == [1.0, 2.0]
    assert not [name for name in files(tmp_path) if ".autodist" in name]
    # What the state file names is whole, and the saver's list as before.
    assert saver.last_checkpoints == [kept]
    assert tf.train.latest_checkpoint(str(tmp_path)) == kept
    assert weights(kept) == ([1.0, 2.0] if step == 0 else [5.0, 7.0])
    model["w"].load([0.0, 0.0], session)
    saver.restore(session, prefix)
    assert session.run(model["w"]).tolist() == [1.0, 2.0]
    saver.save(session, str(tmp_path / "m"), 1)
    assert {name.split(".")[0] for name in files(tmp_path)} == {"checkpoint", "m-1"}


@pytest.mark.parametrize("directory", ["m-1.meta", "checkpoint"])
@pytest.mark.parametrize("is_used", [False, True], ids=["new prefix", "same prefix"])
def test_the_variables_stay_where_a_directory_is_in_a_files_place(
    directory: str, is_used: bool, session: Any, model: dict[str, Any], tmp_path: Path
) -> None:
    saver = Saver()
    prefix = str(tmp_path / "m-1")
    if is_used:
        saver.save(session, str(tmp_path / "m"), 1, write_meta_graph=False, write_state=False)
    (tmp_path / directory).mkdir()
    model["w"].load([1.0, 2.0], session)
    with pytest.raises(tf.errors.OpError, match=re.escape(directory)) as failure:
        saver.save(session, str(tmp_path / "m"), 1)
    assert f"saver.restore(sess, {prefix!r})" in str(failure.value)
    assert weights(prefix) == [1.0, 2.0]
    assert not [name for name in files(tmp_path) if ".autodist" in name]
    assert saver.last_checkpoints == []


def test_a_checkpoint_under_a_name_that_was_there_is_not_taken_back(
    session: Any, model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver()
    path = saver.save(session, str(tmp_path / "m"), 1)
    session.run(model["w"].assign([1.0, 2.0]))
    monkeypatch.setattr(_native.StagedFile, "commit", fail)
    with pytest.raises(OSError, match="no space left"):
        saver.save(session, str(tmp_path / "m"), 1)
    assert tf.train.load_variable(path, "w").tolist() == [1.0, 2.0]


def test_a_save_returns_its_report(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = []
    run = transaction.Transaction.run

    def note(self: transaction.Transaction, *given: Any) -> Any:
        reports.append(run(self, *given))
        return reports[-1]

    monkeypatch.setattr(transaction.Transaction, "run", note)
    paths = [Saver().save(session, str(tmp_path / "m"), step) for step in (1, 2)]
    paths.append(tf1.train.Saver().save(session, str(tmp_path / "m"), 3))
    assert [report.prefix for report in reports] == paths[:2]
    for report in reports:
        data = Path(f"{report.prefix}.data-00000-of-00001")
        assert report.ops.byte_count >= data.stat().st_size > 0
        assert report.ops.seconds > 0
