"""`autodist import`."""

from __future__ import annotations

import click

from autodist import _log
from autodist.cli import output, writing
from autodist.cli.commands.exporting import form_of
from autodist.workbench.errors import ArgumentError
from autodist.workbench.exchange import npz_files, safetensors_files
from autodist.workbench.writing.stored import Limits


@click.command("import")
@click.argument("file")
@click.argument("prefix")
@click.option(
    "--format",
    "form",
    type=click.Choice(["npz", "safetensors"]),
    help="Default: the one that the file's name ends with.",
)
@click.option(
    "--plain", is_flag=True, help="Ignore the recorded layout: whole variables in one data file."
)
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Accept values that changed after the export.",
)
@writing.options
def command(
    file: str,
    prefix: str,
    form: str | None,
    plain: bool,
    accept_changes: bool,
    overwrite: bool,
    as_json: bool,
    limits: Limits,
) -> int:
    """Write a checkpoint with the tensors of a .safetensors or .npz file.

    A safetensors file that `autodist export` made gives the bytes of the checkpoint that it was
    made from. Others give whole tensors in the order of their names, in one data file.
    """
    with writing.shown("import") as tell:
        if form_of(file, form) == "npz":
            if plain or accept_changes:
                raise ArgumentError("--plain and --accept-changes are for safetensors files")
            report = npz_files.import_npz(
                file, prefix, overwrite=overwrite, limits=limits, progress=tell
            )
        else:
            report = safetensors_files.import_safetensors(
                file,
                prefix,
                plain=plain,
                accept_changes=accept_changes,
                overwrite=overwrite,
                limits=limits,
                progress=tell,
            )
    if as_json:
        output.write_json(writing.as_json(report))
        return 0
    layout = "as it was exported" if report.kept_layout else "in the order of names"
    output.write(
        f"wrote {_log.printable(prefix)}: {_log.count(report.tensors, 'variable')}, "
        f"{_log.size(report.data_bytes)} in {_log.count(report.data_files, 'data file')}, {layout}"
    )
    return 0
