"""How commands print: tables, JSON, and errors in one line."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from autodist._log import printable


class ClosedPipeError(Exception):
    """Who reads the output has closed it. Not an `OSError`, of which click makes exit code 1."""


class OutputError(Exception):
    """The output cannot be written. Not an `OSError`, which commands take for one of their files."""


def open_closed_streams() -> None:
    """Lets nobody read what a process without stdout or stderr prints; its exit code is the answer."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115


def give_up() -> None:
    """Drops what stdout cannot take; the interpreter would flush it once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
patterns_argument = click.argument("patterns", nargs=-1, metavar="[NAME]...")


def write(text: str = "") -> None:
    """Prints a line; names in it must be printable already."""
    # A name that is not UTF-8 stays the bytes it was.
    data = (text + "\n").encode("utf-8", "surrogateescape")
    with _output_errors():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)


def flush() -> None:
    """Writes what is buffered."""
    with _output_errors():
        sys.stdout.flush()


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ClosedPipeError from error
    except OSError as error:
        raise OutputError(error.strerror or str(error)) from error


def write_json(data: Any) -> None:
    """Prints a value as JSON. Numbers that JSON lacks become 'NaN', 'Infinity' and '-Infinity'."""
    write(json.dumps(_finite(data), indent=2, ensure_ascii=True, allow_nan=False))


def write_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()
) -> None:
    """Prints columns.

    Args:
        headings: Of the columns.
        rows: The cells of each row.
        right: The columns that are aligned to the right.
    """
    cells = [list(headings), *([printable(cell) for cell in row] for row in rows)]
    is_plain = all("".join(row).isascii() for row in cells)
    widths = [max(map(len if is_plain else _width, column)) for column in zip(*cells, strict=True)]
    # The last column needs no padding on the right.
    formats = [
        f"{{:>{width}}}" if column in right else f"{{:<{width}}}"
        for column, width in enumerate(widths)
    ]
    line = "  ".join(formats)
    write(
        "\n".join(
            (line.format(*row) if is_plain else _padded(row, widths, right)).rstrip()
            for row in cells
        )
    )


def write_error(message: str, error: click.ClickException | None = None) -> None:
    """Prints an error to stderr."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "autodist"
    hint = f" Try '{command} --help'." if context else ""
    with contextlib.suppress(OSError):  # The exit code tells, too.
        print(f"{command}: {printable(message.rstrip('.'))}.{hint}", file=sys.stderr)
        sys.stderr.flush()


def shape_text(shape: Sequence[int]) -> str:
    """Returns a shape as `[3, 4]`."""
    return f"[{', '.join(map(str, shape))}]"


def number_text(number: float) -> str:
    """Returns a number with six digits, an integer with all of them."""
    return str(number) if isinstance(number, int) else f"{number:.6g}"


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def _padded(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    """A line of cells whose characters are not one column wide each, which formats misjudge."""
    padded = []
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        space = " " * (width - _width(cell))
        padded.append(space + cell if column in right else cell + space)
    return "  ".join(padded)


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
