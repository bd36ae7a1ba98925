"""Saves on file systems, into directories and under names as users have them; stock TensorFlow reads what is there."""

import errno
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from autodist.checkpoint.saver import Saver
from support.c_programs import compile_library
from support.python_programs import run_python

tf1 = tf.compat.v1

NOBODY = 65534


def with_error(name: str, error: int) -> dict[str, Any]:
    return {"environment": {name: str(error)}}


CASES: dict[str, dict[str, Any]] = {
    "like any": {},
    **{
        f"append only: {errno.errorcode[error]}": with_error("FS_APPEND", error)
        for error in (errno.EOPNOTSUPP, errno.EINVAL)
    },
    **{
        f"directories without sync: {errno.errorcode[error]}": with_error("FS_SYNC_DIR", error)
        for error in (errno.EROFS, errno.EBADF)
    },
    "append only, a cluster": {**with_error("FS_APPEND", errno.EOPNOTSUPP), "cluster": True},
    "no directory sync, a cluster": {**with_error("FS_SYNC_DIR", errno.EROFS), "cluster": True},
    "the longest name, a cluster": {"prefix": "m" * 233, "cluster": True},
    "no links": {"environment": {"FS_NO_LINK": "1"}},
    "no rename over a file": {"environment": {"FS_NO_REPLACE": "1"}},
    "the longest name": {"prefix": "m" * (255 - len("-1.data-00000-of-00001"))},
    "the longest name of other letters": {"prefix": "ä" * 116},
    "short names": {**with_error("FS_NAME_MAX", 143), "prefix": "m" * 121},
    "spaces and lines in a name": {"prefix": "a  b\nc"},
}
# Root may read and write everything.
CASES_OF_OTHERS: dict[str, dict[str, Any]] = {
    "may be written to, not read": {"mode": 0o333, "user": NOBODY},
    "may not be written to": {
        "mode": 0o555,
        "user": NOBODY,
        "fails": ["PermissionDeniedError", "Permission denied"],
    },
}


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> str:
    library = tmp_path_factory.mktemp("library") / "file_systems.so"
    return compile_library("checkpoint/file_systems.c", library, "-Wall", "-Wextra", "-Werror")


def run(program: str, preloaded: str, *arguments: str, cases: Any = None) -> list[Any]:
    done = run_python(
        *("-m", f"support.checkpoint.{program}", *arguments),
        preload=preloaded,
        text=json.dumps(cases),
    )
    return [
        json.loads(line.removeprefix("wrong: "))
        for line in done.stdout.splitlines()
        if line.startswith("wrong: ")
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="a library of Linux is preloaded")
def test_every_way_to_save_works_or_says_why(preloaded: str) -> None:
    cases = {**CASES, **(CASES_OF_OTHERS if os.geteuid() == 0 else {})}
    # Not below pytest's, which only its own user may enter.
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)
        wrong = run("file_system_program", preloaded, place, cases=list(cases.values()))
        left = [path for path in root.rglob("*") if ".autodist" in path.name]
    assert dict(zip(cases, wrong, strict=True)) == {case: [] for case in cases}
    assert left == []


def names(directory: Path) -> set[bytes]:
    return set(os.listdir(bytes(directory)))  # noqa: PTH208 names in bytes


