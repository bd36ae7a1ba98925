"""Runs Python programs, each in a process of its own."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.warm_python import start_program

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent

Process = subprocess.Popen[str]
Start = Callable[..., Process]


def stock_environment() -> dict[str, str]:
    """Returns the environment of a program that may import `support`, and does not find the package in place."""
    return {**os.environ, "PYTHONPATH": str(TESTS), "TF_CPP_MIN_LOG_LEVEL": "3"}


def environment(**settings: str) -> dict[str, str]:
    """Returns the environment of a program that may import `support`, with further settings."""
    former = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(TESTS), *(str(Path(path).resolve()) for path in former if path)]
    return {
        **stock_environment(),
        "PYTHONPATH": os.pathsep.join(paths),
        # `import tensorflow` imports a Keras: this one without scikit-learn and matplotlib, a second sooner.
        "TF_USE_LEGACY_KERAS": "1",
        **settings,
    }


def users_environment() -> dict[str, str]:
    """Returns the environment of a program of a user: TensorFlow's own choices, and its log."""
    return {**os.environ, "PYTHONPATH": environment()["PYTHONPATH"]}


def run_python(
    *arguments: Any,
    directory: Path | None = None,
    env: dict[str, str] | None = None,
    text: str | None = None,
    timeout: float = 600,
    fresh: bool = False,
    starts_programs: bool = False,
    preload: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs Python to its end, and returns its outputs; the test fails if the program does.

    Args:
      *arguments: The program and its arguments.
      directory: Where it runs; None: here.
      env: Its environment; None: that of a program that may import `support`.
      text: Its standard input.
      timeout: In seconds.
      fresh: Whether the start of Python, or the import of TensorFlow, is what is tested.
      starts_programs: Whether it runs Python programs itself.
      preload: As for `start_program`.
    """
    with start_program(
        arguments,
        environment() if env is None else env,
        fresh=fresh,
        starts_programs=starts_programs,
        preload=preload,
        cwd=directory,
        stdin=None if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, errors = process.communicate(text, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, f"{process.returncode}\n{output[-2000:]}\n{errors[-4000:]}"
    return subprocess.CompletedProcess(process.args, 0, output, errors)


def start_python(
    *arguments: Any, log: Any = subprocess.DEVNULL, fresh: bool = False, **settings: str
) -> Process:
    """Starts Python with a pipe to its input and from its output.

    Args:
      *arguments: The program and its arguments.
      log: Where its standard error goes.
      fresh: As for `run_python`.
      **settings: Further environment variables.
    """
    return start_program(
        arguments,
        environment(**settings),
        fresh=fresh,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )


@contextlib.contextmanager
def starting() -> Iterator[Start]:
    """Yields `start_python`, and kills the programs that are left at the end."""
    started: list[Process] = []

    def start(*arguments: Any, **how: Any) -> Process:
        started.append(start_python(*arguments, **how))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()


def read_line(process: Process) -> str:
    """Returns the next line that a program prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def read_until(process: Process, text: str) -> str:
    """Returns all that a program prints up to a line that has a text in it."""
    assert process.stdout is not None
    lines = ""
    for line in process.stdout:
        lines += line
        if text in line:
            return lines
    raise AssertionError(f"the process ended before it said {text!r}:\n{lines}")


def tell(process: Process, line: str) -> None:
    """Writes a line to the input of a program."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
