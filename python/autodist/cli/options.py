"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

MIB = 1 << 20

_Decorator = Callable[[Callable[..., int]], Callable[..., int]]

threads: _Decorator = click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    help="Threads. 0, the default: one per processor.",
)


def memory(default_bytes: int) -> _Decorator:
    """Returns the option of how much memory blocks of values may take, in MiB."""
    option: Any = click.option(
        "--memory",
        type=click.IntRange(min=1),
        default=default_bytes // MIB,
        show_default=True,
        metavar="MIB",
        help="Memory for values, in MiB.",
    )
    return option  # type: ignore[no-any-return]


drop: _Decorator = click.option(
    "--drop", multiple=True, metavar="GLOB", help="Leave out the variables that GLOB matches."
)


def renaming(command: Callable[..., int]) -> Callable[..., int]:
    """Adds --rename-map and --rename."""
    by_map = click.option(
        "--rename-map",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Rename by a map of old names to new ones, in JSON or YAML.",
    )
    by_expression = click.option(
        "--rename",
        nargs=2,
        multiple=True,
        metavar="REGEX TEXT",
        help="Replace what a regular expression finds in each name, after the map.",
    )
    return by_map(by_expression(command))


def casts(example: str) -> _Decorator:
    """Returns the option of casts; `example` shows how they are given."""
    option: Any = click.option(
        "--cast",
        "casts",
        multiple=True,
        metavar="[GLOB:]FROM=TO",
        help=f"Cast tensors of a float dtype{example}.",
    )
    return option  # type: ignore[no-any-return]
