"""Saves and restores in a process at its limit of threads or of memory: done, or refused by name; never an abort."""

import shutil
from pathlib import Path

import pytest

from support.c_programs import compile_library
from support.python_programs import environment, run_python


def _run(kind: str, directory: Path, **settings: str) -> list[str]:
    """Runs the program and returns what it printed."""
    program = ("-m", "support.checkpoint.scarce_program", kind, directory)
    done = run_python(*program, env=environment(TF_CPP_MIN_LOG_LEVEL="2", **settings))
    return done.stdout.splitlines()


def test_at_the_limit_of_threads_the_calling_thread_saves_and_restores(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the library that lets no thread be started")
    library = tmp_path / "no_threads.so"
    compile_library("checkpoint/no_threads.c", library, compiler=compiler)
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
    # What is freed goes back to the kernel, so that blocks have to be asked for again. With oneDNN, TensorFlow would
    # keep large blocks.
    settings = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_ARENA_MAX": "1"}
    lines = _run("memory", tmp_path, TF_ENABLE_ONEDNN_OPTS="0", **settings)
    assert lines[-1] == "done"
    assert {"ResourceExhaustedError", "done"} <= {line.split()[-1] for line in lines}


def test_a_save_takes_the_space_of_the_file_before_the_former(tmp_path: Path) -> None:
    done = run_python("-m", "support.checkpoint.overwriting_program", tmp_path)
    if done.stdout.split("\n")[0] == "cannot mount":
        pytest.skip("needs to mount a file system")
    assert done.stdout == "done\n"
