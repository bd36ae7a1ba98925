"""The files of a report: `<name>.md` for people, `<name>.json` for programs."""

from __future__ import annotations

import abc
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown


def write_report(directory: Path, name: str, markdown: str, content: str) -> None:
    """Writes both files into a directory, which is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.md").write_text(markdown, encoding="utf-8")
    (directory / f"{name}.json").write_text(content + "\n", encoding="utf-8")


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
