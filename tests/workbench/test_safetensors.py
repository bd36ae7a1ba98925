"""safetensors files: read by the package `safetensors`, and imported into the same bytes."""

import json
import random
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tensorflow as tf

from autodist.workbench import errors
from autodist.workbench.commands.conversion import Conversion, convert
from autodist.workbench.exchange.safetensors_files import export_safetensors, import_safetensors
from autodist.workbench.writing.casting import CastRule
from autodist.workbench.writing.layouts import PartitionRule
from autodist.workbench.writing.names import NameRules
from autodist.workbench.writing.stored import Limits
from autodist.workbench.writing.temporary_names import TargetInUseError
from support.workbench.stock_writer import assert_same_files, save, whole

RANDOM = np.random.default_rng(0)
LIMITS = Limits(threads=2, memory_bytes=1 << 16)
EMB = RANDOM.normal(size=(103, 17)).astype(np.float32)
BITS = np.arange(6, dtype=np.int8).reshape(2, 3)
NAMES_OF_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "float16": "F16",
    "bfloat16": "BF16", "uint32": "U32", "int32": "I32", "float32": "F32", "float64": "F64",
    "uint64": "U64", "int64": "I64", "complex64": "C64", "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    # Those that the format has no name for.
    "complex128": "F64", "qint8": "I8", "quint8": "U8", "qint16": "I16", "quint16": "U16",
    "qint32": "I32", "int4": "I8", "uint4": "U8", "float8_e4m3b11fnuz": "U8", "string": "U8",
}  # fmt: skip


def value_of(dtype):
    """A tensor of 2 by 3 of a dtype, with bits that are none of another."""
    if dtype == "string":
        return tf.constant([["a", "", "bc"], ["x" * 300, "Grüße", "\0"]])
    kind = tf.as_dtype(dtype)
    if dtype == "bool":
        return tf.constant(BITS % 2 == 1)
    if dtype.startswith("complex"):
        return tf.complex(*[tf.cast(BITS + i, kind.real_dtype) for i in (0, 1)])
    if dtype.startswith("float8"):
        return tf.constant(BITS.view(getattr(ml_dtypes, dtype)))
    if kind.is_quantized:
        raw = {1: np.int8, 2: np.int16, 4: np.int32}[kind.size]
        return tf.bitcast(tf.constant(BITS.astype(raw)), kind)
    return tf.cast(BITS, kind)


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """All dtypes, slots, odd names; whole, and in slices in three files."""
    directory = tmp_path_factory.mktemp("stock")
    entries = [whole(f"d/{dtype}", value_of(dtype)) for dtype in sorted(NAMES_OF_DTYPES)]
    entries += [whole("emb", EMB), whole("emb/Adam", EMB), whole("emb/Adam_1", EMB)]
    entries += [whole("empty", np.zeros((0, 3), np.float32)), whole("scalar", np.float64(3))]
    entries += [whole('é"\\\n', np.float32(1))]
    source = save(directory / "whole", entries)
    rules = ["emb*=0:4x1:2", "d/string=0:2", "d/int32=1:3", "d/complex128=1:2", "d/float16=0:2"]
    wanted = Conversion([PartitionRule.parse(rule) for rule in rules], file_count=3)
    convert(source, str(directory / "sliced"), wanted)
    return directory


@pytest.mark.parametrize("name", ["whole", "sliced"])
def test_round_trips_give_the_same_bytes(stock, tmp_path, name):
    path = tmp_path / "m.safetensors"
    exported = export_safetensors(str(stock / name), str(path), limits=LIMITS)
    assert exported.data_files == {"whole": 1, "sliced": 3}[name]
    imported = import_safetensors(str(path), str(tmp_path / "t"), limits=LIMITS)
    assert imported.kept_layout
    assert_same_files(tmp_path / "t", stock / name)


@pytest.mark.parametrize("name", ["whole", "sliced"])
def test_the_package_reads_the_values(stock, tmp_path, name):
    path = str(tmp_path / "m.safetensors")
    export_safetensors(str(stock / name), path, limits=LIMITS)
    with safetensors.safe_open(path, "np") as opened:
        for dtype, expected in NAMES_OF_DTYPES.items():
            part = opened.get_slice(f"d/{dtype}")
            assert part.get_dtype() == expected, dtype
            if dtype != "string":
                assert part.get_shape() == ([2, 3, 2] if dtype == "complex128" else [2, 3])
        np.testing.assert_array_equal(opened.get_tensor("emb"), EMB)
        for dtype in ("bfloat16", "float16", "int64", "uint8", "bool", "complex64"):
            np.testing.assert_array_equal(opened.get_tensor(f"d/{dtype}"), value_of(dtype).numpy())
        pairs = opened.get_tensor("d/complex128")
        np.testing.assert_array_equal(
            pairs[..., 0] + 1j * pairs[..., 1], value_of("complex128").numpy()
        )


