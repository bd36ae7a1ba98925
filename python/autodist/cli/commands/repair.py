"""`autodist repair`."""

from __future__ import annotations

import os

import click

from autodist import _log
from autodist.cli import options, output, writing
from autodist.workbench.commands import repair
from autodist.workbench.writing.stored import Limits


@click.command("repair")
@click.argument("path")
@click.option(
    "--write", is_flag=True, help="Write the repaired file; the former one is kept beside."
)
@options.threads
@output.json_option
def command(path: str, write: bool, threads: int, as_json: bool) -> int:
    """Rebuild the index of a checkpoint, or the state file of a directory, from what is sound.

    PATH is a prefix or a directory. Without --write the command only says what it would do. What is
    lost is listed. Data files are never changed. The exit code is 1 if something is damaged and was
    not repaired.
    """
    limits = Limits(threads or os.cpu_count() or 1)
    with writing.file_errors(), writing.shown("repair") as tell:
        report = repair.repair(path, write=write, limits=limits, progress=tell)
    if as_json:
        output.write_json(writing.as_json(report))
    else:
        _write(report)
    return 0 if report.is_sound or report.written else 1


def _write(report: repair.RepairReport) -> None:
    for damage in report.damage:
        output.write(f"damaged: {_log.printable(report.path)}: {_log.printable(damage)}")
    for lost in report.lost:
        output.write(f"lost: {_log.printable(lost.name)}: {_log.printable(lost.reason)}")
    kind = "variable" if report.kind == "index" else "checkpoint"
    kept = f"{_log.printable(report.path)}: {_log.count(len(report.kept), kind)}"
    if report.is_sound:
        output.write(f"{kept}: sound, nothing to repair")
    elif report.written:
        backup = f"; the former file is {_log.printable(report.backup)}" if report.backup else ""
        output.write(f"{kept}: written{backup}")
    else:
        output.write(f"{kept} can be kept; nothing was written. Give --write to do so")
