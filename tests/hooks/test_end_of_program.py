"""The save that runs when a program ends, or gets SIGTERM, is committed; nothing hangs, and no error is lost."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from support.python_programs import Process, Start

Begin = Callable[..., Process]


@pytest.fixture
def begin(start: Start, tmp_path: Path) -> Begin:
    """Starts a program; returns once its first save runs."""

    def begin(end: str, sigterm_seconds: float = 60) -> Process:
        program = ("-m", "support.hooked_program", tmp_path, end, sigterm_seconds)
        # A signal ends the others before the interpreter does.
        meets_end = end in ("exit", "exception", "failure", "fork", "handler")
        with (tmp_path / "log").open("w") as log:
            process = start(*program, log=log, fresh=meets_end)
        assert process.stdout is not None
        assert process.stdout.readline() == "saving\n"
        return process

    return begin


def output_of(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.read()


def let_go(directory: Path) -> None:
    (directory / "go").touch()


def check_committed(directory: Path) -> None:
    path = tf.train.latest_checkpoint(str(directory / "train"))
    assert tf.train.load_checkpoint(path).get_tensor("global_step") == 0


@pytest.mark.parametrize(("end", "status"), [("exit", 3), ("exception", 1), ("fork", 3)])
def test_a_program_that_ends_awaits_its_save(
    begin: Begin, end: str, status: int, tmp_path: Path
) -> None:
    process = begin(end)
    time.sleep(0.2)
    assert process.poll() is None
    let_go(tmp_path)
    assert process.wait(120) == status
    assert output_of(process) == "saved 0\n"
    check_committed(tmp_path)


def test_an_error_that_nobody_was_told_of_is_logged_at_the_end(
    begin: Begin, tmp_path: Path
) -> None:
    process = begin("failure")
    let_go(tmp_path)
    assert process.wait(120) == 1
    log = (tmp_path / "log").read_text()
    assert "a save in the background failed: OSError: the listener failed" in log


def test_a_save_ends_before_sigterm_ends_the_program(begin: Begin, tmp_path: Path) -> None:
    process = begin("train")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None
    let_go(tmp_path)
    assert process.wait(120) == -signal.SIGTERM
    assert output_of(process) == "saved 0\n"
    check_committed(tmp_path)


def test_a_handler_of_the_program_is_called_after_the_save(begin: Begin, tmp_path: Path) -> None:
    process = begin("handler")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    let_go(tmp_path)
    assert process.wait(120) == 4
    assert output_of(process) == "saved 0\nhandled\n"


def test_sigterm_waits_for_a_save_only_so_long(begin: Begin) -> None:
    process = begin("train", 0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == -signal.SIGTERM


def test_sigterm_ends_a_program_that_is_blocked(begin: Begin, tmp_path: Path) -> None:
    process = begin("blocked")
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    let_go(tmp_path)
    assert process.wait(120) in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert output_of(process) == "saved 0\n"
    check_committed(tmp_path)


def test_sigterm_is_left_alone_where_that_is_asked_for(begin: Begin) -> None:
    process = begin("train", 0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == -signal.SIGTERM
