"""What the demo shows on the terminal: one line per step, with its progress while it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

Item = TypeVar("Item")

# Where the output is no terminal, its width is not known.
_PLAIN_WIDTH = 118


class Step:
    """One step that is running."""

    def __init__(self, progress: Progress, text: str) -> None:
        self._progress = progress
        self._task = progress.add_task(text, total=None)

    def track(self, items: Iterable[Item], count: int) -> Iterator[Item]:
        """Yields `items` and moves the bar.

        Args:
            items: what to yield.
            count: how many there are.
        """
        self._progress.update(self._task, total=count, completed=0)
        for item in items:
            yield item
            self._progress.advance(self._task)


class Narrator:
    """Tells what the demo does."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._console = (
            console if console.is_terminal else Console(width=_PLAIN_WIDTH, highlight=False)
        )

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[Step]:
        """Shows a step while it runs, and one line with its time when it is done."""
        begin = time.perf_counter()
        if not self._console.is_terminal:
            self._console.print(f"  … {text}")
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(10))
        with Progress(
            *columns,
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        ) as progress:
            yield Step(progress, text)
        seconds = time.perf_counter() - begin
        self._console.print(f"  [green]✓[/] {text} [dim]({seconds:.1f} s)[/]")

    def heading(self, text: str) -> None:
        """Begins a part."""
        self._console.print(f"\n[bold]{text}[/]")

    def line(self, text: str) -> None:
        """Shows one line."""
        self._console.print(f"  {text}", soft_wrap=True)

    def paragraph(self, text: str) -> None:
        """Shows some lines of prose."""
        self._console.print(Padding(text, (0, 2)))

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """Shows a table whose first column is text and whose others are numbers."""
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left", no_wrap=index == 0)
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(table)
