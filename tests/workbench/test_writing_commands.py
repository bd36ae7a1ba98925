"""The commands that write, on checkpoints of stock TensorFlow: exit codes, JSON, what is left."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from support.python_programs import run_python

Run = Callable[..., tuple[int, str, str]]


def test_every_checkpoint_of_stock_is_converted_and_equal(
    stock: Path, run: Run, tmp_path: Path
) -> None:
    expected = json.loads((stock / "expected.json").read_text())
    for name, entry in expected.items():
        target = tmp_path / name
        code, out, err = run("convert", entry["prefix"], target, "--whole", "--shards", 1)
        assert (code, err) == (0, ""), name
        assert f"wrote {target}: " in out
        assert run("verify", target)[0] == 0
        # A checkpoint differs from its copy in nothing but slices.
        code, out, _ = run("diff", entry["prefix"], target)
        assert code == 0, out


def test_convert_says_what_it_would_do(stock: Path, run: Run, tmp_path: Path) -> None:
    source = stock / "sliced/model.ckpt"
    wanted = ("--partition", "q/*=1:2", "--drop", "whole", "--rename", "^p/", "q/")
    code, out, _ = run("convert", source, tmp_path / "t", *wanted, "--dry-run", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["dropped"], report["renamed"], report["data_files"]) == (["whole"], 2, 1)
    assert not list(tmp_path.iterdir())


def test_names_come_from_a_map(stock: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "names.yml").write_text("whole: new/name\n")
    source = stock / "sliced/model.ckpt"
    assert run("convert", source, tmp_path / "t", "--rename-map", tmp_path / "names.yml")[0] == 0
    assert "new/name" in run("ls", tmp_path / "t")[1]


def test_exit_codes_of_refusals(stock: Path, run: Run, tmp_path: Path) -> None:
    source = stock / "sliced/model.ckpt"
    assert run("convert", source, tmp_path / "t")[0] == 0
    damaged = tmp_path / "d.index"
    damaged.write_bytes(b"nothing")
    for code, text, *arguments in [
        (2, "give --overwrite", "convert", source, tmp_path / "t"),
        (2, "is no partition rule", "convert", source, tmp_path / "u", "--partition", "x"),
        (2, "is no cast", "convert", source, tmp_path / "u", "--cast", "x"),
        (2, "there is no checkpoint", "convert", stock / "none", tmp_path / "u"),
        (1, "is damaged", "convert", tmp_path / "d", tmp_path / "u"),
        (2, "not on this machine", "convert", "gs://bucket/m", tmp_path / "u"),
        (2, "to write in. Make it first", "convert", source, tmp_path / "a/b/c/u"),
        (2, "two checkpoints or more", "average", source, "--output", tmp_path / "u"),
        (
            2,
            "expected numbers",
            "average",
            source,
            source,
            "--output",
            tmp_path / "u",
            "--weights",
            "x",
        ),
        (2, "give --format", "export", source, tmp_path / "u.bin"),
        (2, "does not exist", "import", tmp_path / "none.npz", tmp_path / "u"),
        (2, "does not exist", "repair", tmp_path / "none"),
        (1, "is damaged", "repair", tmp_path / "d"),
    ]:
        found, out, err = run(*arguments)
        assert (found, out) == (code, ""), (arguments, err)
        assert text in err
        assert err.count("\n") == 1
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["d.index", "t.data-00000-of-00001", "t.index"]


def test_average(stock: Path, run: Run, tmp_path: Path) -> None:
    a = stock / "dtypes/model.ckpt"
    code, out, _ = run("average", a, a, "--output", tmp_path / "t", "--weights", "1,3", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["weights"] == [1.0, 3.0]
    assert report["averaged"] + report["equal"] == len(
        json.loads(run("ls", a, "--json")[1])["variables"]
    )
    assert run("diff", a, tmp_path / "t")[0] == 0


def test_export_and_import(stock: Path, run: Run, tmp_path: Path) -> None:
    for name in ("dtypes", "sliced", "sharded", "objects", "keras"):
        source = json.loads((stock / "expected.json").read_text())[name]["prefix"]
        file = tmp_path / f"{name}.safetensors"
        assert run("export", source, file)[0] == 0
        code, out, _ = run("import", file, tmp_path / name, "--json")
        assert code == 0
        assert json.loads(out)["kept_layout"]
        for path in Path(source).parent.glob(f"{Path(source).name}.*"):
            if path.suffix != ".meta":
                copy = tmp_path / (name + path.name.removeprefix(Path(source).name))
                assert copy.read_bytes() == path.read_bytes()
    tensors = safetensors.numpy.load_file(tmp_path / "sliced.safetensors")
    np.testing.assert_array_equal(tensors["whole"], np.arange(5))


def test_npz(stock: Path, run: Run, tmp_path: Path) -> None:
    source = stock / "sliced/model.ckpt"
    assert run("export", source, tmp_path / "m.npz")[0] == 0
    with np.load(tmp_path / "m.npz") as arrays:
        np.testing.assert_array_equal(arrays["whole"], np.arange(5))
    assert run("import", tmp_path / "m.npz", tmp_path / "t")[0] == 0
    assert run("diff", source, tmp_path / "t")[0] == 0


def test_repair_writes_when_told(stock: Path, run: Run, tmp_path: Path) -> None:
    source = stock / "sliced/model.ckpt"
    assert run("convert", source, tmp_path / "m")[0] == 0
    assert run("repair", tmp_path / "m")[0] == 0
    index = tmp_path / "m.index"
    sound = index.read_bytes()
    index.write_bytes(sound[:-5])
    code, out, _ = run("repair", tmp_path / "m", "--json")
    assert code == 1
    assert not json.loads(out)["written"]
    assert index.read_bytes() == sound[:-5]
    code, out, _ = run("repair", tmp_path / "m", "--write")
    assert code == 0
    assert "m.index.damaged" in out
    assert index.read_bytes() == sound
    code, out, _ = run("repair", tmp_path, "--write")
    assert code == 0
    assert run("ls", tmp_path)[0] == 0


MAPS = """
import sys
from autodist import cli
assert cli.main(sys.argv[1:]) == 0
print("libtensorflow" in open("/proc/self/maps").read(), "tensorflow" in sys.modules)
"""


@pytest.mark.parametrize(
    "options", [["--whole"], ["--partition", "whole=0:2"], ["--cast", "float32=bfloat16"]]
)
def test_no_library_of_tensorflow_is_loaded(
    stock: Path, tmp_path: Path, options: list[str]
) -> None:
    source = stock / "sliced/model.ckpt"
    done = run_python("-c", MAPS, "convert", source, tmp_path / "t", *options, fresh=True)
    assert done.stdout.splitlines()[-1] == "False False"
