"""What the commands that write have in common: options, progress, errors of files."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import click

from autodist.cli import output, progress
from autodist.cli.options import MIB
from autodist.cli.options import memory as memory_option
from autodist.cli.options import threads as threads_option
from autodist.workbench import errors
from autodist.workbench.writing.copying import Progress
from autodist.workbench.writing.stored import Limits


def options(command: Callable[..., int]) -> Callable[..., int]:
    """Adds --overwrite, --threads, --memory and --json; gives the command `limits` for two of them.

    An error of a file becomes one line, and the exit code 2.
    """

    @functools.wraps(command)
    def with_limits(*args: Any, threads: int, memory: int, **named: Any) -> int:
        limits = Limits(threads or os.cpu_count() or 1, memory * MIB)
        with file_errors():
            return command(*args, limits=limits, **named)

    decorators: list[Callable[[Callable[..., int]], Callable[..., int]]] = [
        click.option(
            "--overwrite", is_flag=True, help="Replace what is there, once all is written."
        ),
        threads_option,
        memory_option(Limits().memory_bytes),
        output.json_option,
    ]
    decorated = with_limits
    for decorator in reversed(decorators):
        decorated = decorator(decorated)
    return decorated


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Turns what the system says of a file into an error of the workbench."""
    try:
        yield
    except errors.AutoDistError:
        raise
    except OSError as error:
        path = f" {os.fsdecode(error.filename)!r}" if error.filename else ""
        raise errors.UnreadableError(f"{error.strerror or error}{path}") from error
    except MemoryError as error:
        raise errors.UnreadableError("there is not enough memory") from error


@contextlib.contextmanager
def shown(title: str) -> Iterator[Progress]:
    """Gives the progress of a command, whose bytes are known once it has planned."""
    with contextlib.ExitStack() as stack:
        bars: list[Callable[[int], None]] = []

        def tell(done_bytes: int, total_bytes: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress.shown(title, total_bytes)))
            bars[0](done_bytes)

        yield tell


def as_json(report: Any) -> dict[str, Any]:
    """Returns a report as JSON has it: an object with its attributes."""
    return dataclasses.asdict(report)
