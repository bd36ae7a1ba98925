"""What stock TensorFlow wrote is read as stock reads it."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autodist.workbench import errors
from autodist.workbench.commands import showing
from autodist.workbench.reading import finding, graphs, state_file, values
from autodist.workbench.reading.checkpoint import Checkpoint, Piece, Variable

NAMES = (
    "dtypes", "sliced", "sharded", "keras", "objects", "saved_model", "v1", "v1_sharded", "v1_sliced",
)  # fmt: skip


def plain(array: np.ndarray) -> list[Any]:
    if array.dtype == object:
        return [value.decode("latin-1") for value in array.ravel()]
    if np.iscomplexobj(array):
        return [[float(v.real), float(v.imag)] for v in array.ravel()]
    return [float(v) for v in array.ravel()]


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_those_that_stock_lists(name: str, expected: dict[str, Any]) -> None:
    found = finding.open_checkpoint(expected[name]["prefix"])
    assert {v.name: (v.dtype, list(v.shape)) for v in found.variables} == {
        name: (v["dtype"], v["shape"]) for name, v in expected[name]["variables"].items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_that_stock_reads(name: str, expected: dict[str, Any]) -> None:
    compared = 0
    for shown in showing.show(expected[name]["prefix"], ["*"]):
        wanted = expected[name]["variables"][shown.variable.name]["values"]
        if wanted is not None:
            assert plain(shown.values) == wanted, shown.variable.name
            compared += 1
    assert compared


def test_slices_are_put_together_in_both_formats(stock: Path) -> None:
    for name in ("sliced", "v1_sliced"):
        shown = {s.variable.name: s.values for s in showing.show(str(stock / name), ["p/*"])}
        np.testing.assert_array_equal(shown["p/axis0"], np.arange(30).reshape(10, 3))
        np.testing.assert_array_equal(shown["p/axis1"], np.arange(36).reshape(4, 9))


@pytest.mark.parametrize("most_bytes", [1, 8, 20, 50, 1000])
def test_blocks_of_any_size_make_up_a_sliced_variable(stock: Path, most_bytes: int) -> None:
    checkpoint = finding.open_checkpoint(str(stock / "sliced"))
    variable = checkpoint.find("p/axis1")
    assert variable is not None
    found = np.zeros(variable.shape, np.float32)
    with values.ValueReader(checkpoint) as reader:
        for block in values.blocks(variable, most_bytes):
            index = (*block.lead, slice(block.begin, block.end))
            found[index] = reader.read_block(variable, block)
        reader.check(variable)
    np.testing.assert_array_equal(found, np.arange(36).reshape(4, 9))


@pytest.mark.parametrize("name", ["dtypes", "sliced", "sharded", "keras"])
def test_the_engine_reads_the_same_entries(name: str, expected: dict[str, Any]) -> None:
    """`_bundle`, which restores use, and `_tables` agree on every entry."""
    bundle = importlib.import_module("autodist._bundle")
    tables = importlib.import_module("autodist._tables")
    prefix = expected[name]["prefix"]
    index = tables.read_index(path=f"{prefix}.index".encode())
    ours = list(
        zip(index.names(), index.shapes(), index.files(), index.offsets(), index.sizes(),
            index.crcs(), strict=True)
    )  # fmt: skip
    # An entry that only lists slices has no CRC.
    assert ours == [
        (e.name, tuple(e.shape), e.shard_id, e.offset, e.size, 0 if e.slices else e.crc32c)
        for e in bundle.list_entries(prefix)
    ]


@pytest.mark.parametrize(
    "path",
    [
        "objects", "objects/checkpoint", "objects/model.ckpt-1", "objects/model.ckpt-1.index",
        "objects/model.ckpt-1.data-00000-of-00001", "saved_model", "saved_model/saved_model.pb",
        "keras", "v1", "v1_sharded", "v1_sharded/model.ckpt", "v1_sharded/model.ckpt-?????-of-00002",
    ],
)  # fmt: skip
def test_a_path_stands_for_a_checkpoint(stock: Path, path: str) -> None:
    assert finding.open_checkpoint(str(stock / path)).variables


def test_a_path_that_stands_for_none_is_refused(stock: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no checkpoint\n")
    for path, text in [
        (stock / "objects/model.ckpt", "There is .*model.ckpt-1"),
        (stock / "large", "has no state file and 2 checkpoints: big, many. Name one"),
        (tmp_path, "there is no checkpoint in"),
        (tmp_path / "text", "is no checkpoint, SavedModel, .meta file or state file"),
        (stock / "dtypes/model.ckpt.meta", "is a graph; it holds no values"),
    ]:
        with pytest.raises(errors.NotFoundError, match=text):
            finding.open_checkpoint(str(path))


def test_a_v1_checkpoint_without_one_of_its_files_is_refused(copied: Any) -> None:
    directory = copied("v1_sharded")
    (directory / "model.ckpt-00001-of-00002").unlink()
    with pytest.raises(errors.DamagedError, match="has 1 of its 2 files"):
        finding.read(str(directory / "model.ckpt"))


def test_a_state_file_is_read_as_text_of_a_protocol_buffer(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(
        b'# kept\nmodel_checkpoint_path: "m\\303\\274\\"-2"\nall_model_checkpoint_paths: "/a/m-1"\n'
        b"all_model_checkpoint_paths: 'm-2' all_model_checkpoint_timestamps: 1.5e9\n"
    )
    state = state_file.read(str(tmp_path))
    assert state.latest == f'{tmp_path}/mü"-2'
    assert state.kept == ("/a/m-1", f"{tmp_path}/m-2")
    for wrong in (b"", b"model_checkpoint_path m", b'model_checkpoint_path: "m', b"\0\xff"):
        (tmp_path / "checkpoint").write_bytes(wrong)
        with pytest.raises(errors.DamagedError):
            state_file.read(str(tmp_path))


def test_a_graph_tells_what_its_saver_restores(stock: Path) -> None:
    graph = graphs.read(str(stock / "sliced/model.ckpt.meta"))
    assert graph.has_saver
    assert [(t.name, t.shape, t.slice) for t in graph.wanted if t.name == "p/axis1"] == [
        ("p/axis1", (4, 9), f"4 9 0,4:{start},3") for start in (0, 3, 6)
    ]
    assert [v.shape for v in graph.variables if v.name == "whole"] == [(5,)]
    old = graphs.read(str(stock / "v1/model.ckpt.meta"))
    assert {t.name: t.shape for t in old.wanted}["d/float32"] == (3, 4)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"\x0a", b"\xff" * 40, b"\x12\x05\x0a\x03\x0a\x01x"):
        (tmp_path / "m.meta").write_bytes(data)
        with pytest.raises(errors.DamagedError, match="holds no graph"):
            graphs.read(str(tmp_path / "m.meta"))


def test_a_piece_beyond_its_file_is_not_read(stock: Path) -> None:
    prefix = str(stock / "keras/model.ckpt")
    for piece, text in [
        (Piece(0, 1 << 40, 8, 0, (0,), (2,), ""), "are missing: the file has"),
        (Piece(0, -8, 8, 0, (0,), (2,), ""), "are missing: the file has"),
        (Piece(7, 0, 8, 0, (0,), (2,), ""), "in data file 7 of 1"),
        (Piece(0, 0, 9, 0, (0,), (2,), ""), "9 bytes, expected 8"),
        (Piece(0, 0, 8, 1, (0,), (2,), ""), "written with 00000001"),
        (Piece(0, 0, 4, 1, (0,), (1,), "0,1"), "do not make up all of it"),
    ]:
        variable = Variable("w", "float32", (2,), (piece,))
        checkpoint = Checkpoint(prefix, "V2", (f"{prefix}.data-00000-of-00001",), "", (variable,))
        with (
            values.ValueReader(checkpoint) as reader,
            pytest.raises(errors.DamagedError, match=text),
        ):
            values.read_variable(reader, variable)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("d/int32[1]", [2, 3, 4, -2]),
        ("d/int32[-1, 0]", -1),
        ("d/int32[:2, 1:3]", [[-1, 0], [3, 4]]),
        ("d/int32[5:9]", []),
        ("d/int3?[0,0]", -2),
    ],
)
def test_rows_are_chosen_as_in_numpy(stock: Path, target: str, wanted: Any) -> None:
    (shown,) = showing.show(str(stock / "dtypes"), [target])
    assert shown.values.tolist() == wanted


@pytest.mark.parametrize("target", ["d/int32[3]", "d/int32[0, 0, 0]", "d/int32[-]", "scalar[0]"])
def test_rows_that_are_not_there_are_refused(stock: Path, target: str) -> None:
    with pytest.raises(errors.ArgumentError):
        list(showing.show(str(stock / "dtypes"), [target]))
