"""`autodist verify`."""

from __future__ import annotations

import time
from typing import Any

import click

from autodist import _log
from autodist.cli import leasing, options, output, progress
from autodist.workbench.commands import verification


@click.command("verify")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@options.threads
@output.json_option
def command(paths: tuple[str, ...], threads: int, as_json: bool) -> int:
    """Check every byte of checkpoints against their checksums.

    PATH is a checkpoint, a SavedModel, a .meta file, or a directory, of which all checkpoints are
    checked. The exit code is 1 if something is damaged.
    """
    job = verification.plan(paths)
    begin = time.monotonic()
    with progress.shown("verify", verification.total_bytes(job)) as tell:
        report = verification.verify(job, threads, tell, leasing.held)
    seconds = time.monotonic() - begin
    if as_json:
        output.write_json(_json(report, seconds))
    else:
        _write(report, seconds)
    return 0 if report.is_sound else 1


def _write(report: verification.Report, seconds: float) -> None:
    for problem in report.problems:
        kind = "damaged" if problem.is_damage else "remark"
        name = f"tensor {_log.printable(problem.variable)!r}: " if problem.variable else ""
        output.write(f"{kind}: {_log.printable(problem.checkpoint)}: {name}{problem.text}")
    damaged = {problem.checkpoint for problem in report.problems if problem.is_damage}
    verdict = (
        "sound" if not damaged else f"damaged: {', '.join(map(_log.printable, sorted(damaged)))}"
    )
    output.write(
        f"{_log.count(len(report.checkpoints), 'checkpoint')}, "
        f"{_log.count(report.variable_count, 'variable')}, {_log.size(report.byte_count)} in "
        f"{seconds:.2f} s: {verdict}"
    )


def _json(report: verification.Report, seconds: float) -> dict[str, Any]:
    return {
        "sound": report.is_sound,
        "checkpoints": list(report.checkpoints),
        "variable_count": report.variable_count,
        "byte_count": report.byte_count,
        "seconds": seconds,
        "problems": [
            {
                "checkpoint": problem.checkpoint,
                "variable": problem.variable or None,
                "text": problem.text,
                "damage": problem.is_damage,
            }
            for problem in report.problems
        ],
    }
