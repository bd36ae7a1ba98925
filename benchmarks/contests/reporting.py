"""The report of a run: tables for people, on the console and as Markdown, and JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from contenders.contender import Key
from contests.results import CONTROL_RANGE, QUIET_SHARE, Result
from contests.thresholds import judge
from measuring.report_files import WrittenReport, markdown_table

if TYPE_CHECKING:
    from rich.console import Console

_MARKS = {True: "met", False: "missed"}


@dataclasses.dataclass(frozen=True)
class Report(WrittenReport):
    """What was measured.

    Attributes:
        question: What the run asks, in one sentence.
        results: Of the contests.
        machine: See `machine.describe`.
        missing: Libraries that would have been compared with but are not installed.
        plots: Pictures to show, relative to where the report is written.
    """

    question: str
    results: Sequence[Result]
    machine: Mapping[str, str]
    missing: Sequence[str]
    plots: Sequence[str] = ()

    def to_markdown(self) -> str:
        """The report as a Markdown document."""
        parts = [f"# {self.question}", *(f"![{plot}]({plot})" for plot in self.plots)]
        targets = self._targets()
        if len(targets) > 1:
            parts += ["## Targets", _markdown_table(*targets)]
        for result in self.results:
            parts += [f"## {result.contest.title}", _verdict(result)]
            parts.append(_markdown_table(_head(result), *_rows(result)))
        parts += ["## Machine", self._facts()]
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """All numbers, one object per contestant."""
        return json.dumps(
            {
                "question": self.question,
                "machine": dict(self.machine),
                "not_installed": list(self.missing),
                "contests": [result.to_json() for result in self.results],
                "targets": [dataclasses.asdict(verdict) for verdict in judge(self.results)],
            },
            indent=2,
        )

    def print_targets(self, console: Console) -> None:
        """Shows what was to be reached."""
        head, *rows = self._targets()
        if rows:
            console.print(_rich_table("Targets", head, rows))

    def _targets(self) -> list[list[str]]:
        """A head and a row for each target."""
        rows = []
        for verdict in judge(self.results):
            mark = _MARKS[verdict.is_met] if verdict.counts else "does not count"
            rows.append([verdict.text, f"{verdict.wanted:.2f}", f"{verdict.found:.2f}", mark])
        return [["target", "wanted", "found", ""], *rows]

    def _facts(self) -> str:
        lines = [f"- {key}: {value}" for key, value in self.machine.items()]
        if self.missing:
            lines.append(f"- not installed, so not compared with: {', '.join(self.missing)}")
        return "\n".join(lines)


def print_result(result: Result, console: Console) -> None:
    """Shows the table of one contest."""
    console.print(_rich_table(result.contest.title, _head(result), _rows(result)))
    console.print(_verdict(result))


def _head(result: Result) -> list[str]:
    columns = ["", "min s", "median s", "cpu s", "GiB/s"]
    columns += [f"x {way}" for way in result.rivals]
    moved = "written" if result.contest.operation == "save" else "read"
    return [*columns, "x limit", "extra MiB", f"{moved} / size"]


def _rows(result: Result) -> Iterator[list[str]]:
    for key, measurement in result.times.items():
        yield [
            key.name,
            f"{measurement.best_seconds:.3f}",
            f"{measurement.median_seconds:.3f}",
            f"{measurement.processor_seconds:.3f}",
            f"{result.speed_gib(key):.2f}",
            *(_ratio(result, key, way) for way in result.rivals),
            f"{result.to_limit(key):.2f}",
            f"{result.extra_bytes(key) / 2**20:.1f}",
            f"{result.moved(key):.2f}",
        ]


def _ratio(result: Result, key: Key, way: str) -> str:
    found = result.to_rival(key, way)
    return "" if found is None else f"{found:.2f}"


def _verdict(result: Result) -> str:
    low, high = CONTROL_RANGE
    said = "This contest counts" if result.counts else "This contest does not count"
    noise = "" if result.others_share <= QUIET_SHARE else " The machine was not quiet."
    return (
        f"{said}: the limit against itself is {result.control:.2f}, wanted {low} to {high}. Other "
        f"processes took {result.others_share:.0%} of the processors.{noise}"
    )


def _markdown_table(head: Sequence[str], *rows: Sequence[str]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return markdown_table(lines)


def _rich_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]] | Iterator) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(head):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*row, style="bold" if row[0].startswith("autodist") else None)
    return table
