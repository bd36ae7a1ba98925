"""`autodist average`."""

from __future__ import annotations

import click

from autodist import _log
from autodist.cli import output, writing
from autodist.workbench.commands import averaging
from autodist.workbench.errors import ArgumentError
from autodist.workbench.writing.stored import Limits


@click.command("average")
@click.argument("sources", nargs=-1, required=True, metavar="CHECKPOINT...")
@click.option(
    "--output", "target", required=True, metavar="PREFIX", help="Prefix of the checkpoint to write."
)
@click.option(
    "--weights",
    metavar="W,...",
    help="A number for each checkpoint, separated by commas. Default: all the same.",
)
@click.option(
    "--take",
    multiple=True,
    metavar="GLOB",
    help="Take tensors from the first checkpoint, such as global_step.",
)
@writing.options
def command(
    sources: tuple[str, ...],
    target: str,
    weights: str | None,
    take: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
    limits: Limits,
) -> int:
    """Write the mean of checkpoints of one model.

    Tensors of floats are added in float64 in the order of the checkpoints, divided, and rounded
    once. Others must be equal in all. Slices and data files are those of the first checkpoint.
    """
    with writing.shown("average") as tell:
        report = averaging.average(
            sources,
            target,
            weights=_numbers(weights),
            take=take,
            overwrite=overwrite,
            limits=limits,
            progress=tell,
        )
    if as_json:
        output.write_json(writing.as_json(report))
        return 0
    output.write(
        f"wrote {_log.printable(target)}: {report.averaged} averaged, {report.equal} equal, "
        f"{len(report.taken)} taken from the first; {_log.size(report.data_bytes)}"
    )
    return 0


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise ArgumentError(f"--weights {text!r}: expected numbers separated by commas") from None
