"""How long do commands take to start and to list a large checkpoint, and how much memory?

| name                  | one iteration                                        | at most         |
|-----------------------|------------------------------------------------------|-----------------|
| python -c pass        | the limit of a start                                 |                 |
| autodist              | a start that does nothing                            | 0.2 s, 60 MiB   |
| autodist ls           | lists 100,000 variables                              | 1 s             |
| inspect_checkpoint    | TensorFlow's own, which lists the same variables     |                 |

Each iteration is a process of its own. Seconds are the processor's, the least of all rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

_VARIABLES = 100_000
_SAVING = """
import sys
import tensorflow as tf
names = [f"layer_{number // 100}/variable_{number % 100}" for number in range(int(sys.argv[2]))]
specs = [""] * len(names)
tf.raw_ops.SaveV2(
    prefix=sys.argv[1], tensor_names=names, shape_and_slices=specs, tensors=[tf.ones([2])] * len(names)
)
"""
_AUTODIST = "from autodist import cli; import sys; sys.exit(cli.main(sys.argv[1:]))"
_INSPECT = ("-m", "tensorflow.python.tools.inspect_checkpoint")


def _measure(arguments: list[str]) -> tuple[float, float, int]:
    """Runs Python; returns seconds of the processor, MiB of memory, and how many lines it prints."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=output, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = sum(1 for _ in output)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed with code {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variables", type=int, default=_VARIABLES)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    table = Table("", "processor s", "MiB", "")
    missed = False
    with tempfile.TemporaryDirectory() as directory:
        prefix = str(Path(directory) / "model.ckpt")
        subprocess.run(
            [sys.executable, "-c", _SAVING, prefix, str(arguments.variables)],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        for name, command, lines, seconds, mib in [
            ("python -c pass", ["-c", "pass"], 0, None, None),
            ("autodist", ["-c", _AUTODIST], 0, 0.2, 60),
            ("autodist ls", ["-c", _AUTODIST, "ls", prefix], arguments.variables, 1.0, None),
            (
                "inspect_checkpoint",
                [*_INSPECT, f"--file_name={prefix}"],
                arguments.variables,
                None,
                None,
            ),
        ]:
            runs = [_measure(command) for _ in range(arguments.rounds)]
            assert all(printed >= lines for _, _, printed in runs), (name, runs)
            found = [min(column) for column in zip(*runs, strict=True)]
            is_met = found[0] <= (seconds or found[0]) and found[1] <= (mib or found[1])
            missed = missed or not is_met
            verdict = "" if seconds is None else "met" if is_met else "missed"
            table.add_row(name, f"{found[0]:.3f}", f"{found[1]:.0f}", verdict)
    Console().print(table)
    if missed:
        sys.exit("a command took more than is allowed")


if __name__ == "__main__":
    main()
