"""Saves and restores in a process at its limit of threads or of memory: done, or refused by name; never an abort."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def _run(kind: str, directory: Path, **environment: str) -> list[str]:
    """Runs the program and returns what it printed."""
    done = subprocess.run(
        [sys.executable, str(HERE / "scarce_program.py"), kind, str(directory)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done.stdout.splitlines()


def test_at_the_limit_of_threads_the_calling_thread_saves_and_restores(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the library that lets no thread be started")
    library = tmp_path / "no_threads.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "no_threads.c", "-ldl"],
        check=True,
    )
    (tmp_path / "saves").mkdir()
    lines = _run(
        "threads",
        tmp_path / "saves",
        LD_PRELOAD=str(library),
        NO_THREADS_FILE=str(tmp_path / "no_threads"),
    )
    assert lines == [
        "save whole done",
        "restore whole done",
        "save sharded done",
        "restore sharded done",
        "done",
    ]


def test_without_memory_all_is_as_before_or_as_it_should_be(tmp_path: Path) -> None:
    # What is freed goes back to the kernel, so that blocks have to be asked for again.
    lines = _run("memory", tmp_path, MALLOC_MMAP_THRESHOLD_="16384", MALLOC_ARENA_MAX="1")
    assert lines[-1] == "done"
    assert {"ResourceExhaustedError", "done"} <= {line.split()[-1] for line in lines}
