"""Answers every question of this directory, each in a process of its own, and stops at the first that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_QUESTIONS = ("save_sharded.py", "many_variables.py")


def main() -> None:
    here = Path(__file__).resolve().parent
    for question in _QUESTIONS:
        subprocess.run([sys.executable, str(here / question), *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
