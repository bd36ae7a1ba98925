"""`autodist._bundle` lists and verifies checkpoints in a process without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from autodist import _bundle
from support.save_ops import Entry, save

tf1 = tf.compat.v1


@pytest.fixture
def checkpoint(
    tmp_path: Path,
    session: tf1.Session,
) -> str:
    halves = [Entry("cut", tf.constant([float(i)]), f"2 {i},1") for i in range(2)]
    strings = Entry("strings", tf.constant(["a", "", "b" * 300]))
    variants = Entry("list", tf.raw_ops.TensorListFromTensor(tensor=[[1.0]], element_shape=[1]))
    rows = Entry("rows", tf.ones([300, 1000]))
    session.run(save(tmp_path / "ckpt", [*halves, strings, variants, rows], layout="slices"))
    return str(tmp_path / "ckpt")


def damage(checkpoint: str, position: int) -> None:
    path = Path(f"{checkpoint}.data-00000-of-00001")
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_entries_say_what_is_stored_where(checkpoint: str) -> None:
    entries = {(entry.name, entry.slice): entry for entry in _bundle.list_entries(checkpoint)}
    assert set(entries) == {
        ("cut", ""),
        ("cut", "0,1"),
        ("cut", "1,1"),
        ("strings", ""),
        ("list", ""),
        ("rows", ""),
    }
    assert (entries["cut", ""].shape, entries["cut", ""].slices) == ((2,), ["0,1", "1,1"])
    second = entries["cut", "1,1"]
    assert (second.dtype, second.shape, second.shard_id, second.offset, second.size) == (
        "float32",
        (1,),
        0,
        4,
        4,
    )
    assert (entries["strings", ""].dtype, entries["strings", ""].shape) == ("string", (3,))
    assert entries["list", ""].dtype == "variant"


def test_a_whole_checkpoint_is_verified(checkpoint: str) -> None:
    _bundle.verify(checkpoint)


@pytest.mark.parametrize(
    ("name", "of_slice"), [("cut", "1,1"), ("strings", ""), ("list", ""), ("rows", "")]
)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_damage_is_found_and_named(name: str, of_slice: str, where: float, checkpoint: str) -> None:
    [entry] = [e for e in _bundle.list_entries(checkpoint) if (e.name, e.slice) == (name, of_slice)]
    damage(checkpoint, entry.offset + int((entry.size - 1) * where))
    place = rf"tensor '{name}'.*bytes \[{entry.offset}, {entry.offset + entry.size}\) of {checkpoint}.data"
    with pytest.raises(_bundle.DataLossError, match=place):
        _bundle.verify(checkpoint)


def test_a_shortened_data_file_is_found(checkpoint: str) -> None:
    path = Path(f"{checkpoint}.data-00000-of-00001")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(_bundle.DataLossError, match="tensor 'rows'"):
        _bundle.verify(checkpoint)


def test_a_damaged_index_is_an_error_of_its_own_type(checkpoint: str) -> None:
    path = Path(f"{checkpoint}.index")
    whole = path.read_bytes()
    entries = repr(_bundle.list_entries(checkpoint))
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        index = bytearray(whole)
        index[random.integers(len(index))] ^= 1 << random.integers(8)
        path.write_bytes(index[: random.integers(len(index) + 1)] if random.integers(2) else index)
        try:
            _bundle.verify(checkpoint)
        except (_bundle.BundleError, FileNotFoundError):
            refused += 1
        else:
            # Nobody reads the padding and the meta index.
            assert repr(_bundle.list_entries(checkpoint)) == entries
    assert refused > 150


def test_a_missing_checkpoint_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ckpt\.index"):
        _bundle.list_entries(str(tmp_path / "ckpt"))


def test_a_missing_data_file_is_a_missing_file(checkpoint: str) -> None:
    Path(f"{checkpoint}.data-00000-of-00001").unlink()
    with pytest.raises(FileNotFoundError, match=r"data-00000-of-00001"):
        _bundle.verify(checkpoint)


def test_stock_checkpoints_of_several_data_files_are_read(
    tmp_path: Path, session: tf1.Session
) -> None:
    parts = [str(tmp_path / f"part-{i}") for i in range(2)]
    session.run([
        tf.raw_ops.SaveV2(prefix=part, tensor_names=[f"v{i}"], shape_and_slices=[""], tensors=[tf.ones([3])])
        for i, part in enumerate(parts)
    ])  # fmt: skip
    session.run(
        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=parts, destination_prefix=str(tmp_path / "c")
        )
    )
    assert [(e.name, e.shard_id) for e in _bundle.list_entries(str(tmp_path / "c"))] in (
        [("v0", 0), ("v1", 1)],
        [("v0", 1), ("v1", 0)],
    )
    _bundle.verify(str(tmp_path / "c"))


def test_tensorflow_is_not_imported(checkpoint: str) -> None:
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('_bundle', {_bundle.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        f"module.verify({checkpoint!r})\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert module.build_info()['bundle_version'] == 1\n"
    )
    subprocess.run([sys.executable, "-I", "-c", script], check=True, timeout=60)
