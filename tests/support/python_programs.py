"""Runs Python programs, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def run_python(*arguments: Any, directory: Path | None = None) -> str:
    """Runs Python to its end, and returns what it printed.

    Args:
      *arguments: The program and its arguments.
      directory: Where it runs; None: here.
    """
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=directory,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