def test_the_bytes_are_those_of_the_package(stock, tmp_path):
    path = tmp_path / "m.safetensors"
    export_safetensors(str(stock / "whole"), str(path), limits=LIMITS)
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    metadata = header.pop("__metadata__")
    kept, tensors = [], {}
    theirs = {form: name for name, form in reversed(NAMES_OF_DTYPES.items())}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kept.append(np.frombuffer(raw[8 + size + begin : 8 + size + end] + b"\0", np.uint8).copy())
        tensors[name] = safetensors.TensorSpec(
            dtype=theirs[entry["dtype"]],
            shape=entry["shape"],
            data_ptr=kept[-1].ctypes.data,
            data_len=end - begin,
        )
    assert bytes(safetensors.serialize(tensors, metadata)) == raw


def test_files_of_the_package_are_imported(tmp_path):
    tensors = {"w": EMB, "a": np.arange(3), "h": EMB.astype(np.float16)}
    safetensors.numpy.save_file(tensors, tmp_path / "m.safetensors", {"by": "somebody"})
    report = import_safetensors(str(tmp_path / "m.safetensors"), str(tmp_path / "t"), limits=LIMITS)
    assert not report.kept_layout
    expected = [whole(name, tensors[name]) for name in sorted(tensors)]
    assert_same_files(tmp_path / "t", save(tmp_path / "stock", expected))


def test_slots(stock, tmp_path):
    path = str(tmp_path / "m.safetensors")
    export_safetensors(str(stock / "whole"), path)
    with safetensors.safe_open(path, "np") as opened:
        record = json.loads(opened.metadata()["autodist"])
    assert record["slots"] == {"emb/Adam": ["emb", "Adam"], "emb/Adam_1": ["emb", "Adam_1"]}
    report = export_safetensors(str(stock / "sliced"), path, drop_slots=True, overwrite=True)
    assert sorted(report.dropped) == ["emb/Adam", "emb/Adam_1"]


def test_casts_and_names(stock, tmp_path):
    path = str(tmp_path / "m.safetensors")
    rules = NameRules(["d/*", "e*[!b]", "é*"], {}, [("^emb", "table")])
    casts = [CastRule.parse("float32=bfloat16")]
    export_safetensors(str(stock / "sliced"), path, names=rules, casts=casts, limits=LIMITS)
    with safetensors.safe_open(path, "np") as opened:
        assert sorted(opened.keys()) == ["scalar", "table"]
        expected = tf.cast(EMB, tf.bfloat16).numpy()
        np.testing.assert_array_equal(opened.get_tensor("table"), expected)
    import_safetensors(path, str(tmp_path / "t"), plain=True)
    entries = [whole("scalar", np.float64(3)), whole("table", expected)]
    assert_same_files(tmp_path / "t", save(tmp_path / "stock", entries))


def test_values_that_changed_are_refused(stock, tmp_path):
    path = tmp_path / "m.safetensors"
    for name in ("whole", "sliced"):
        export_safetensors(str(stock / name), str(path), overwrite=True)
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
        with pytest.raises(errors.DamagedError, match=r"'d/bool' have changed since .* exported"):
            import_safetensors(str(path), str(tmp_path / "t"))
        assert list(tmp_path.iterdir()) == [path]
    import_safetensors(str(path), str(tmp_path / "t"), accept_changes=True)
    reader = tf.train.load_checkpoint(str(tmp_path / "t"))
    np.testing.assert_array_equal(reader.get_tensor("emb"), EMB)


def test_damage_never_travels(stock, tmp_path):
    for suffix in (".index", ".data-00000-of-00001"):
        contents = stock.joinpath(f"whole{suffix}").read_bytes()
        (tmp_path / f"d{suffix}").write_bytes(contents)
    data = bytearray(contents)
    data[len(data) // 2] ^= 1
    (tmp_path / "d.data-00000-of-00001").write_bytes(data)
    with pytest.raises(errors.DamagedError, match="not those that were written"):
        export_safetensors(str(tmp_path / "d"), str(tmp_path / "m.safetensors"))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".data-00000-of-00001", ".index"]


