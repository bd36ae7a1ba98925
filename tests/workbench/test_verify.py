"""Damage of every kind is found, and what is sound is called sound."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autodist import _log
from autodist.workbench import errors
from autodist.workbench.commands import verification
from autodist.workbench.reading import finding
from support.workbench.made_tables import entry, index_of, varint

Copy = Callable[[str], Path]
FOOTER_BYTES = 48


def verify(path: Path) -> verification.Report:
    return verification.verify(verification.plan([str(path)]), threads=2)


def damage_in(path: Path) -> list[str]:
    return [problem.text for problem in verify(path).problems if problem.is_damage]


@pytest.mark.parametrize(
    "name",
    [
        "dtypes",
        "sliced",
        "sharded",
        "v1",
        "v1_sharded",
        "v1_sliced",
        "objects",
        "saved_model",
        "large",
    ],
)
def test_what_stock_wrote_is_sound(stock: Path, name: str) -> None:
    report = verify(stock / name)
    assert report.is_sound
    assert not report.problems
    assert report.variable_count


def test_every_changed_byte_of_a_data_file_is_found(copied: Copy) -> None:
    directory = copied("dtypes")
    file = directory / "model.ckpt.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    for place in range(0, len(data), 7):
        data[place] ^= 0x10
        file.write_bytes(data)
        assert damage_in(directory), place
        data[place] ^= 0x10


def test_every_changed_byte_of_an_index_is_found_or_changes_nothing(copied: Copy) -> None:
    directory = copied("sliced")
    file = directory / "model.ckpt.index"
    data = bytearray(file.read_bytes())
    before = finding.read(str(directory / "model.ckpt"))
    unseen = 0
    for place in range(len(data)):
        data[place] ^= 0x01
        file.write_bytes(data)
        if not damage_in(directory):
            assert finding.read(str(directory / "model.ckpt")) == before
            unseen += 1
        data[place] ^= 0x01
    # The meta index, which is empty, and the padding of the footer are not used.
    assert unseen < 13 + FOOTER_BYTES


@pytest.mark.parametrize("name", ["v1", "v1_sliced"])
def test_changed_bytes_of_the_old_format_are_found(copied: Copy, name: str) -> None:
    directory = copied(name)
    file = directory / "model.ckpt"
    data = bytearray(file.read_bytes())
    for place in range(0, len(data) - 100, 13):
        data[place] ^= 0x04
        file.write_bytes(data)
        assert damage_in(directory), place
        data[place] ^= 0x04


def test_a_file_that_ends_early_is_found(copied: Copy) -> None:
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001", "model.ckpt.meta"):
        directory = copied("dtypes")
        file = directory / name
        file.write_bytes(file.read_bytes()[:-5])
        assert damage_in(directory), name
        shutil.rmtree(directory)


def test_missing_and_superfluous_files_are_named(copied: Copy) -> None:
    directory = copied("sharded")
    other = directory / "model.ckpt.data-00000-of-00007"
    other.write_bytes(b"")
    (remark,) = verify(directory).problems
    assert not remark.is_damage
    assert remark.text == f"'{other}' belongs to another save"
    missing = directory / "model.ckpt.data-00001-of-00002"
    missing.unlink()
    assert damage_in(directory) == [f"'{missing}' is missing, with 2 pieces"]


def test_bytes_that_no_variable_names_are_a_remark(copied: Copy) -> None:
    directory = copied("keras")
    with (directory / "model.ckpt.data-00000-of-00001").open("ab") as file:
        file.write(b"more")
    report = verify(directory)
    assert report.is_sound
    assert "has 4 bytes behind those of its variables" in report.problems[0].text


def test_a_state_file_that_names_what_is_not_there_is_damage(copied: Copy) -> None:
    directory = copied("objects")
    state = directory / "checkpoint"
    state.write_text('model_checkpoint_path: "gone"\nall_model_checkpoint_paths: "model.ckpt-1"\n')
    assert damage_in(directory) == [f"it names '{directory}/gone', which does not exist"]
    state.write_text("nonsense\n")
    assert "is not a state file" in damage_in(directory)[0]


def test_a_directory_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFoundError):
        verification.plan([str(tmp_path)])


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({b"a": entry(), b"b": entry(offset=4)}, "are also those of 'a'"),
        ({b"a": entry(size=12)}, "12 bytes do not hold a float32 of shape [2]"),
        ({b"a": entry(dtype=20)}, "no tensor of the dtype 20 (resource) can be stored"),
        ({b"a": entry(dtype=99)}, "no tensor of the dtype 99 (unknown) can be stored"),
        ({b"a": entry(offset=12)}, "are missing: the file has 16"),
        ({b"a": entry(offset=-1)}, "are not a range"),
        ({b"a": entry(offset=(1 << 63) - 2)}, "are not a range"),
        ({b"a": entry(file=3)}, "it is in data file 3 of 1"),
        ({b"a": entry(shape=(1 << 62, 4))}, "it has no valid shape"),
        ({b"a": entry(shape=(-1,))}, "it has no valid shape"),
        ({b"a": entry(dtype=7, size=4)}, "do not hold strings of shape [2]"),
        ({b"a": entry() + b"\x3a\x04\x0a\x02\x10\x01"}, "its slice 0,1 is missing"),
        ({b"a": b"\xff"}, "its value is not a BundleEntryProto"),
    ],
)
def test_an_index_that_contradicts_itself_is_damage(
    tmp_path: Path, entries: dict[bytes, bytes], text: str
) -> None:
    (tmp_path / "m.index").write_bytes(index_of(entries))
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(16))
    assert any(text in found for found in damage_in(tmp_path / "m")), damage_in(tmp_path / "m")


def test_a_made_index_is_sound_where_it_is_right(tmp_path: Path) -> None:
    (tmp_path / "m.index").write_bytes(index_of({b"a": entry(), b"b": entry(offset=8)}))
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(16))
    assert not verify(tmp_path / "m").problems


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (b"\x08\x01\x10\x01", "big-endian"),
        (b"\x08\x01\x1a\x02\x10\x63", "readers of version 99"),
        (b"\x08" + varint(-1), "not the header"),
        (b"\x08" + varint(1 << 30), "claims 1073741824 data files"),
    ],
)
def test_headers_that_cannot_be_read_are_refused(tmp_path: Path, header: bytes, text: str) -> None:
    (tmp_path / "m.index").write_bytes(index_of({b"a": entry()}, header))
    assert text in damage_in(tmp_path / "m")[0]


def test_names_cannot_command_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "m.index").write_bytes(index_of({b"a\x1b[2J\xff": entry(size=12)}))
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(16))
    (problem, *_) = verify(tmp_path / "m").problems
    assert problem.variable == "a\x1b[2J\udcff"
    assert _log.printable(problem.variable).isprintable()


def test_a_fifo_in_place_of_a_file_is_refused(tmp_path: Path) -> None:

    os.mkfifo(tmp_path / "m.index")
    with pytest.raises(errors.NotFoundError):
        finding.open_checkpoint(str(tmp_path / "m"))
