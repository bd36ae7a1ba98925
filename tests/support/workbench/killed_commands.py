"""Kills a command of the workbench before each call that changes names or makes data durable.

python -m support.workbench.killed_commands SOURCE DIRECTORY

Converts SOURCE over a checkpoint in a new directory below DIRECTORY for each such call: a child is
killed before the first one, the next before the second one, and so on, until one gets through.
Prints how many were killed. The caller looks at what they left.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from autodist.workbench.commands.conversion import Conversion, convert
from autodist.workbench.writing.layouts import PartitionRule

_CALLS = ("replace", "link", "unlink", "fsync", "open", "write", "pwrite", "mkdir")


def _kill_before(call_number: int) -> None:
    calls = 0
    for name in _CALLS:

        def counted(
            *arguments: object, _real: object = getattr(os, name), **named: object
        ) -> object:
            nonlocal calls
            if calls == call_number:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            return _real(*arguments, **named)

        setattr(os, name, counted)


def main(source: str, directory: str, former: str) -> None:
    number = 0
    while True:
        here = Path(directory, f"{number:03d}")
        here.mkdir()
        for path in Path(former).parent.iterdir() if former else ():
            shutil.copy(path, here / path.name)
        child = os.fork()
        if child == 0:
            _kill_before(number)
            rules = [PartitionRule.parse("*=0:2")]
            conversion = Conversion(partitions=rules, file_count=2)
            convert(source, str(here / "m"), conversion, overwrite=bool(former))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            break
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"the child ended with {status}")
        number += 1
    print(number)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