def test_a_file_is_not_replaced_unasked(stock, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(TargetInUseError, match="--overwrite"):
        export_safetensors(str(stock / "whole"), str(path))
    assert path.read_bytes() == b"mine"


def test_names_that_the_format_cannot_hold(tmp_path):
    for name in (b"\xff", b"__metadata__"):
        source = save(tmp_path / "s", [(name, "", np.ones(3))])
        with pytest.raises(errors.UnsupportedError, match="rename it with --rename"):
            export_safetensors(source, str(tmp_path / "m.safetensors"))


def header_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return str(path)


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


RECORD = {
    "format": 1, "files": 1, "pieces": [["w", 0, "", "00000000"]], "dtypes": {}, "shapes": {}, "slots": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        b"", b"[", b"[]", b"{}x", b'{"a":' * 100_000, b"\xff", b'{"w":{},"w":{}}', {"w": []}, {"w": None},
        {"w": tensor(dtype="X")}, {"w": tensor(shape=[2])}, {"w": tensor(shape=[-1])},
        {"w": tensor(offsets=[4, 8])}, {"w": tensor(offsets=[0, 1 << 70])}, {"w": tensor(shape=[True])},
        {"w": tensor(shape=[1 << 62, 1 << 62])}, {"w": tensor(offsets=[0])}, {"w": tensor(shape=[1] * 300)},
        {"w": tensor(), "x": tensor()}, {"__metadata__": {"a": 1}, "w": tensor()},
        {"__metadata__": [], "w": tensor()}, {"": tensor()}, {"\0w": tensor()},
        *(
            {"__metadata__": {"autodist": json.dumps({**RECORD, **change})}, "w": tensor()}
            for change in (
                {"format": 2}, {"files": 0}, {"files": 1 << 60}, {"pieces": []}, {"pieces": [["x", 0, "", "0"]]},
                {"pieces": [["w", 5, "", "0"]]}, {"pieces": [["w", 0, "0,2", "0"]]}, {"pieces": [["w", -1, "", "0"]]},
                {"pieces": [["w", 0, "0,1:0,1", "0"]]}, {"pieces": [["w", 0, "x", "0"]]}, {"pieces": 3},
                {"pieces": [["w", 0, "", "0"]] * 2}, {"dtypes": {"w": "float64"}}, {"dtypes": {"w": "nothing"}},
                {"shapes": {"w": [2]}}, {"shapes": {"w": [-1]}}, {"dtypes": {"w": "string"}},
                {"pieces": [["w", 0, "0,0", "0"]]},
            )
        ),
        {"__metadata__": {"autodist": "["}, "w": tensor()},
    ],
)  # fmt: skip
def test_hostile_headers(tmp_path, header):
    path = header_file(tmp_path / "m.safetensors", header, b"\0" * 4)
    with pytest.raises((errors.DamagedError, errors.UnsupportedError)):
        import_safetensors(path, str(tmp_path / "t"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_header_that_claims_to_be_large(tmp_path):
    path = tmp_path / "m.safetensors"
    for size, error in ((1 << 63, errors.DamagedError), (99_000_000, errors.UnsupportedError)):
        path.write_bytes(size.to_bytes(8, "little") + b"{}")
        with pytest.raises(error):
            import_safetensors(str(path), str(tmp_path / "t"))


def test_names_are_no_paths(tmp_path):
    path = header_file(tmp_path / "m.safetensors", {"../../evil": tensor()}, b"\0" * 4)
    (tmp_path / "in").mkdir()
    import_safetensors(path, str(tmp_path / "in/t"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in", "m.safetensors"]
    assert tf.train.load_checkpoint(str(tmp_path / "in/t")).has_tensor("../../evil")


def test_flipped_bits_never_pass(stock, tmp_path):
    path = tmp_path / "m.safetensors"
    export_safetensors(str(stock / "sliced"), str(path))
    raw = path.read_bytes()
    chosen = random.Random(0)
    for number in range(100):
        damaged = bytearray(raw)
        damaged[chosen.randrange(len(raw))] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        target = tmp_path / f"t{number}"
        try:
            import_safetensors(str(path), str(target), limits=LIMITS)
        except (errors.DamagedError, errors.UnsupportedError):
            continue
        # What is no value: a name of the record, a space behind the header.
        assert target.with_name(f"{target.name}.data-00000-of-00003").exists()
