"""`autodist stat`."""

from __future__ import annotations

from typing import Any

import click

from autodist.cli import leasing, options, output, progress
from autodist.cli.commands import evidence_table
from autodist.workbench.commands import statistics
from autodist.workbench.reading import finding

_BARS = "▁▂▃▄▅▆▇█"


@click.command("stat")
@click.argument("path")
@output.patterns_argument
@click.option("--bad", is_flag=True, help="Show only variables with NaN or infinite elements.")
@click.option("--evidence", is_flag=True, help="Show what the save noted; read no value.")
@options.threads
@options.memory(statistics.DEFAULT_MEMORY_BYTES)
@output.json_option
def command(
    path: str,
    patterns: tuple[str, ...],
    bad: bool,
    evidence: bool,
    threads: int,
    memory: int,
    as_json: bool,
) -> int:
    """Show minimum, maximum, mean, deviation, NaNs, zeros and distribution of variables.

    NAME is a variable's name or a pattern. The exit code is 1 if an element is NaN or infinite.
    """
    if evidence:
        return evidence_table.show(path, patterns, only_bad=bad, as_json=as_json)
    with leasing.found(path) as prefix:
        total = statistics.total_bytes(finding.open_checkpoint(prefix))
        with progress.shown("stat", total) as tell:
            results = statistics.statistics(
                prefix, patterns, threads=threads, memory_bytes=memory * options.MIB, progress=tell
            )
    is_bad = any(_is_bad(result) for result in results)
    if bad:
        results = [result for result in results if _is_bad(result)]
    if as_json:
        output.write_json([_json(result) for result in results])
    else:
        headings = ["NAME", "DTYPE", "MIN", "MAX", "MEAN", "STD", "NAN", "INF", "ZEROS", ""]
        output.write_table(headings, map(_row, results), right=range(2, 9))
    return 1 if is_bad else 0


def _is_bad(result: statistics.Statistic) -> bool:
    figures = result.figures
    return figures is not None and figures.nans + figures.infinities > 0


def _row(result: statistics.Statistic) -> list[str]:
    variable, figures = result
    if figures is None:
        return [variable.name, variable.dtype, *[""] * 8]
    if not figures.finite:
        numbers = ["", "", "", ""]
    else:
        numbers = [
            output.number_text(number)
            for number in (figures.minimum, figures.maximum, figures.mean, figures.deviation)
        ]
    counts = [str(n) if n else "" for n in (figures.nans, figures.infinities)]
    zeros = f"{figures.zeros / figures.count:.1%}" if figures.zeros else ""
    return [variable.name, variable.dtype, *numbers, *counts, zeros, _sparkline(figures)]


def _sparkline(figures: statistics.Figures) -> str:
    counts = figures.histogram()
    most = max(counts, default=0)
    if not most or figures.minimum == figures.maximum:
        return ""
    # A bin with one element is seen beside one with thousands.
    return "".join(
        " " if not count else _BARS[max(0, round(count / most * len(_BARS)) - 1)]
        for count in counts
    )


def _json(result: statistics.Statistic) -> dict[str, Any]:
    variable, figures = result
    about: dict[str, Any] = {
        "name": variable.name,
        "dtype": variable.dtype,
        "shape": list(variable.shape),
    }
    if figures is None:
        return about | {"figures": None}
    has = figures.finite > 0
    return about | {
        "figures": {
            "count": figures.count,
            "min": figures.minimum if has else None,
            "max": figures.maximum if has else None,
            "mean": figures.mean if has else None,
            "std": figures.deviation if has else None,
            "nan": figures.nans,
            "inf": figures.infinities,
            "zeros": figures.zeros,
            "histogram": figures.histogram(),
        }
    }
