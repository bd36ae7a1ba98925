"""Shows on stderr how far a long command is, where stderr is a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

# A command that is done by then shows nothing.
_SECONDS = 1.0


@contextlib.contextmanager
def shown(title: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many bytes are done; call it often.

    Args:
        title: What is done.
        total_bytes: How many there are.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        bars: list[Callable[[int], None]] = []

        def tell(done_bytes: int) -> None:
            if not bars:
                if time.monotonic() - begin < _SECONDS:
                    return
                bars.append(stack.enter_context(_bar(title, total_bytes)))
            bars[0](done_bytes)

        yield tell


@contextlib.contextmanager
def _bar(title: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total_bytes)
        yield lambda done_bytes: bar.update(task, completed=done_bytes)
