"""`autodist convert`."""

from __future__ import annotations

from pathlib import Path

import click

from autodist import _log
from autodist.cli import options, output, writing
from autodist.workbench.commands import conversion
from autodist.workbench.writing.casting import CastRule
from autodist.workbench.writing.layouts import PartitionRule
from autodist.workbench.writing.names import NameRules, read_name_map
from autodist.workbench.writing.stored import Limits


@click.command("convert")
@click.argument("source")
@click.argument("target")
@click.option(
    "--partition",
    "partitions",
    multiple=True,
    metavar="GLOB=LAYOUT",
    help="Cut tensors: 'emb*=0:4' along axis 0 into 4, 'w=0:2x1:4' into a grid, 'w=0:[3,5]' into "
    "pieces of 3 and 5, 'w=whole' not at all. The first that takes a name counts.",
)
@click.option(
    "--whole", is_flag=True, help="Write whole variables, except those that a --partition names."
)
@click.option(
    "--shards",
    type=click.IntRange(1, 99_999),
    metavar="N",
    help="Spread the tensors over N data files. Default: as they are.",
)
@options.drop
@options.renaming
@options.casts(": 'float32=bfloat16', 'emb*:float32=float16'")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@writing.options
def command(
    source: str,
    target: str,
    partitions: tuple[str, ...],
    whole: bool,
    shards: int | None,
    drop: tuple[str, ...],
    rename_map: Path | None,
    rename: tuple[tuple[str, str], ...],
    casts: tuple[str, ...],
    dry_run: bool,
    overwrite: bool,
    as_json: bool,
    limits: Limits,
) -> int:
    """Write a copy of a checkpoint with another layout, format, names or dtypes.

    SOURCE is a checkpoint of the V1 or V2 format; TARGET is the prefix of the copy, in the V2
    format. Its bytes are those that TensorFlow writes from a graph with such variables. It appears
    under its prefix once all is written and synced, or not at all.
    """
    rules = [*partitions, *(["*=whole"] if whole else [])]
    wanted = conversion.Conversion(
        partitions=[PartitionRule.parse(rule) for rule in rules],
        file_count=shards,
        names=NameRules(drop, read_name_map(rename_map) if rename_map else {}, rename),
        casts=[CastRule.parse(cast) for cast in casts],
    )
    with writing.shown("convert") as tell:
        report = conversion.convert(
            source,
            target,
            wanted,
            overwrite=overwrite,
            dry_run=dry_run,
            limits=limits,
            progress=tell,
        )
    if as_json:
        output.write_json(writing.as_json(report))
        return 0
    changes = [
        _log.count(report.slices, "slice"),
        f"{report.renamed} renamed",
        f"{len(report.dropped)} dropped",
        f"{report.cast} cast",
    ]
    output.write(
        f"{'would write' if dry_run else 'wrote'} {_log.printable(target)}: "
        f"{_log.count(report.tensors, 'variable')}, {_log.size(report.data_bytes)} in "
        f"{_log.count(report.data_files, 'data file')}; {', '.join(changes)}"
    )
    return 0
