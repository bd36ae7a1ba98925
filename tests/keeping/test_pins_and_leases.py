"""Pinned checkpoints stay, and so do those that somebody reads."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist import checkpoint
from autodist.checkpoint.keeping import lease_lock, leases
from autodist.checkpoint.saver import Saver
from autodist.errors import LeaseError, MissingCheckpointError
from support.python_programs import environment, run_python

tf1 = tf.compat.v1

READER = """
import sys, time
from autodist.checkpoint.keeping.lease_lock import LeaseLock
LeaseLock(sys.argv[1]).share()
assert "tensorflow" not in sys.modules
print("reading", flush=True)
time.sleep(600)
"""


def prefixes(directory: Path) -> set[str]:
    return {path.name.removesuffix(".index") for path in directory.glob("*.index")}


@pytest.fixture
def saver(session: Any) -> Saver:
    return Saver(max_to_keep=1, durable=False)


WITHOUT_TENSORFLOW = """
import sys
from autodist import checkpoint
checkpoint.pin(sys.argv[1], "from elsewhere")
assert list(checkpoint.pins(sys.argv[2])) == [sys.argv[1]]
with checkpoint.reading(sys.argv[1]):
    pass
assert checkpoint.unpin(sys.argv[1])
checkpoint.pin(sys.argv[1], "again")
assert "tensorflow" not in sys.modules
"""


def test_a_process_without_tensorflow_pins(session: Any, tmp_path: Path, saver: Saver) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)
    run_python("-c", WITHOUT_TENSORFLOW, first, tmp_path, fresh=True)
    saver.save(session, str(tmp_path / "m"), 2)
    assert checkpoint.pins(tmp_path)[first].reason == "again"


def test_a_pinned_checkpoint_stays(session: Any, tmp_path: Path, saver: Saver) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)
    checkpoint.pin(first, "released")
    for step in (2, 3):
        saver.save(session, str(tmp_path / "m"), step)
    assert prefixes(tmp_path) == {"m-1", "m-3"}
    pinned = checkpoint.pins(tmp_path)
    assert list(pinned) == [first]
    assert pinned[first].reason == "released"
    assert time.time() - pinned[first].time < 600
    tf1.train.Saver().restore(session, first)


def test_a_pin_can_be_taken_away(session: Any, tmp_path: Path, saver: Saver) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)
    checkpoint.pin(first)
    assert checkpoint.unpin(first)
    assert not checkpoint.unpin(first)
    saver.save(session, str(tmp_path / "m"), 2)
    assert prefixes(tmp_path) == {"m-2"}


def test_what_is_not_there_cannot_be_pinned(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpointError, match=r"there is no .*m\.index"):
        checkpoint.pin(tmp_path / "m")
    with pytest.raises(MissingCheckpointError, match="its directory is missing"):
        checkpoint.pin(tmp_path / "none" / "m")
    assert not list(tmp_path.iterdir())


def test_a_pin_that_is_unreadable_counts(session: Any, tmp_path: Path, saver: Saver) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)
    Path(f"{first}.pin").write_text("because")
    saver.save(session, str(tmp_path / "m"), 2)
    assert checkpoint.pins(tmp_path)[first].reason == "(its file is unreadable)"


def test_a_lease_that_cannot_be_opened_counts(
    session: Any, tmp_path: Path, saver: Saver, caplog: pytest.LogCaptureFixture
) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)
    Path(f"{first}.lease").mkdir()
    saver.save(session, str(tmp_path / "m"), 2)
    assert prefixes(tmp_path) == {"m-1", "m-2"}
    assert "whether somebody reads it cannot be told" in caplog.text


def test_a_lease_of_another_user_is_locked(
    session: Any, tmp_path: Path, saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file may be read, but not written."""
    first = saver.save(session, str(tmp_path / "m"), 1)
    Path(f"{first}.lease").touch()
    opened = os.open

    def refuse_to_write(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if str(path).endswith(".lease") and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "not yours")
        return opened(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse_to_write)
    with checkpoint.reading(first):
        saver.save(session, str(tmp_path / "m"), 2)
        assert prefixes(tmp_path) == {"m-1", "m-2"}
    # The last reader removed the file, and a new one cannot be made: nobody reads.
    with pytest.raises(LeaseError, match="not yours"), checkpoint.reading(first):
        pass
    Path(f"{first}.lease").touch()
    saver.save(session, str(tmp_path / "m"), 3)
    assert prefixes(tmp_path) == {"m-3"}


