"""The command line: exit codes, JSON, one-line errors, and what a process needs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.python_programs import environment, run_python
from support.workbench.made_tables import entry, index_of

Run = Callable[..., tuple[int, str, str]]


def test_exit_codes_tell_the_answer(stock: Path, run: Run) -> None:
    a, b = stock / "pairs/a", stock / "pairs/b"
    meta = stock / "sliced/model.ckpt.meta"
    for code, *arguments in [
        (0, "ls", stock / "dtypes"),
        (0, "ls", meta),
        (0, "show", a, "x[0]"),
        (0, "stat", stock / "dtypes"),
        (1, "stat", b),
        (0, "verify", stock / "dtypes", stock / "sliced"),
        (0, "diff", a, a),
        (1, "diff", a, b),
        (0, "explain", stock / "sliced", "--graph", meta),
        (1, "explain", stock / "keras", "--graph", meta),
        (0, "doctor"),
        (2, "ls", stock / "none"),
        (2, "ls", stock / "dtypes", "none*"),
        (2, "ls"),
        (2, "frobnicate"),
        (2, "show", a, "x[99]"),
        (2, "explain", a),
    ]:
        found, out, err = run(*arguments)
        assert found == code, (arguments, out, err)
        assert bool(err) == (code == 2), (arguments, err)


def test_errors_are_one_line(stock: Path, run: Run, tmp_path: Path) -> None:
    damaged = tmp_path / "m.index"
    damaged.write_bytes(b"nothing")
    for arguments, text in [
        (("ls", stock / "none"), "autodist: there is no checkpoint"),
        (("ls", tmp_path / "m"), "is damaged: too short to be the index of a checkpoint"),
        (("ls", "a", "--sort", "colour"), "autodist ls: Invalid value for '--sort'"),
        (("ls", "gs://bucket/m"), "needs gcsfs. Run: pip install gcsfs"),
    ]:
        code, out, err = run(*arguments)
        assert code in (1, 2)
        assert not out
        assert text in err
        assert err.count("\n") == 1
        assert "Traceback" not in err


def test_json_is_as_documented(stock: Path, run: Run) -> None:
    a, b = stock / "pairs/a", stock / "pairs/b"

    def load(*arguments: object) -> Any:
        return json.loads(run(*arguments, "--json")[1])

    listed = load("ls", stock / "sliced")
    assert set(listed) == {
        "kind", "prefix", "format", "graph", "kept", "files", "variable_count", "variables",
    }  # fmt: skip
    assert listed["variables"][0]["pieces"][1]["slice"] == "3,3:0,3"
    assert [row["restored"] for row in load("ls", stock / "dtypes/model.ckpt.meta")["names"]]
    shown = load("show", stock / "dtypes", "d/complex64[0]", "text", "d/bfloat16[0]")
    assert shown[0]["values"] == [[-2, 0], [-1, 0], [0, 0], [1, 0]]
    assert shown[1]["values"] == ["a", "", "Grüße", "x" * 300]
    assert shown[2]["values"] == [-2, -1, 0, 1]
    (figures,) = load("stat", b, "x")
    assert figures["figures"]["nan"] == 4
    verified = load("verify", stock / "dtypes")
    assert verified["sound"] is True
    assert verified["problems"] == []
    difference = load("diff", a, b, "x")
    assert difference["differences"][0]["change"]["absolute"] == "Infinity"
    explained = load("explain", stock / "pairs/new", "--with", stock / "pairs/old")
    assert explained["renaming"]["found"] == 8
    assert load("doctor", stock)["directories"][0]["is_writable"] is True


def test_a_table_shows_what_there_is(stock: Path, run: Run) -> None:
    _, out, _ = run("ls", stock / "sliced")
    assert "p/axis0  float32  [10, 3]  120 bytes       4\n" in out
    assert "3 variables, 284 bytes; " in out
    _, tree, _ = run("ls", "--tree", stock / "keras")
    assert "      0/.ATTRIBUTES/VARIABLE_VALUE" in tree
    _, slices, _ = run("ls", "--slices", stock / "sliced")
    assert "p/axis1  0,4:3,3  [4, 3]  48 bytes  model.ckpt.data-00000-of-00001     168" in slices


def test_a_resource_spec_is_checked(tmp_path: Path, run: Run) -> None:
    spec = tmp_path / "spec.yml"
    spec.write_text("nodes:\n  - address: localhost\n    cpus: [0, 1]\n")
    code, out, _ = run("spec", "check", spec)
    assert (code, "1 node, 2 replicas" in out) == (0, True)
    assert json.loads(run("spec", "check", spec, "--json")[1])["nodes"][0]["cpus"] == [0, 1]
    spec.write_text("nodes: 3\n")
    code, out, _ = run("spec", "check", spec)
    assert (code, "expected a mapping with a list 'nodes'" in out) == (1, True)
    assert run("spec", "check", tmp_path / "none")[0] == 2


# Prints the largest memory, and which of these names are loaded.
MEASURING = """
import json, re, sys
from autodist import cli
code = cli.main(sys.argv[1:])
with open("/proc/self/maps") as maps, open("/proc/self/status") as status:
    libraries = maps.read()
    # Not ru_maxrss, which counts the process that this one was forked from.
    memory = int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read())[1])
