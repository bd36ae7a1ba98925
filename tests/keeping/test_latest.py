"""The newest sound checkpoint: what is skipped and why, and never silently none."""

import os
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist import checkpoint
from autodist.checkpoint.saver import Saver

tf1 = tf.compat.v1


@pytest.fixture
def place(session: Any, tmp_path: Path) -> Path:
    """A directory with three checkpoints that a state file lists, and one that it does not."""
    saver = Saver(durable=False)
    for step in (1, 2, 3):
        saver.save(session, str(tmp_path / "m"), step)
    saver.save(session, str(tmp_path / "other"), 9, write_state=False)
    for age, name in enumerate(("other-9", "m-3", "m-2", "m-1")):
        os.utime(tmp_path / f"{name}.index", (1_700_000_000 - age,) * 2)
    return tmp_path


def data_of(place: Path, name: str) -> Path:
    return place / f"{name}.data-00000-of-00001"


def cut(place: Path, name: str) -> None:
    os.truncate(data_of(place, name), 100)


def flip(place: Path, name: str) -> None:
    contents = bytearray(data_of(place, name).read_bytes())
    contents[5] ^= 1
    data_of(place, name).write_bytes(contents)


def remove_data(place: Path, name: str) -> None:
    data_of(place, name).unlink()


def remove_index(place: Path, name: str) -> None:
    (place / f"{name}.index").unlink()


def spoil_index(place: Path, name: str) -> None:
    (place / f"{name}.index").write_bytes(b"nothing")


def test_a_sound_one_is_taken_without_a_word(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    assert checkpoint.latest(place) == str(place / "m-3") == tf.train.latest_checkpoint(place)
    assert not caplog.records


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("damage", [cut, remove_data, remove_index, spoil_index])
def test_what_is_incomplete_is_skipped(
    place: Path, caplog: pytest.LogCaptureFixture, damage: Any, *, verify: bool
) -> None:
    damage(place, "m-3")
    damage(place, "m-2")
    assert checkpoint.latest(place, verify=verify) == str(place / "m-1")
    message = caplog.records[-1].getMessage()
    assert f"the newest sound checkpoint is {place / 'm-1'}" in message
    assert message.index(f"Skipped {place / 'm-3'}: ") < message.index(f"Skipped {place / 'm-2'}")


def test_damaged_bytes_are_found_if_they_are_read(place: Path) -> None:
    flip(place, "m-3")
    assert checkpoint.latest(place) == str(place / "m-2")
    assert checkpoint.latest(place, verify=False) == str(place / "m-3")


def test_without_a_listed_one_others_are_looked_for(place: Path) -> None:
    for name in ("m-1", "m-2", "m-3"):
        cut(place, name)
    assert checkpoint.latest(place) == str(place / "other-9")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'model_checkpoint_path: "m', "is unreadable"),
        (b"\xff\xfe", "is unreadable"),
        (b"", "names no checkpoint"),
        (None, "there is no state file"),
    ],
)
def test_a_state_file_that_says_nothing(
    place: Path, caplog: pytest.LogCaptureFixture, text: bytes | None, says: str
) -> None:
    state = place / "checkpoint"
    state.unlink() if text is None else state.write_bytes(text)
    assert checkpoint.latest(place) == str(place / "other-9")
    assert says in caplog.records[-1].getMessage()


def test_a_directory_that_was_moved(place: Path, tmp_path: Path) -> None:
    moved = place.rename(tmp_path.parent / "moved here")
    assert checkpoint.latest(moved) == str(moved / "other-9")


def test_nothing_sound_is_an_error(place: Path) -> None:
    for name in ("m-1", "m-2", "m-3", "other-9"):
        cut(place, name)
    with pytest.raises(tf.errors.DataLossError, match="has no sound checkpoint") as caught:
        checkpoint.latest(place)
    assert caught.value.message.count("Skipped") == 4
    for path in place.glob("*.index"):
        path.unlink()
    with pytest.raises(tf.errors.DataLossError, match=r"there is no .*m-3\.index"):
        checkpoint.latest(place)


def test_a_state_file_alone_that_is_unreadable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b"\xff")
    with pytest.raises(tf.errors.DataLossError, match="is unreadable"):
        checkpoint.latest(tmp_path)


def test_names_that_are_not_utf8_are_left_out(place: Path) -> None:
    (place / os.fsdecode(b"\xff.index")).touch()
    (place / "checkpoint").unlink()
    assert checkpoint.latest(place) == str(place / "other-9")
    assert checkpoint.pins(place) == {}
    assert checkpoint.best(place, "loss", "min") is None


def test_an_empty_directory_has_none(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "not yet there") is None


def test_the_v1_format_is_found(session: Any, tmp_path: Path) -> None:
    saver = tf1.train.Saver(write_version=tf1.train.SaverDef.V1)
    prefix = saver.save(session, str(tmp_path / "v1"))
    assert checkpoint.latest(tmp_path) == prefix
    Path(prefix).write_bytes(b"nothing")
    with pytest.raises(tf.errors.DataLossError, match="no checkpoint of the V1 format"):
        checkpoint.latest(tmp_path)
