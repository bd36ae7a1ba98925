"""The files of a report: `<name>.md` for people, `<name>.json` for programs."""

from __future__ import annotations

import abc
import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

_RESULTS = Path(__file__).resolve().parents[1] / "results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say where a report goes: `results` and `keep`."""
    parser.add_argument("--results", type=Path, default=_RESULTS, help="of the report")
    parser.add_argument("--keep", action="store_true", help="as the results to be committed")


def name_of(name: str, arguments: argparse.Namespace) -> str:
    """The name of a report's files: `name` for those that are kept, else one that git ignores."""
    return name if arguments.keep else f"{name}.local"


def write_report(directory: Path, name: str, markdown: str, content: str) -> None:
    """Writes both files into a directory, which is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.md").write_text(markdown, encoding="utf-8")
    (directory / f"{name}.json").write_text(content + "\n", encoding="utf-8")


def markdown_table(rows: Iterable[Iterable[str]]) -> str:
    """Returns a Markdown table of these rows; the second has the alignments."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def markdown_list(facts: Mapping[str, str]) -> str:
    """Returns a Markdown list of facts by name."""
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


class WrittenReport(abc.ABC):
    """A report that can be written and shown."""

    @abc.abstractmethod
    def to_markdown(self) -> str:
        """The report as a Markdown document."""

    @abc.abstractmethod
    def to_json(self) -> str:
        """All numbers."""

    def write(self, directory: Path, name: str) -> None:
        """Writes `<name>.md` and `<name>.json`."""
        write_report(directory, name, self.to_markdown(), self.to_json())

    def print(self) -> None:
        """Shows it on the console."""
        Console(width=None if Console().is_terminal else 160).print(Markdown(self.to_markdown()))
