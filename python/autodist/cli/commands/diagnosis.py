"""`autodist doctor`."""

from __future__ import annotations

import click

from autodist import _log
from autodist.cli import output
from autodist.workbench.commands import diagnosis


@click.command("doctor")
@click.argument("paths", nargs=-1, metavar="[DIRECTORY]...")
@output.json_option
def command(paths: tuple[str, ...], as_json: bool) -> int:
    """Show versions, the op library, and what is safe in directories, and why.

    The exit code is 1 if something is wrong with what is installed.
    """
    found = diagnosis.diagnose(paths)
    if as_json:
        output.write_json(
            {
                "well": found.is_well,
                "parts": [
                    {"part": p.part, "version": p.version or None, "problem": p.problem or None}
                    for p in found.parts
                ],
                "directories": [
                    directory._asdict()
                    | {"free_bytes": directory.free_bytes if directory.free_bytes >= 0 else None}
                    for directory in found.directories
                ],
            }
        )
    else:
        _write(found)
    return 0 if found.is_well else 1


def _write(found: diagnosis.Diagnosis) -> None:
    rows = [
        [p.part, p.version or "not installed", f"problem: {p.problem}" if p.problem else ""]
        for p in found.parts
    ]
    output.write_table(["PART", "VERSION", ""], rows)
    for directory in found.directories:
        free = "" if directory.free_bytes < 0 else f", {_log.size(directory.free_bytes)} free"
        rights = "" if directory.is_writable else ", not writable"
        output.write()
        output.write(f"{_log.printable(directory.path)}: {directory.file_system}{free}{rights}")
        output.write(f"  {directory.safe}")
