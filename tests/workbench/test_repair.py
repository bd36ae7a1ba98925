"""`repair` keeps what is sound, says what is lost, and writes nothing unasked."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from autodist.workbench import errors
from autodist.workbench.commands.repair import repair
from support.workbench.stock_writer import (
    assert_same_files,
    files_of,
    save,
    save_sharded,
    slices,
    whole,
)

# So many that the index has several blocks.
NAMES = sorted(f"layer_{number:05d}/kernel_of_a_layer" for number in range(12_000))
# Their slices are in the first block; they themselves in the first and in the last one.
SLICED = ("a_sliced", "sliced")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A checkpoint whose index has several blocks."""
    prefix = tmp_path_factory.mktemp("large") / "m"
    value = np.arange(6, dtype=np.float32)
    tensors = [tf.constant(np.float32(number)) for number in range(4)] * (len(NAMES) // 4)
    cut = [entry for name in SLICED for entry in slices(name, value, 0, [3, 3])]
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[*NAMES, *(name for name, _, _ in cut)],
        shape_and_slices=[""] * len(NAMES) + [place for _, place, _ in cut],
        tensors=[*tensors, *(value for _, _, value in cut)],
    )
    return files_of(prefix)


def put(directory, files):
    for suffix, contents in files.items():
        (directory / f"m{suffix}").write_bytes(contents)
    return str(directory / "m")


def flipped(contents, at):
    damaged = bytearray(contents)
    damaged[at] ^= 0x20
    return bytes(damaged)


