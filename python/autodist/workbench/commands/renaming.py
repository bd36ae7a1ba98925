r"""Finds one regular expression that turns the names of a graph into those of a checkpoint.

Each pair of a missing name and one that is like it suggests a change: what is left of both without
their common beginning and end, at whole parts between slashes where possible.

    model/dense/kernel                  encoder/layer_0/w:0
    net/dense/kernel                    encoder/layer_0/w
    model(.*) -> net\g<1>              (.*):0 -> \g<1>

A change is a rule if it leads from every missing name to one of the checkpoint, none twice.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Names that are looked at for suggestions.
_MOST_NAMES = 20
# Names that each rule is tried on, and how many of the best rules are tried on all.
_MOST_TRIED = 200
_MOST_RULES = 10


class Rule(NamedTuple):
    """A renaming, as `RestoreOptions(name_map=[(pattern, replacement)])` takes it.

    Attributes:
        pattern: A regular expression of the graph's whole name.
        replacement: The name in the checkpoint, with groups of the pattern.
        found: How many names it finds.
    """

    pattern: str
    replacement: str
    found: int


def find(
    missing: Sequence[str],
    unused: Sequence[str],
    near: Callable[[str], Sequence[str]],
    fits: Callable[[str, str], bool],
) -> Rule | None:
    """Returns the rule that finds the most of the missing names; `None` if none finds two or all.

    Args:
        missing: Names that the graph wants and the checkpoint does not have.
        unused: Names of the checkpoint that nobody wants.
        near: Names that are like one, the nearest first.
        fits: Whether the second, a name of the checkpoint, may stand for the first: of equal dtype
            and shape.
    """
    known = set(unused)

    def tried_on(names: Sequence[str], pattern: str, replacement: str) -> Rule:
        matches = ((name, re.fullmatch(pattern, name, re.DOTALL)) for name in names)
        renamed = ((name, match.expand(replacement)) for name, match in matches if match)
        found = [other for name, other in renamed if other in known and fits(name, other)]
        # A rule that leads from two names to one is none.
        return Rule(pattern, replacement, len(found) if len(set(found)) == len(found) else 0)

    rules = [(pattern, replacement) for pattern, replacement in _suggestions(missing, unused, near)]
    if len(rules) * len(missing) > _MOST_RULES * _MOST_TRIED:
        some = missing[:: -(-len(missing) // _MOST_TRIED)]
        first = sorted((tried_on(some, *rule) for rule in rules), key=lambda rule: -rule.found)
        rules = [(rule.pattern, rule.replacement) for rule in first[:_MOST_RULES]]
    best = max((tried_on(missing, *rule) for rule in rules), key=lambda r: r.found, default=None)
    if best is None or not best.found or (best.found < len(missing) and best.found < 2):
        return None
    return best


def _suggestions(
    missing: Sequence[str], unused: Sequence[str], near: Callable[[str], Sequence[str]]
) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    split = [(other.split("/"), other) for other in unused]
    for name in missing[:_MOST_NAMES]:
        parts = name.split("/")
        like = (
            (other for split_other, other in split if _differ_in_one_part(parts, split_other)),
            (other for other in unused if other.endswith("/" + name)),
            (other for other in unused if name.endswith("/" + other)),
            (other for other in unused if other.startswith(name)),
        )
        first = (itertools.islice(group, 2) for group in like)
        others = [*near(name), *itertools.chain.from_iterable(first)]
        for other in others:
            for rule in _changes(name, other):
                found.setdefault(rule)
    return list(found)


def _differ_in_one_part(parts: list[str], others: list[str]) -> bool:
    if len(parts) != len(others) or len(parts) < 2:
        return False
    return sum(part != other for part, other in zip(parts, others, strict=True)) == 1


def _changes(name: str, other: str) -> list[tuple[str, str]]:
    """What turns one name into the other, the most general first."""
    begin = _common_begin(name, other)
    end = _common_begin(name[len(begin) :][::-1], other[len(begin) :][::-1])[::-1]
    old = name[len(begin) : len(name) - len(end)]
    new = other[len(begin) : len(other) - len(end)]
    changes = [_anchored(begin, end, old, new)]
    # The same at whole parts of the names.
    whole_begin = begin[: begin.rfind("/") + 1]
    whole_end = end[end.find("/") :] if "/" in end else ""
    changes.append(
        _anchored(
            whole_begin,
            whole_end,
            name[len(whole_begin) : len(name) - len(whole_end)],
            other[len(whole_begin) : len(other) - len(whole_end)],
        )
    )
    return [change for change in changes if change is not None]


def _anchored(begin: str, end: str, old: str, new: str) -> tuple[str, str] | None:
    literal, replacement = re.escape(old), new.replace("\\", r"\\")
    if not begin:
        return f"{literal}(.*)", rf"{replacement}\g<1>"
    if not end:
        return f"(.*){literal}", rf"\g<1>{replacement}"
    return (f"(.*?){literal}(.*)", rf"\g<1>{replacement}\g<2>") if old else None


def _common_begin(a: str, b: str) -> str:
    count = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    return a[:count] if count is not None else min(a, b, key=len)
