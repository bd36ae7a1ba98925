"""Runs the benchmarks of saving, each in its own process, and stops at the first that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Sizes for which one can wait.
_QUESTIONS = (("save_restore.py", "--quick"), ("many_variables.py", "--variables", "2000"))


def main() -> None:
    here = Path(__file__).resolve().parent
    for question, *arguments in _QUESTIONS:
        subprocess.run([sys.executable, str(here / question), *arguments], check=True)


if __name__ == "__main__":
    main()
