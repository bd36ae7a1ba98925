"""Starts the programs of `autodist.demo.tensorflow_only` in processes without autodist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from autodist.demo import tensorflow_only
from autodist.demo.interface.errors import DemoError

_LAST_LINES = 12


def run_plain(program: str, *arguments: Path | int) -> None:
    """Runs a program to its end.

    Args:
        program: a file in `autodist/demo/tensorflow_only`, e.g. `restore_checkpoint.py`.
        *arguments: what it takes.

    Raises:
        DemoError: it failed; the message holds the end of what it wrote.
    """
    path = Path(str(tensorflow_only.__file__)).with_name(program)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, str(path), *map(str, arguments)],
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        end = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise DemoError(f"{program} failed with exit code {done.returncode}:\n{end}")
