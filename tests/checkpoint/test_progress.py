"""What a save or restore on a slow disk says while it runs: lines of the log, or a bar on a terminal."""

import os
import pty
import re
from pathlib import Path

import pytest

from support.c_programs import compile_library
from support.python_programs import TESTS, environment, run_python
from support.warm_python import start_program

PROGRAM = TESTS / "support" / "checkpoint" / "progress_program.py"
LINE = re.compile(r"autodist: (saving|restoring) \S+/slow: (.*)")
FIGURES = re.compile(r"[\d.]+ MiB of 48\.00 MiB \((\d+) %\) in \d+ s")


@pytest.fixture(scope="module")
def slow_disk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library to preload."""
    return compile_library("slow_disk.c", tmp_path_factory.mktemp("slow") / "slow_disk.so")


def slow_environment() -> dict[str, str]:
    """The environment of a program for which a block of a data file takes 0.1 s."""
    return environment(
        SLOW_WRITE_MILLISECONDS="100", SLOW_READ_MILLISECONDS="100", TERM="xterm", COLUMNS="120"
    )


def run(slow_disk: str, *arguments: object) -> list[str]:
    """Runs the program without a terminal; returns the lines of its standard error."""
    done = run_python(PROGRAM, *arguments, env=slow_environment(), preload=slow_disk)
    return done.stderr.splitlines()


def run_on_terminal(slow_disk: str, *arguments: object) -> str:
    """Runs the program with its standard error on a terminal; returns what that shows."""
    terminal, end = pty.openpty()
    with start_program(
        [PROGRAM, *arguments], slow_environment(), preload=slow_disk, stderr=end
    ) as program:
        os.close(end)
        shown = b""
        while True:
            try:
                more = os.read(terminal, 1 << 16)
            except OSError:  # the program has ended
                break
            if not more:
                break
            shown += more
    os.close(terminal)
    assert program.returncode == 0, shown.decode()[-4000:]
    return shown.decode()


def test_lines_say_how_far_it_is(slow_disk: str, tmp_path: Path) -> None:
    lines = run(slow_disk, tmp_path, "INFO", "quick", "save", "restore")
    assert not any("quick" in line for line in lines if "saving" in line)
    for verb, past in (("saving", "saved"), ("restoring", "restored")):
        told = [found[2] for line in lines if (found := LINE.match(line)) and found[1] == verb]
        percents = [int(found[1]) for text in told if (found := FIGURES.match(text))]
        assert len(percents) == len(told) >= 2
        assert percents == sorted(percents)
        # Each of another tenth.
        tenths = [percent // 10 for percent in percents]
        assert len(set(tenths)) == len(tenths)
        assert 0 < percents[0] < 100
        ended = next(n for n, line in enumerate(lines) if f"{past} {tmp_path}/slow" in line)
        assert not any(f" {verb} " in line for line in lines[ended:])


def test_a_terminal_shows_a_bar(slow_disk: str, tmp_path: Path) -> None:
    shown = run_on_terminal(slow_disk, tmp_path, "INFO", "quick", "save", "restore")
    for verb, past in (("saving", "saved"), ("restoring", "restored")):
        assert f"{verb} slow" in shown
        assert f"autodist: {verb} " not in shown
        before, after = shown.split(f"autodist: {past} {tmp_path}/slow", 1)
        # The bar is gone before the line that tells the end.
        assert before.endswith("\x1b[2K")
        assert f"{verb} slow" not in after
    assert FIGURES.search(shown)
    assert "saving quick" not in shown
    # The cursor is never hidden: a program that is killed would leave it so.
    assert "\x1b[?25l" not in shown


def test_who_wants_warnings_only_gets_nothing(slow_disk: str, tmp_path: Path) -> None:
    assert "slow" not in run_on_terminal(slow_disk, tmp_path, "WARNING", "save")


def test_a_program_that_ends_in_a_save_ends_well(slow_disk: str, tmp_path: Path) -> None:
    lines = run(slow_disk, tmp_path, "INFO", "3.5")
    assert any(map(LINE.match, lines))
    assert not any("Fatal" in line or "Traceback" in line for line in lines)
    shown = run_on_terminal(slow_disk, tmp_path, "INFO", "3.5")
    assert "saving slow" in shown
    assert "Fatal" not in shown
    assert "Traceback" not in shown
