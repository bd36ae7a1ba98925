"""NumPy's archives: read by NumPy, and imported as stock would save their arrays."""

import random
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from autodist.workbench import errors
from autodist.workbench.commands.conversion import Conversion, convert
from autodist.workbench.exchange.npz_files import export_npz, import_npz
from autodist.workbench.writing.casting import CastRule
from autodist.workbench.writing.layouts import PartitionRule
from autodist.workbench.writing.names import NameRules
from autodist.workbench.writing.stored import Limits
from support.workbench.stock_writer import assert_same_files, save, whole

EMB = np.random.default_rng(0).normal(size=(1030, 17)).astype(np.float32)
LIMITS = Limits(threads=2, memory_bytes=1 << 16)
VALUES = {
    "a/b": np.int64(3),
    "c": np.zeros((0, 3)),
    "emb": EMB,
    "h": EMB.astype(np.float16),
    "k": np.array([True, False]),
    "s": np.array([[b"a", b"bb"], [b"", b"c" * 300]], object),
    "z": np.ones((3, 3), np.complex128),
}


@pytest.fixture
def stock(tmp_path):
    return save(tmp_path / "stock", [whole(name, value) for name, value in VALUES.items()])


def sliced(source, target):
    rules = [PartitionRule.parse(rule) for rule in ("emb=0:5x1:2", "s=0:2")]
    convert(source, str(target), Conversion(rules, file_count=2))
    return str(target)


def test_numpy_reads_what_is_exported(stock, tmp_path):
    for number, source in enumerate((stock, sliced(stock, tmp_path / "sliced"))):
        path = str(tmp_path / f"{number}.npz")
        export_npz(source, path, limits=LIMITS)
        with np.load(path) as opened:
            assert sorted(opened) == sorted(VALUES)
            for name, value in VALUES.items():
                assert opened[name].dtype.kind == ("S" if name == "s" else value.dtype.kind)
                np.testing.assert_array_equal(opened[name], np.asarray(value, opened[name].dtype))
        import_npz(path, str(tmp_path / f"t{number}"), limits=LIMITS)
        assert_same_files(tmp_path / f"t{number}", stock)


def test_a_string_without_axes_is_exported(tmp_path):
    """As every checkpoint of `tf.train.Checkpoint` has one."""
    graph = save(tmp_path / "m", [whole("_CHECKPOINTABLE_OBJECT_GRAPH", b"\x0a\x01x")])
    export_npz(graph, str(tmp_path / "archive.npz"))
    with np.load(tmp_path / "archive.npz") as opened:
        assert opened["_CHECKPOINTABLE_OBJECT_GRAPH"].item() == b"\x0a\x01x"
    import_npz(str(tmp_path / "archive.npz"), str(tmp_path / "t"))
    assert_same_files(tmp_path / "t", graph)


@pytest.mark.parametrize(("dtype", "hint"), [("bfloat16", "Cast it, as"), ("int4", "Leave it out")])
def test_what_an_archive_cannot_hold_is_cast_or_left_out(tmp_path, dtype, hint):
    path = save(tmp_path / "m", [whole("a", tf.cast([1, 2], dtype))])
    with pytest.raises(errors.UnsupportedError, match=hint):
        export_npz(path, str(tmp_path / "m.npz"))


def test_what_numpy_writes_is_imported(tmp_path):
    arrays = {"b": np.arange(5, dtype=">i4"), "e": EMB, "u": np.array(["é", "x"]), "n": np.array(7)}
    np.savez_compressed(tmp_path / "m.npz", **arrays)
    import_npz(str(tmp_path / "m.npz"), str(tmp_path / "t"), limits=LIMITS)
    entries = [
        whole("b", np.arange(5, dtype=np.int32)),
        whole("e", EMB),
        whole("n", np.int64(7)),
        whole("u", np.array(["é".encode(), b"x"], object)),
    ]
    assert_same_files(tmp_path / "t", save(tmp_path / "stock", entries))


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}]),
        np.asfortranarray(EMB),
        np.array(["2020"], "M8[D]"),
        np.zeros(3, np.longdouble),
        np.zeros(3, [("a", "i4")]),
        np.zeros(3, "V2"),
    ],
)
def test_arrays_that_tensorflow_cannot_hold(tmp_path, array):
    np.savez(tmp_path / "m.npz", w=array)
    with pytest.raises(errors.UnsupportedError, match="'w'"):
        import_npz(str(tmp_path / "m.npz"), str(tmp_path / "t"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.npz"]


def test_dtypes_that_an_archive_cannot_hold(tmp_path):
    import ml_dtypes

    source = save(tmp_path / "s", [whole("w", EMB.astype(ml_dtypes.bfloat16))])
    path = str(tmp_path / "m.npz")
    with pytest.raises(errors.UnsupportedError, match="--cast bfloat16=float32"):
        export_npz(source, path)
    export_npz(source, path, casts=[CastRule.parse("bfloat16=float32")], limits=LIMITS)
    with np.load(path) as opened:
        expected = EMB.astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(opened["w"], expected)


def test_strings_that_an_archive_would_change(tmp_path):
    source = save(tmp_path / "s", [whole("w", np.array([b"a\0"], object)), whole("x", EMB)])
    with pytest.raises(errors.UnsupportedError, match="zero bytes"):
        export_npz(source, str(tmp_path / "m.npz"))
    assert not (tmp_path / "m.npz").exists()
    export_npz(source, str(tmp_path / "m.npz"), names=NameRules(["w"]))


def test_members_that_are_no_arrays(tmp_path):
    path = tmp_path / "m.npz"
    for name in ("a.txt", ".npy"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x")
        with pytest.raises((errors.UnsupportedError, errors.DamagedError)):
            import_npz(str(path), str(tmp_path / "t"))
    path.write_bytes(b"no archive")
    with pytest.raises(errors.DamagedError, match="no archive of NumPy"):
        import_npz(str(path), str(tmp_path / "t"))


def test_a_header_that_claims_more_than_there_is(tmp_path):
    path = tmp_path / "m.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", member)
    with pytest.raises(errors.DamagedError, match="ends early"):
        import_npz(str(path), str(tmp_path / "t"))


def test_flipped_bits_are_found(tmp_path, stock):
    path = tmp_path / "m.npz"
    export_npz(stock, str(path))
    raw = path.read_bytes()
    chosen = random.Random(0)
    passed = 0
    for _ in range(200):
        damaged = bytearray(raw)
        damaged[chosen.randrange(len(raw))] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        try:
            import_npz(str(path), str(tmp_path / "t"), overwrite=True, limits=LIMITS)
        except (errors.DamagedError, errors.UnsupportedError):
            continue
        passed += 1
    assert passed < 10  # flags and times of the archive's directory