def test_a_name_that_is_no_utf8_keeps_no_checkpoint(session: Any, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    saver, sharded = Saver(max_to_keep=1), Saver(max_to_keep=1, sharded=True)
    for step in (1, 2, 3):
        saver.save(session, str(tmp_path / "m"), step)
        sharded.save(session, str(tmp_path / "s"), step)
    removed = (b"m-1", b"m-2", b"s-1", b"s-2")
    assert not {name for name in names(tmp_path) if name.startswith(removed)}
    assert b"caf\xe9" in names(tmp_path)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_missing_directory_on_the_way_up_is_left_out_as_by_stock(
    sharded: bool, session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ck").mkdir()
    for number, start in enumerate(["logs/../ck", f"{tmp_path}/logs/../ck", "a/b/../../ck/."]):
        for saver_class in (tf1.train.Saver, Saver):
            saver = saver_class(sharded=sharded, max_to_keep=1)
            name = f"{saver_class.__module__.split('.')[0]}{number}"
            for step in (1, 2):
                path = saver.save(session, f"{start}/{name}", step)
            assert path == f"{start}/{name}-2"
            assert (tmp_path / "ck" / f"{name}-2.meta").exists()
            assert not (tmp_path / "ck" / f"{name}-1.index").exists()
            saver.restore(session, path)
    if not sharded:
        builder = SavedModelBuilder("logs/../export")
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
        assert (tmp_path / "export" / "saved_model.pb").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"ck", "export"}


def test_a_scheme_for_local_files(session: Any, tmp_path: Path) -> None:
    saver = Saver(max_to_keep=1)
    for step in (1, 2):
        path = saver.save(session, f"file://{tmp_path}/m", step)
        saver.restore(session, path)
    builder = SavedModelBuilder(f"file://{tmp_path}/export")
    builder.add_meta_graph_and_variables(session, ["serve"])
    builder.save()
    expected = {"checkpoint", "m-2.data-00000-of-00001", "m-2.index", "m-2.meta", "export"}
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("kind", [Path, os.fsencode], ids=["path", "bytes"])
def test_paths_of_any_kind(kind: Any, session: Any, model: dict[str, Any], tmp_path: Path) -> None:
    saver = Saver(max_to_keep=1, filename=kind(str(tmp_path / "model")))
    path = saver.save(session, kind(str(tmp_path / "m")), 1, latest_filename=kind("latest"))
    assert path == str(tmp_path / "m-1")
    assert tf.train.latest_checkpoint(str(tmp_path), "latest") == path
    model["w"].load([0.0, 0.0], session)
    saver.restore(session, kind(path))
    assert session.run(model["w"]).tolist() == [5.0, 7.0]
    saver.export_meta_graph(kind(str(tmp_path / "graph.meta")))
    assert (tmp_path / "graph.meta").exists()
    again = Saver(max_to_keep=1)
    again.recover_last_checkpoints([kind(path)])
    assert again.last_checkpoints == [path]
    again.set_last_checkpoints([kind(path)])
    assert again.last_checkpoints == [path]
    again.set_last_checkpoints_with_time([(kind(path), 1.0)])
    again.save(session, kind(str(tmp_path / "m")), 2)
    assert not (tmp_path / "m-1.index").exists()
    builder = SavedModelBuilder(kind(str(tmp_path / "export")))
    builder.add_meta_graph_and_variables(session, ["serve"])
    builder.save()
    assert (tmp_path / "export" / "saved_model.pb").exists()


def test_a_path_when_executing_eagerly(tmp_path: Path) -> None:
    variable = tf.Variable([1.0], name="e")
    saver = Saver([variable])
    path = saver.save(None, tmp_path / "e")
    variable.assign([2.0])
    saver.restore(None, Path(path))
    assert variable.numpy().tolist() == [1.0]


def test_a_directory_changed_between_saves(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "second")
    Saver().save(session, "m", 1)
    before = names(tmp_path / "second")
    saver = Saver(max_to_keep=1)
    monkeypatch.chdir(tmp_path / "first")
    saver.save(session, "m", 1)
    monkeypatch.chdir(tmp_path / "second")
    saver.save(session, "m", 2)
    assert before <= names(tmp_path / "second")
    assert not (tmp_path / "first" / "m-1.index").exists()


# What a file system may answer, and TensorFlow has types for that a monitored session takes for something else.
ERRORS = (
    *(errno.EFBIG, errno.EOVERFLOW, errno.ERANGE),  # OutOfRange
    *(errno.ESTALE, errno.EDEADLK),  # Aborted
    *(errno.EAGAIN, errno.EINTR, errno.ECONNRESET, errno.EHOSTDOWN, errno.ENOLCK),  # Unavailable
    *(errno.ETIMEDOUT, errno.ECANCELED, errno.ENOBUFS, errno.EIO, errno.ENOSPC),
)


@pytest.mark.skipif(sys.platform != "linux", reason="a library of Linux is preloaded")
def test_no_error_of_a_save_or_restore_ends_training_quietly_or_begins_it_again(
    preloaded: str, tmp_path: Path
) -> None:
    cases = [
        *({"call": "write", "errno": error, "at": "hook"} for error in ERRORS),
        *(
            {"call": call, "errno": error, "at": at}
            for call in ("open", "fsync", "rename")
            for error, at in ((errno.EFBIG, "end"), (errno.ESTALE, "hook"), (errno.EAGAIN, "end"))
        ),
        {"call": "write", "errno": errno.EFBIG, "at": "thread"},
        *(
            {"call": "fopen", "errno": error, "at": "hook", "sharded": True}
            for error in (errno.EFBIG, errno.ESTALE, errno.EAGAIN)
        ),
        {"call": "rename", "errno": errno.ESTALE, "at": "end", "sharded": True},
        *(
            {"call": "write", "errno": error, "at": "hook", "cluster": True, "transport": way}
            for way in (None, "files")
            for error in (errno.EFBIG, errno.ESTALE, errno.EAGAIN)
        ),
        {"call": "fopen", "errno": errno.ESTALE, "at": "end", "cluster": True, "sharded": True},
        *(
            {"call": "read", "errno": error, "at": "restore", "cluster": is_cluster}
            for is_cluster in (False, True)
            for error in (errno.EDEADLK, errno.ESTALE, errno.ECONNRESET)
        ),
    ]
    cases = [{"sharded": False, "cluster": False, **case} for case in cases]
    wrong = run("save_errors_program", preloaded, str(tmp_path), cases=cases)
    found = {json.dumps(case): faults for case, faults in zip(cases, wrong, strict=True) if faults}
    assert found == {}