names = [name for name in ("tensorflow", "keras") if name in sys.modules]
names += ["libtensorflow"] * ("libtensorflow" in libraries)
names += [name for name in ("numpy", "rich", "fsspec", "yaml") if name in sys.modules]
print(json.dumps([code, memory, names]), file=sys.stderr)
"""


def measure(*arguments: object, directory: Path | None = None) -> tuple[int, int, list[str]]:
    """Returns exit code, KiB of memory, and packages that were loaded."""
    done = run_python("-c", MEASURING, *arguments, directory=directory, fresh=True)
    code, memory, names = json.loads(done.stderr.splitlines()[-1])
    return code, memory, names


def test_the_start_is_small() -> None:
    code, memory, names = measure()
    assert (code, names) == (0, [])
    assert memory < 60 << 10


@pytest.mark.parametrize(
    "arguments",
    ["ls dtypes", "verify dtypes", "show dtypes d/bfloat16", "stat dtypes", "diff pairs/a pairs/b",
     "explain sliced --graph sliced/model.ckpt.meta", "doctor ."],
)  # fmt: skip
def test_no_command_loads_tensorflow(stock: Path, arguments: str) -> None:
    _, memory, names = measure(*arguments.split(), directory=stock)
    assert not {"tensorflow", "keras", "libtensorflow", "rich", "fsspec", "yaml"} & set(names)
    assert ("numpy" in names) == (arguments.split(maxsplit=1)[0] in ("show", "stat", "diff"))
    assert memory < 60 << 10


def test_a_hundred_thousand_names_are_listed_in_little_memory(stock: Path) -> None:
    code, memory, names = measure("ls", stock / "large/many")
    assert (code, names) == (0, [])
    assert memory < 160 << 10


def test_memory_is_bounded(stock: Path) -> None:
    """A variable of 96 MiB is checked, compared and summed up in a tenth of that."""
    big = stock / "large/big"
    _, plain, _ = measure("show", big, "small")
    for command in (
        ("verify", big),
        ("stat", big, "--memory", 8),
        ("diff", big, big, "--memory", 8),
    ):
        code, memory, _ = measure(*command)
        assert code == 0
        assert memory - plain < 10 << 10


def start_command(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "autodist", *map(str, arguments)],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_a_reader_that_closes_the_pipe_is_no_error(stock: Path) -> None:
    process = start_command("ls", stock / "large/many")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"NAME")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


def test_an_interrupt_ends_a_command(tmp_path: Path) -> None:
    """A data file that is read for hours: sparse, and claimed by an index of our own making."""
    size = 1 << 42
    (tmp_path / "m.index").write_bytes(index_of({b"a": entry(shape=(size,), size=size, dtype=4)}))
    with (tmp_path / "m.data-00000-of-00001").open("wb") as file:
        file.truncate(size)
    # A shell in the background has its programs ignore interrupts.
    process = start_command(
        "verify", tmp_path / "m", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, b"interrupted")