def test_a_checkpoint_that_is_read_is_removed_later(
    session: Any, tmp_path: Path, saver: Saver
) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)
    with checkpoint.reading(first) as prefix, checkpoint.reading(first):
        for step in (2, 3):
            saver.save(session, str(tmp_path / "m"), step)
        assert prefixes(tmp_path) == {"m-1", "m-3"}
        tf1.train.Saver().restore(session, prefix)
    saver.save(session, str(tmp_path / "m"), 4)
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {"checkpoint", "m-4"}


def test_a_reader_that_was_killed_keeps_nothing(session: Any, tmp_path: Path, saver: Saver) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, f"{first}.lease"],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"reading\n"
    saver.save(session, str(tmp_path / "m"), 2)
    assert prefixes(tmp_path) == {"m-1", "m-2"}
    reader.kill()
    reader.wait()
    reader.stdout.close()
    saver.save(session, str(tmp_path / "m"), 3)
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {"checkpoint", "m-3"}


def has_open(process: int, path: str) -> bool:
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if descriptor.readlink() == Path(path):
                return True
    return False


def test_who_comes_while_it_is_removed_finds_nothing(tmp_path: Path) -> None:
    """The reader waits for the lock of a file that is removed, and makes it anew."""
    path = str(tmp_path / "m.lease")
    remover = lease_lock.LeaseLock(path)
    assert remover.can_exclude()
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, path], stdout=subprocess.PIPE, env=environment()
    )
    assert reader.stdout is not None
    while not has_open(reader.pid, path):
        time.sleep(0.01)
    remover.release()
    assert reader.stdout.readline() == b"reading\n"
    assert not lease_lock.LeaseLock(path).can_exclude()
    reader.kill()
    reader.wait()
    reader.stdout.close()


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_the_age_of_a_file_counts(
    session: Any, tmp_path: Path, saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)
    with checkpoint.reading(first):
        assert len(list(tmp_path.glob("m-1.lease-*"))) == 1
        second = saver.save(session, str(tmp_path / "m"), 2)
        assert prefixes(tmp_path) == {"m-1", "m-2"}
    assert not list(tmp_path.glob("m-1.lease-*"))
    # A reader that died.
    left = Path(f"{second}.lease-0123456789abcdef")
    left.touch()
    os.utime(left, (time.time() - leases._COUNTS_SECONDS - 60,) * 2)
    saver.save(session, str(tmp_path / "m"), 3)
    assert prefixes(tmp_path) == {"m-3"}
    assert not left.exists()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_lease_is_renewed(
    session: Any, tmp_path: Path, saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_RENEWED_EVERY_SECONDS", 0.02)
    first = saver.save(session, str(tmp_path / "m"), 1)
    with checkpoint.reading(first):
        (path,) = tmp_path.glob("m-1.lease-*")
        os.utime(path, (1, 1))
        while path.stat().st_mtime < 2:
            time.sleep(0.01)


@pytest.mark.usefixtures("no_locks")
def test_a_lease_that_cannot_be_renewed_is_told_once(
    session: Any,
    tmp_path: Path,
    saver: Saver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(leases, "_RENEWED_EVERY_SECONDS", 0.01)
    first = saver.save(session, str(tmp_path / "m"), 1)
    written, tries = leases.side_files.write, []

    def fail_later(path: str, contents: bytes) -> None:
        tries.append(path)
        if len(tries) > 1:
            raise OSError(errno.EROFS, "read-only")
        written(path, contents)

    monkeypatch.setattr(leases.side_files, "write", fail_later)
    with checkpoint.reading(first):
        while len(tries) < 4:
            time.sleep(0.01)
    assert caplog.text.count("its lease cannot be renewed") == 1


def test_a_lease_that_cannot_be_written_is_refused(
    session: Any, tmp_path: Path, saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = saver.save(session, str(tmp_path / "m"), 1)

    def refuse(*_: Any) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(LeaseError, match="cannot be leased"),
        checkpoint.reading(first),
    ):
        pass