def snapshot(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_sound_index_stays(large, tmp_path):
    report = repair(put(tmp_path, large), write=True)
    assert report.is_sound
    assert not report.written
    assert len(report.kept) == len(NAMES) + 2
    assert snapshot(tmp_path) == {f"m{suffix}": contents for suffix, contents in large.items()}


def test_nothing_is_written_unasked(large, tmp_path):
    prefix = put(tmp_path, {**large, ".index": flipped(large[".index"], 320_000)})
    before = snapshot(tmp_path)
    report = repair(prefix)
    assert not report.is_sound
    assert not report.written
    assert snapshot(tmp_path) == before


def test_entries_of_sound_blocks_are_kept(large, tmp_path):
    damaged = flipped(large[".index"], 320_000)
    prefix = put(tmp_path, {**large, ".index": damaged})
    report = repair(prefix, write=True)
    assert report.written
    assert len(report.damage) == 2
    assert 6000 < len(report.kept) < len(NAMES)
    assert "a_sliced" in report.kept
    assert Path(report.backup).read_bytes() == damaged
    reader = tf.train.load_checkpoint(prefix)
    assert sorted(reader.get_variable_to_shape_map()) == sorted(report.kept)
    for name in report.kept[1::500]:
        assert reader.get_tensor(name) == float(NAMES.index(name) % 4)
    np.testing.assert_array_equal(reader.get_tensor("a_sliced"), np.arange(6))
    assert repair(prefix).is_sound


def test_a_lost_header_and_lost_slices(large, tmp_path):
    prefix = put(tmp_path, {**large, ".index": flipped(large[".index"], 100)})
    report = repair(prefix, write=True)
    assert [lost.name for lost in report.lost] == ["sliced"]
    reader = tf.train.load_checkpoint(prefix)
    assert sorted(reader.get_variable_to_shape_map()) == sorted(report.kept)


@pytest.mark.parametrize("cut", [1, 48, 60])
def test_an_index_without_its_end(large, tmp_path, cut):
    prefix = put(tmp_path, {**large, ".index": large[".index"][:-cut]})
    report = repair(prefix, write=True)
    assert len(report.kept) == len(NAMES) + 2
    assert files_of(prefix)[".index"] == large[".index"]


def test_a_variable_whose_bytes_are_damaged_is_left_out(tmp_path):
    entries = [
        whole("a", np.arange(3)),
        whole("b", np.arange(4)),
        *slices("c", np.ones(4), 0, [2, 2]),
    ]
    prefix = save(tmp_path / "m", entries)
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(flipped(data.read_bytes(), 30))
    report = repair(prefix, write=True)
    assert [lost.name for lost in report.lost] == ["b"]
    assert report.kept == ["a", "c"]
    reader = tf.train.load_checkpoint(prefix)
    assert sorted(reader.get_variable_to_shape_map()) == ["a", "c"]
    np.testing.assert_array_equal(reader.get_tensor("a"), np.arange(3))


def test_a_missing_data_file(tmp_path):
    prefix = save_sharded(tmp_path / "m", [[whole("a", np.ones(3))], [whole("b", np.ones(4))]])
    (tmp_path / "m.data-00001-of-00002").unlink()
    report = repair(prefix, write=True)
    assert [lost.name for lost in report.lost] == ["b"]
    assert "does not exist" in report.lost[0].reason
    np.testing.assert_array_equal(tf.train.load_checkpoint(prefix).get_tensor("a"), np.ones(3))


def test_nothing_sound_is_an_error(tmp_path):
    prefix = save(tmp_path / "m", [whole("a", np.ones(3))])
    index = tmp_path / "m.index"
    index.write_bytes(flipped(index.read_bytes(), 3))
    with pytest.raises(errors.DamagedError):
        repair(prefix, write=True)
    index.write_bytes(b"")
    with pytest.raises(errors.DamagedError):
        repair(prefix, write=True)
    index.unlink()
    with pytest.raises(errors.NotFoundError):
        repair(prefix, write=True)


def test_every_damage_of_a_small_index_ends_well(tmp_path):
    """A report or an error, and never an index that names other bytes."""
    value = np.arange(5, dtype=np.float32)
    prefix = save(tmp_path / "m", [whole("a", value), *slices("b", value, 0, [2, 3])])
    index = tmp_path / "m.index"
    sound = index.read_bytes()
    for at in range(len(sound)):
        index.write_bytes(flipped(sound, at))
        try:
            report = repair(prefix, write=True)
        except errors.DamagedError:
            continue
        assert report.kept == ["a", "b"]
        # Some bytes are read by nobody.
        assert index.read_bytes() == (sound if report.written else flipped(sound, at))
        for backup in tmp_path.glob("*.damaged*"):
            backup.unlink()


def checkpoints(directory):
    """Three checkpoints, the second one damaged; the last one is the newest."""
    for step in (9, 10, 11):
        save(directory / f"m-{step}", [whole("a", np.full(3, step))])
        os.utime(directory / f"m-{step}.index", (step, step))
    data = directory / "m-10.data-00000-of-00001"
    data.write_bytes(flipped(data.read_bytes(), 2))


@pytest.mark.parametrize(
    "state",
    [None, b"\x00\x01{", b'model_checkpoint_path: "m-10"\n', b'model_checkpoint_path: "../m-9"\n'],
)
def test_a_state_file_names_the_sound_checkpoints(tmp_path, state):
    checkpoints(tmp_path)
    if state is not None:
        (tmp_path / "checkpoint").write_bytes(state)
    before = snapshot(tmp_path)
    report = repair(str(tmp_path))
    assert (report.is_sound, report.written, report.kept) == (False, False, ["m-9", "m-11"])
    assert [lost.name for lost in report.lost] == ["m-10"]
    assert snapshot(tmp_path) == before
    assert repair(str(tmp_path), write=True).written
    found = tf.train.get_checkpoint_state(str(tmp_path))
    assert found.model_checkpoint_path == str(tmp_path / "m-11")
    assert list(found.all_model_checkpoint_paths) == [
        str(tmp_path / name) for name in ("m-9", "m-11")
    ]
    assert repair(str(tmp_path)).is_sound
    after = snapshot(tmp_path)
    assert after.pop("checkpoint.damaged", None) == state
    del after["checkpoint"]
    before.pop("checkpoint", None)
    assert after == before


def test_names_that_a_state_file_must_escape(tmp_path):
    name = 'a "quoted"\\ \n Grüße'
    save(tmp_path / name, [whole("a", np.ones(3))])
    repair(str(tmp_path), write=True)
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert state.model_checkpoint_path == str(tmp_path / name)


def test_a_directory_without_a_sound_checkpoint(tmp_path):
    with pytest.raises(errors.DamagedError, match="no checkpoint"):
        repair(str(tmp_path), write=True)
    assert not list(tmp_path.iterdir())


def test_the_same_index_as_stock_after_a_repair(tmp_path):
    value = np.arange(4, dtype=np.int64)
    sound = save(tmp_path / "sound", [whole("a", value), whole("b", value)])
    files = files_of(sound)
    prefix = put(tmp_path, {**files, ".index": files[".index"] + b"junk"})
    assert repair(prefix, write=True).written
    for backup in tmp_path.glob("*.damaged"):
        backup.unlink()
    assert_same_files(prefix, sound)
