"""A program in a forked process runs, and ends, as in a new one."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf  # noqa: F401 - which sets variables of the environment, also of what is started

from support.c_programs import compile_library
from support.python_programs import environment, read_line, run_python, start_python
from support.warm_python import ForkedProgram, start_program

STATE = """
import os, sys, threading
print(__name__, globals().get("__file__"), __spec__ and __spec__.name, __builtins__)
print(sys.argv, sys.orig_argv, sys.path, sys.flags)
print(os.getcwd(), sorted(os.environ.items()), os.getppid(), os.getsid(0), os.getpgrp())
print(os.listdir("/proc/self/fd"), os.listdir("/proc/self/task").__len__(), threading.enumerate()[1:])
print(sys.stdin, sys.stdout, sys.stderr, sys.stdin.read())
"""

END = """
import atexit, os, signal, sys, threading, time

class Last:
    def __del__(self, write=os.write):
        write(1, b"destroyed")

def later():
    time.sleep(0.2)
    print("thread ended")

atexit.register(print, "at exit")
sys.last = Last()
threading.Thread(target=later).start()
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
print("begins")
"""

RANDOM = """
import random, tempfile, uuid
import numpy as np
import tensorflow as tf
print(random.random(), np.random.random(), uuid.uuid4(), tempfile.mktemp())
print(tf.random.uniform([]).numpy(), tf.raw_ops.RandomUniform(shape=[1], dtype=tf.float32).numpy())
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    print(session.list_devices()[0].incarnation)
"""

NESTED = f"""
import os
from support.python_programs import run_python
print(int(run_python("-c", "import os; print(os.getppid())").stdout) == os.getpid())
print(run_python("-c", {RANDOM!r}).stdout)
"""


def run(
    arguments: Sequence[Any], fresh: bool, directory: Path | None = None
) -> tuple[int, str, list[str]]:
    """Returns exit code, output and the last line of the errors."""
    process = start_program(
        arguments,
        environment(AUTODIST_WORD="a word"),
        fresh=fresh,
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert isinstance(process, ForkedProgram) is not fresh
    output, errors = process.communicate("an input", 60)
    return process.returncode, output, errors.splitlines()[-1:]


@pytest.mark.parametrize("kind", ["code", "file", "link", "module"])
def test_it_finds_what_a_new_process_finds(kind: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(STATE)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "link.py").symlink_to(tmp_path / "program.py")
    program = {
        "code": ("-c", STATE),
        "file": ("program.py",),
        "link": (tmp_path / "below" / "link.py",),
        "module": ("-m", "program"),
    }[kind]
    forked, new = (run([*program, "-c", "ä"], fresh, tmp_path) for fresh in (False, True))
    assert forked == new
    assert new[1].count("a word") == 1
    assert "an input" in new[1]


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ("", 0),
        ("sys.exit(7)", 7),
        ("sys.exit('a message')", 1),
        ("raise ValueError('an error')", 1),
        ("os._exit(5)", 5),
        ("os.abort()", -signal.SIGABRT),
        ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
        ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM),
        ("an error of syntax", 1),
    ],
)
def test_it_ends_as_a_new_process_ends(last: str, code: int) -> None:
    forked, new = (run(["-c", f"{END}\n{last}"], fresh) for fresh in (False, True))
    assert forked == new
    assert new[0] == code
    assert ("destroyed" in new[1]) == (code in (0, 1, 7, -signal.SIGINT) and "syntax" not in last)


def test_a_module_that_is_missing_is_named() -> None:
    forked, new = (run(["-m", "support.missing"], fresh) for fresh in (False, True))
    assert forked == new


def test_it_can_be_killed() -> None:
    process = start_python("-c", "print('runs', flush=True); input()")
    assert read_line(process) == "runs"
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def test_no_two_draw_the_same_numbers() -> None:
    outputs = [run_python("-c", RANDOM).stdout for _ in range(2)]
    outputs += [run_python("-c", NESTED, starts_programs=True).stdout]
    *_, nested = outputs
    assert nested.startswith("True\n")
    drawn = [output.removeprefix("True\n").split() for output in outputs]
    assert [len(numbers) for numbers in drawn] == [7] * 3
    for several in zip(*drawn, strict=True):
        assert len(set(several)) == 3


def test_it_has_imported_nothing_of_ours() -> None:
    code = """if True:
        import sys
        assert "tensorflow" in sys.modules
        print([name for name in sys.modules if name.split(".")[0] in ("autodist", "support")])
    """
    assert run_python("-c", code).stdout == "[]\n"


def test_a_preloaded_library_is_in_programs_that_are_forked(tmp_path: Path) -> None:
    library = compile_library("slow_disk.c", tmp_path / "slow_disk.so")
    code = f"""if True:
        from pathlib import Path
        assert {library!r} in Path("/proc/self/maps").read_text()
    """
    process = start_program(["-c", code], environment(), preload=library)
    assert process.wait(60) == 0
    assert process.args[0] != sys.executable


@pytest.mark.parametrize(
    ("program", "settings"),
    [
        (("-X", "dev", "-c", ""), {}),
        (("-I", "-c", ""), {}),
        (("-c", ""), {"PYTHONHASHSEED": "1"}),
        (("-c", ""), {"LD_PRELOAD": ""}),
        (("-c", ""), {"TF_CPP_MIN_LOG_LEVEL": "0"}),
    ],
)
def test_what_is_read_early_needs_a_new_process(
    program: tuple[str, ...], settings: dict[str, str]
) -> None:
    process = start_program(program, environment(**settings))
    assert process.wait(60) == 0
    assert process.args[0] == sys.executable
