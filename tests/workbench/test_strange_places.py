"""Paths, stores and files that a user may well give and no program of this project made."""

import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from autodist.cli import output
from autodist.workbench.writing.temporary_names import LOCK_SUFFIX
from support.python_programs import environment
from support.workbench.made_tables import entry, index_of, varint

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A checkpoint of one variable, of two zeros."""
    return make(tmp_path / "made/model.ckpt-7")


def make(prefix: Path) -> Path:
    prefix.parent.mkdir(exist_ok=True)
    Path(f"{prefix}.index").write_bytes(index_of({b"a": entry()}))
    Path(f"{prefix}.data-00000-of-00001").write_bytes(bytes(8))
    return prefix


def field(number: int, contents: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(contents)) + contents


def saved_model(*ops: str) -> bytes:
    """A SavedModel whose graph has a node of each op."""
    nodes = (field(1, f"n{i}".encode()) + field(2, op.encode()) for i, op in enumerate(ops))
    return b"\x08\x01" + field(2, field(2, b"".join(field(1, node) for node in nodes)))


def safetensors(header: bytes, values: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + values


def array(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("gs://bucket/m", "is not on this machine, and this command writes here only"),
        ("{}/made/", "is a directory. Give a prefix in it"),
        ("{}/none/none/m", "none' to write in. Make it first"),
    ],
)
def test_targets_that_cannot_be_written_are_refused_by_name(
    made: Path, tmp_path: Path, run: Run, target: str, text: str
) -> None:
    target = target.format(tmp_path)
    archive = tmp_path / "a.npz"
    assert run("export", made, archive)[0] == 0
    before = sorted(tmp_path.rglob("*"))
    for arguments in (
        ("convert", made, target),
        ("average", made, made, "--output", target),
        ("import", archive, target),
        ("export", made, target, "--format", "npz"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert text in err.replace("Give a file in it", "Give a prefix in it"), arguments
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_scheme_is_this_machine(made: Path, tmp_path: Path, run: Run) -> None:
    for arguments, file in (
        (("convert", f"file://{made}", f"file://{tmp_path}/c"), "c.index"),
        (("export", f"file://{made}", f"file://{tmp_path}/e.npz"), "e.npz"),
        (("import", f"file://{tmp_path}/e.npz", f"file://{tmp_path}/i"), "i.index"),
    ):
        assert run(*arguments)[0] == 0
        assert (tmp_path / file).is_file()


def test_a_directory_from_another_machine_names_its_checkpoint(
    made: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "made/checkpoint").write_text('model_checkpoint_path: "/there/model.ckpt-7"\n')
    code, _, err = run("ls", tmp_path / "made")
    assert code == 2
    assert f"There is '{made}': name it, or have `autodist repair --write`" in err
    assert run("repair", tmp_path / "made", "--write")[0] == 0
    assert run("ls", tmp_path / "made")[0] == 0


def test_a_copied_directory_does_not_stand_for_its_original(
    made: Path, tmp_path: Path, run: Run
) -> None:
    (made.parent / "checkpoint").write_text(f'model_checkpoint_path: "{made}"\n')
    (tmp_path / "link").symlink_to(made.parent)
    shutil.copytree(made.parent, tmp_path / "copy")
    for directory, code in ((made.parent, 0), (tmp_path / "link", 0), (tmp_path / "copy", 2)):
        for command in ("ls", "stat"):
            found, _, err = run(command, directory)
            assert found == code, err
            assert not code or f"names '{made}' in another directory" in err


def test_what_is_no_file_is_not_suggested(tmp_path: Path, run: Run) -> None:
    (tmp_path / "m.index").mkdir()
    assert "There is" not in run("ls", tmp_path / "m")[2]


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 123\n"


@pytest.mark.parametrize(
    ("contents", "kind"),
    [
        (LFS, "a pointer of Git LFS: get the file itself with `git lfs pull`"),
        (b"PK\3\4" + bytes(90), "a zip archive, as PyTorch"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "an HDF5 file, as Keras writes weights"),
        (b"\x80\2}q\0.", "a pickle of Python"),
        (struct.pack("<Q", 2) + b'{"a":', "a safetensors file, which `autodist import` reads"),
    ],
)
def test_files_of_other_programs_are_known(
    made: Path, tmp_path: Path, run: Run, contents: bytes, kind: str
) -> None:
    (tmp_path / "model.ckpt").write_bytes(contents)
    assert f"or state file: it is {kind}" in run("ls", tmp_path / "model.ckpt")[2]
    Path(f"{made}.index").write_bytes(contents)
    code, _, err = run("ls", made)
    assert (code, f": it is {kind}" in err) == (1, True)


def test_data_that_is_a_pointer_is_known(tmp_path: Path, run: Run) -> None:
    (tmp_path / "m.index").write_bytes(index_of({b"a": entry((99, 99), size=4 * 99 * 99)}))
    (tmp_path / "m.data-00000-of-00001").write_bytes(LFS)
    for command in ("verify", "stat"):
        code, out, err = run(command, tmp_path / "m")
        assert (code, "it is a pointer of Git LFS" in out + err) == (1, True)


def test_a_repair_says_why_nothing_can_be_kept(made: Path, run: Run) -> None:
    data = Path(f"{made}.data-00000-of-00001")
    data.unlink()
    for path in (made, made.parent):
        code, _, err = run("repair", path)
        assert code == 1
        assert f"'{data}' does not exist" in err


def test_a_saved_model_needs_a_checkpoint_only_for_variables(tmp_path: Path, run: Run) -> None:
    graph = tmp_path / "saved_model.pb"
    graph.write_bytes(saved_model("Placeholder", "Identity"))
    assert run("verify", tmp_path)[0] == 0
    graph.write_bytes(saved_model("Placeholder", "VarHandleOp"))
    code, out, _ = run("verify", tmp_path)
    assert (code, "and the graph has 1 variable" in out) == (1, True)
    graph.rename(tmp_path / "saved_model.cpb")
    code, out, _ = run("verify", tmp_path)
    assert (code, "the graph in chunks has variables is not checked" in out) == (0, True)


def test_links_make_no_file_elsewhere(made: Path, tmp_path: Path, run: Run) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert run("convert", made, tmp_path / "t")[0] == 0
    locks = [made.parent / f"t{index}{LOCK_SUFFIX}" for index in ("", ".index")]
    for link in (Path(f"{made}.lease"), *locks):
        link.symlink_to(elsewhere)
    for command in ("verify", "stat"):
        assert run(command, made)[0] == 0
    code, _, err = run("convert", made, made.parent / "t")
    assert (code, "symbolic links" in err) == (2, True)
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    "arguments",
    ["ls {}", "ls --json {}", "verify {}", "diff {} {}", "pin {}", "--help",
     "export {} {}.npz --overwrite", "convert {} {}-c --overwrite"],
)  # fmt: skip
def test_output_that_cannot_be_written_is_an_error(made: Path, arguments: str) -> None:
    """Not exit code 1, which says that two checkpoints differ."""
    command = arguments.format(made, made)
    full = run_shell(f"{command} > /dev/full")
    assert (full.returncode, full.stderr.count("\n")) == (2, 1)
    assert "the output cannot be written: No space left on device" in full.stderr
    # Nobody listens, and the exit code is the answer.
    assert run_shell(f"{command} >&-").returncode == 0


def test_errors_that_cannot_be_written_keep_their_exit_code() -> None:
    for streams in (">&- 2>&-", "2>&-", "2>/dev/full"):
        assert run_shell(f"ls /none {streams}").returncode == 2


def run_shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m autodist {command}"],
        env=environment(), check=False, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


class BrokenStore(MemoryFileSystem):  # type: ignore[misc]
    """A store whose client has errors of its own, as those of clouds have."""

    protocol = "broken"

    class ClientError(Exception):
        pass

    error: Exception = ClientError("Unable to locate\ncredentials")

    def info(self, path: str, **_: Any) -> Any:
        raise self.error

    ls = cat_file = info


@pytest.fixture
def broken() -> Iterator[type[BrokenStore]]:
    fsspec.register_implementation("broken", BrokenStore, clobber=True)
    yield BrokenStore
    BrokenStore.error = BrokenStore.ClientError("Unable to locate\ncredentials")


@pytest.mark.parametrize("command", ["ls", "verify", "stat"])
def test_errors_of_a_store_are_told(broken: type[BrokenStore], run: Run, command: str) -> None:
    for error, text in [
        (broken.error, r"cannot be read: Unable to locate\ncredentials"),
        (PermissionError("Forbidden"), "cannot be read: Forbidden"),
        (FileNotFoundError("gone"), "there is no checkpoint"),
    ]:
        broken.error = error
        code, out, err = run(command, "broken://bucket/m")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert text in err


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 1),
        (b'{"a":{"dtype":"F4","shape":[16],"data_offsets":[0,8]}}', 2),
        (b'{"a":{"dtype":"X","shape":[16],"data_offsets":[0,8]}}', 1),
        (b"[" * 100_000, 1),
    ],
)
def test_headers_that_are_none_are_refused(
    tmp_path: Path, run: Run, header: bytes, code: int
) -> None:
    (tmp_path / "m.safetensors").write_bytes(safetensors(header, bytes(8)))
    found, _, err = run("import", tmp_path / "m.safetensors", tmp_path / "m")
    assert (found, err.count("\n")) == (code, 1)
    assert not list(tmp_path.glob("m.[di]*"))


@pytest.mark.parametrize("shape", ["2" + "+1" * 4000 + "j", "(" * 150 + "2", "-" * 9000 + "1"])
def test_headers_of_arrays_that_nest_deeply_are_refused(
    tmp_path: Path, run: Run, shape: str
) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},)}}"
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a.npy", array(header))
    code, _, err = run("import", tmp_path / "m.npz", tmp_path / "m")
    assert (code, err.count("\n")) == (1, 1)
    assert "has no header of NumPy: " in err


def test_figures_of_integers_are_exact(tmp_path: Path, run: Run) -> None:
    np = pytest.importorskip("numpy")
    np.savez(tmp_path / "m.npz", a=np.array([2**63 - 1, -(2**63) + 1]))
    assert run("import", tmp_path / "m.npz", tmp_path / "m")[0] == 0
    (row,) = json.loads(run("stat", tmp_path / "m", "--json")[1])
    assert (row["figures"]["min"], row["figures"]["max"]) == (-(2**63) + 1, 2**63 - 1)
    assert "-9223372036854775807  9223372036854775807" in run("stat", tmp_path / "m")[1]


def test_wide_characters_keep_columns_straight(run: Run, capfdbinary: Any) -> None:
    output.write_table(
        ["NAME", "N", ""], [["模型/w", "1", "x"], ["e\u0301", "22", "y"]], right=(1,)
    )
    lines = capfdbinary.readouterr()[0].decode().splitlines()
    assert lines == ["NAME     N", "模型/w   1  x", "e\u0301       22  y"]


@pytest.mark.parametrize("kind", ["flipped", "encrypted", "other"])
def test_damaged_archives_are_refused(tmp_path: Path, run: Run, kind: str) -> None:
    path = tmp_path / "m.npz"
    compression = zipfile.ZIP_BZIP2 if kind == "other" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", array("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"))
    data = bytearray(path.read_bytes())
    if kind == "flipped":
        data[35:45] = b"\xff" * 10
    elif kind == "encrypted":
        data[6] |= 1
        data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    code, _, err = run("import", path, tmp_path / "m")
    assert (code, err.count("\n")) == (1 if kind == "flipped" else 2, 1)


def test_damage_of_the_old_format_is_called_so(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "model.ckpt"
    table = bytearray(index_of({b"a": entry()}))
    table[3] ^= 1
    path.write_bytes(table)
    assert run("ls", path)[0] == 1
    assert "are not those that were written" in run("ls", path)[2]
    assert "which has no index to repair" in run("repair", path)[2]
    path.write_bytes(table[:-9])
    assert "no checkpoint, SavedModel" in run("ls", path)[2]
    (tmp_path / "model.ckpt.meta").write_bytes(b"")
    assert (run("ls", path)[0], "is damaged" in run("ls", path)[2]) == (1, True)
    assert "which has no index to repair" in run("repair", tmp_path)[2]
