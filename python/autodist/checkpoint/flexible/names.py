"""Under which name of the checkpoint each variable is read.

mapped({"emb": "old/emb"}, shapes, stored) -> {"emb": "old/emb", "emb/Adam": "old/emb/Adam",
                                               "bias": "bias"}
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from autodist import errors

Shapes = Mapping[str, tuple[int, ...] | None]
"""The shape of each variable by the saver's name; `None` if it is not known."""


def is_slot_of(name: str, owner: str, shapes: Shapes) -> bool:
    """Tells whether a variable is a slot of another: it is named after it and has its shape.

    Args:
        name: Its name.
        owner: The name of the other.
        shapes: The shapes of all variables.
    """
    shape = shapes.get(name)
    return name.startswith(owner + "/") and shape is not None and shape == shapes.get(owner)


def owner_of(name: str, owners: Collection[str], shapes: Shapes) -> str | None:
    """Returns which of some variables another is a slot of; the longest name counts.

    Args:
        name: Its name.
        owners: The names of some variables.
        shapes: The shapes of all variables.
    """
    parts = name.split("/")
    for count in range(len(parts) - 1, 0, -1):
        owner = "/".join(parts[:count])
        if owner in owners and is_slot_of(name, owner, shapes):
            return owner
    return None


def mapped(name_map: Any, shapes: Shapes, stored: Collection[str], what: str) -> dict[str, str]:
    """Returns the name in the checkpoint for each variable.

    Args:
        name_map: As in `RestoreOptions`.
        shapes: The shapes of all variables.
        stored: The names in the checkpoint.
        what: The checkpoint, for messages.

    Raises:
        ArgumentError: An entry matches no variable, two match one differently, two variables would
            read one tensor, or a tensor that is named is not in the checkpoint.
        ArgumentTypeError: A callable returned something else than a name.
    """
    if name_map is None:
        return {name: name for name in shapes}
    if callable(name_map):
        found = {name: _called(name_map, name) for name in shapes}
    elif isinstance(name_map, Mapping):
        found = _by_dict(name_map, shapes, stored, what)
    else:
        found = _by_patterns(name_map, shapes)
    _check_own_names(found, stored, what)
    check_different(found, name_map)
    return found


def nearest(name: str, others: Collection[str]) -> str:
    """Returns the names that are most similar to one, as text for a message."""
    near = difflib.get_close_matches(name, list(others), n=3, cutoff=0.4)
    return f"nearest are {', '.join(map(repr, near))}" if near else "no name is like it"


def _called(name_map: Callable[[str], Any], name: str) -> str:
    result = name_map(name)
    if result is None:
        return name
    if not isinstance(result, str):
        raise errors.ArgumentTypeError(
            f"name_map: for {name!r} the callable returned {result!r}; it must return a str, or "
            "None for the same name"
        )
    return result


def _by_dict(
    name_map: Mapping[str, str], shapes: Shapes, stored: Collection[str], what: str
) -> dict[str, str]:
    for name, target in name_map.items():
        if name not in shapes:
            raise errors.ArgumentError(
                f"name_map: this Saver restores no variable {name!r}; {nearest(name, shapes)}"
            )
        if target not in stored:
            raise errors.ArgumentError(
                f"name_map: {name!r} is to be read from {target!r}, which {what} does not have; "
                f"{nearest(target, stored)}"
            )
    found = {}
    for name in shapes:
        owner = None if name in name_map else owner_of(name, name_map, shapes)
        follows = "" if owner is None else name_map[owner] + name[len(owner) :]
        found[name] = follows or name_map.get(name, name)
    return found


def _by_patterns(patterns: Sequence[tuple[str, str]], shapes: Shapes) -> dict[str, str]:
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in patterns]
    unused = [pattern for pattern, _ in patterns]
    found = {}
    for name in shapes:
        targets = {}
        for pattern, replacement in compiled:
            match = pattern.fullmatch(name)
            if match is not None:
                targets[_expanded(match, replacement)] = pattern.pattern
                unused = [each for each in unused if each != pattern.pattern]
        if len(targets) > 1:
            said = " and ".join(f"{target!r} by {by!r}" for target, by in targets.items())
            raise errors.ArgumentError(
                f"name_map is ambiguous: {name!r} becomes {said}. Let one pattern match it"
            )
        found[name] = next(iter(targets), name)
    if unused:
        raise errors.ArgumentError(
            f"name_map: no variable of this Saver matches {', '.join(map(repr, unused))} as a "
            f"whole; the names are like {', '.join(map(repr, list(shapes)[:3]))}"
        )
    return found


def _expanded(match: re.Match[str], replacement: str) -> str:
    try:
        return match.expand(replacement)
    except (re.error, IndexError) as error:
        raise errors.ArgumentError(
            f"name_map: the replacement {replacement!r} does not fit {match.re.pattern!r}: {error}"
        ) from error


def _check_own_names(found: Mapping[str, str], stored: Collection[str], what: str) -> None:
    """Refuses a new name that is missing if the variable's own name is there."""
    for name, target in found.items():
        if target != name and target not in stored and name in stored:
            raise errors.ArgumentError(
                f"name_map is ambiguous: {name!r} is to be read from {target!r}, which {what} does "
                f"not have, but it has {name!r}. Leave {name!r} out of name_map"
            )


def check_different(found: Mapping[str, str], name_map: Any) -> None:
    """Refuses two variables of one tensor, unless a dict names both.

    Args:
        found: The name in the checkpoint for each variable.
        name_map: As in `RestoreOptions`.

    Raises:
        ArgumentError: Two variables would read one tensor.
    """
    named = name_map if isinstance(name_map, Mapping) else ()
    first: dict[str, str] = {}
    for name, target in found.items():
        other = first.setdefault(target, name)
        if other != name and not (other in named and name in named):
            raise errors.ArgumentError(
                f"name_map is ambiguous: {other!r} and {name!r} would both be read from "
                f"{target!r}. If that is meant, name both in a dict"
            )
