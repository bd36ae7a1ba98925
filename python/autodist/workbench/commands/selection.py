"""Which variables a command is for: names, or patterns with `*`, `?` and `[...]`."""

from __future__ import annotations

import difflib
import fnmatch
import heapq
import re
from collections.abc import Iterable, Sequence

from autodist._log import names as listed
from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading.checkpoint import Variable

# Names that are compared letter by letter, and their letters: that takes the square of either.
_MOST_COMPARED = 500
_MOST_LETTERS = 500


def select(variables: Sequence[Variable], patterns: Sequence[str]) -> list[Variable]:
    """Returns the variables that a pattern matches, in their order; all without a pattern.

    `*` matches any characters, also `/`. A name that is there matches itself, whatever it holds.

    Raises:
        NotFoundError: A pattern matches none.
    """
    if not patterns:
        return list(variables)
    chosen: set[str] = set()
    every = [variable.name for variable in variables]
    known = set(every)
    for pattern in patterns:
        if pattern in known:
            chosen.add(pattern)
            continue
        matches = re.compile(fnmatch.translate(pattern)).match
        found = [name for name in every if matches(name)]
        if not found:
            raise errors.NotFoundError(_no_variable(pattern, every))
        chosen.update(found)
    return [variable for variable in variables if variable.name in chosen]


def nearest(name: str, names: Iterable[str], most: int = 3) -> list[str]:
    """Returns the names that are most like one; of many names, of those that share most parts."""
    if len(name) > _MOST_LETTERS:
        return []
    candidates = [other for other in names if len(other) <= _MOST_LETTERS]
    if len(candidates) > _MOST_COMPARED:
        parts = set(name.split("/"))
        candidates = heapq.nlargest(
            _MOST_COMPARED, candidates, key=lambda other: len(parts.intersection(other.split("/")))
        )
    return difflib.get_close_matches(name, candidates, most, 0.6)


def _no_variable(pattern: str, names: list[str]) -> str:
    near = nearest(pattern, names)
    text = f"no variable matches {printable(pattern)!r}"
    return f"{text}. Nearest: {listed([printable(name) for name in near])}" if near else text
