"""Shows the progress of a save or restore: as a bar on a terminal, else as lines of the log."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Protocol, TextIO

from autodist import _log

_LOGGER = _log.get_logger()

# A line is logged after so many seconds or percent, whichever comes first.
_LINE_SECONDS = 30.0
_LINE_PERCENT = 10


class Display(Protocol):
    """Shows the progress.

    Attributes:
        interval: The time between two calls of `show`, in seconds.
    """

    interval: float

    def show(self, done: int, total: int, seconds: float) -> None:
        """Shows how far it is.

        Args:
            done: Bytes that are done.
            total: All bytes; 0 before that is known.
            seconds: How long it has taken so far.
        """

    def close(self) -> None:
        """Removes a bar from the terminal; may be called again."""


def make(prefix: str, *, is_save: bool) -> Display:
    """Returns a bar where the lines of the log go to a terminal, else lines.

    Args:
        prefix: The checkpoint's prefix.
        is_save: Whether it is a save, or a restore.
    """
    stream = _log.terminal()
    if stream is not None:
        console = _console(stream)
        # A terminal that can only add lines (`TERM=dumb`) gets lines.
        if console.is_interactive:
            return _Bar(console, prefix, is_save=is_save)
    return _Lines(prefix, is_save=is_save)


class _Lines:
    """Shows the progress as lines of the log."""

    interval = 1.0

    def __init__(self, prefix: str, *, is_save: bool) -> None:
        self._prefix = prefix
        self._verb = _verb(is_save=is_save)
        self._is_save = is_save
        self._tenth = -1
        self._next = 0.0

    def show(self, done: int, total: int, seconds: float) -> None:
        tenth = 100 * done // (_LINE_PERCENT * total) if total else -1
        # If the save begins again, the tenth falls back, which gives a line, too.
        if tenth == self._tenth and seconds < self._next:
            return
        self._tenth, self._next = tenth, seconds + _LINE_SECONDS
        figures = _figures(done, total, seconds, is_save=self._is_save)
        _LOGGER.info("%s %s: %s", self._verb, self._prefix, figures)

    def close(self) -> None:
        pass


class _Bar:
    """Shows the progress as a bar in the last line of a terminal."""

    interval = 0.25

    def __init__(self, console: Any, prefix: str, *, is_save: bool) -> None:
        from rich import progress

        self._is_save = is_save
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=True,
            # Without a thread of rich's, and without replacing `sys.stdout`.
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        name = _log.printable(PurePath(prefix).name)
        self._task = self._bar.add_task(f"{_verb(is_save=is_save)} {name}", total=None, figures="")
        self._is_open = False

    def show(self, done: int, total: int, seconds: float) -> None:
        figures = _figures(done, total, seconds, is_save=self._is_save)
        self._bar.update(self._task, completed=done, total=total or None, figures=figures)
        if not self._is_open:
            self._is_open = True
            self._bar.start()
        self._bar.refresh()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._bar.stop()


def _verb(*, is_save: bool) -> str:
    return "saving" if is_save else "restoring"


def _figures(done: int, total: int, seconds: float, *, is_save: bool) -> str:
    """Returns the progress as `1.20 GiB of 12.00 GiB (10 %) in 4 s, 0.30 GiB/s`."""
    elapsed = f"{seconds:.0f} s"
    if not total:
        return f"{elapsed} so far"
    if not done:
        return f"{_log.size(total)}, {elapsed} so far"
    text = f"{_log.size(done)} of {_log.size(total)} ({100 * done // total} %) in {elapsed}"
    if done < total:
        return f"{text}, {_log.speed(done, seconds)}"
    return f"{text}, waiting for the disk" if is_save else text


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    class VisibleCursor(Console):
        """Never hides the cursor: a killed program would not show it again."""

        def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002 the base class's signature
            return False

    return VisibleCursor(file=stream)
