"""`autodist diff`."""

from __future__ import annotations

from typing import Any

import click

from autodist import _log
from autodist.cli import leasing, options, output, progress
from autodist.workbench.commands import differences, statistics
from autodist.workbench.reading import finding


@click.command("diff")
@click.argument("path", metavar="A")
@click.argument("other", metavar="B")
@output.patterns_argument
@click.option("--atol", type=float, default=0.0, help="Absolute change that is allowed.")
@click.option("--rtol", type=float, default=0.0, help="Relative change that is allowed.")
@click.option("--all", "show_all", is_flag=True, help="Show variables that are the same, too.")
@click.option("--quick", is_flag=True, help="Trust equal checksums: do not read what has them.")
@options.threads
@options.memory(differences.DEFAULT_MEMORY_BYTES)
@output.json_option
def command(
    path: str,
    other: str,
    patterns: tuple[str, ...],
    atol: float,
    rtol: float,
    show_all: bool,
    quick: bool,
    threads: int,
    memory: int,
    as_json: bool,
) -> int:
    """Compare names, dtypes, shapes and values of two checkpoints.

    An element differs if it changes by more than --atol and by more than --rtol of the larger
    magnitude. The exit code is 1 if something differs.
    """
    with leasing.found(path) as first, leasing.found(other) as second:
        total = statistics.total_bytes(finding.open_checkpoint(first))
        with progress.shown("diff", total) as tell:
            results = differences.compare(
                first,
                second,
                patterns,
                tolerance=differences.Tolerance(atol, rtol),
                trust_crcs=quick,
                threads=threads,
                memory_bytes=memory * options.MIB,
                progress=tell,
            )
    different = [result for result in results if result.kind != "same"]
    if as_json:
        shown = results if show_all else different
        output.write_json(
            {
                "same": not different,
                "variable_count": len(results),
                "differences": [_json(result) for result in shown],
            }
        )
    else:
        if different or show_all:
            headings = ["NAME", "DIFFERS", "ABSOLUTE", "RELATIVE", "ELEMENTS", "ROWS"]
            output.write_table(
                headings, map(_row, results if show_all else different), right=(2, 3, 4)
            )
            output.write()
        output.write(f"{len(different)} of {_log.count(len(results), 'variable')} differ")
    return 1 if different else 0


def _row(result: differences.Difference) -> list[str]:
    first, second, change = result.first, result.second, result.change
    kind = result.kind
    if first is not None and second is not None and kind == "shape":
        kind = f"shape {output.shape_text(first.shape)}, {output.shape_text(second.shape)}"
    elif first is not None and second is not None and kind == "dtype":
        kind = f"dtype {first.dtype}, {second.dtype}"
    if change is None or not change.elements:
        return [result.name, kind, "", "", "", ""]
    rows = ", ".join(map(str, change.rows))
    more = change.row_count - len(change.rows)
    return [
        result.name,
        kind,
        output.number_text(change.absolute),
        output.number_text(change.relative),
        str(change.elements),
        f"{rows} and {more} more" if more else rows,
    ]


def _json(result: differences.Difference) -> dict[str, Any]:
    change = result.change
    return {
        "name": result.name,
        "differs": None if result.kind == "same" else result.kind,
        "a": _about(result.first),
        "b": _about(result.second),
        "change": None
        if change is None
        else {
            "elements": change.elements,
            "absolute": change.absolute,
            "relative": change.relative,
            "place": None if change.place is None else list(change.place),
            "row_count": change.row_count,
            "rows": change.rows,
        },
    }


def _about(variable: Any) -> dict[str, Any] | None:
    if variable is None:
        return None
    return {"dtype": variable.dtype, "shape": list(variable.shape)}
