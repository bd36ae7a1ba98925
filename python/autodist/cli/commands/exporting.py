"""`autodist export`."""

from __future__ import annotations

from pathlib import Path

import click

from autodist import _log
from autodist.cli import options, output, writing
from autodist.workbench.errors import ArgumentError
from autodist.workbench.exchange import npz_files, safetensors_files
from autodist.workbench.writing.casting import CastRule
from autodist.workbench.writing.names import NameRules, read_name_map
from autodist.workbench.writing.stored import Limits

_EXPORTS = {
    "safetensors": safetensors_files.export_safetensors,
    "npz": npz_files.export_npz,
}


@click.command("export")
@click.argument("checkpoint")
@click.argument("file")
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(_EXPORTS)),
    help="Default: the one that the file's name ends with.",
)
@options.drop
@click.option("--drop-slots", is_flag=True, help="Leave the slots of optimizers out.")
@options.renaming
@options.casts(", as in 'bfloat16=float32'")
@writing.options
def command(
    checkpoint: str,
    file: str,
    form: str | None,
    drop: tuple[str, ...],
    drop_slots: bool,
    rename_map: Path | None,
    rename: tuple[tuple[str, str], ...],
    casts: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
    limits: Limits,
) -> int:
    """Write the tensors of a checkpoint to a .safetensors or .npz file.

    Tensors keep their names and are whole. A safetensors file also holds how the checkpoint was
    laid out: `autodist import` makes the same bytes of it again.
    """
    with writing.shown("export") as tell:
        report = _EXPORTS[form_of(file, form)](
            checkpoint,
            file,
            names=NameRules(drop, read_name_map(rename_map) if rename_map else {}, rename),
            drop_slots=drop_slots,
            casts=[CastRule.parse(cast) for cast in casts],
            overwrite=overwrite,
            limits=limits,
            progress=tell,
        )
    if as_json:
        output.write_json(writing.as_json(report))
        return 0
    output.write(
        f"wrote {_log.printable(file)}: {_log.count(report.tensors, 'tensor')}, "
        f"{_log.size(report.data_bytes)}; {len(report.dropped)} dropped, {report.cast} cast"
    )
    return 0


def form_of(file: str, form: str | None) -> str:
    """Returns the format of a file: the one that is named, else the one that its name ends with."""
    found = form or next((known for known in _EXPORTS if file.endswith(f".{known}")), None)
    if found is None:
        raise ArgumentError(
            f"{_log.printable(file)!r} ends neither with .safetensors nor with .npz: give --format"
        )
    return found
