"""Which tensors a command takes, and under which names it writes them."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autodist.workbench.errors import ArgumentError

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MOST_MAP_BYTES = 256 << 20


@dataclass(frozen=True)
class NameRules:
    """Drops, then renames by the map, then by each regular expression in turn."""

    drop: Sequence[str] = ()  # globs
    name_map: Mapping[str, str] = field(default_factory=dict)
    substitutions: Sequence[tuple[str, str]] = ()  # as re.sub takes them

    def apply(self, names: Iterable[str]) -> dict[str, str]:
        """Returns the new name of each name that stays, in the order of `names`.

        Raises:
            ArgumentError: a rule takes no name, two names become one, or a name that is left out
                or renamed is one that the object graph of TensorFlow 2 refers to.
        """
        names = list(names)
        self._refuse_rules_without_names(names)
        expressions = [(_compiled(pattern), text) for pattern, text in self.substitutions]
        renamed: dict[str, str] = {}
        taken: dict[str, str] = {}
        for name in names:
            if any(fnmatch.fnmatchcase(name, glob) for glob in self.drop):
                continue
            new = self.name_map.get(name, name)
            for expression, text in expressions:
                new = _substituted(expression, text, new)
            _refuse_bad_name(name, new)
            if new in taken:
                raise ArgumentError(
                    f"tensors {taken[new]!r} and {name!r} would both be named {new!r}"
                )
            taken[new] = name
            renamed[name] = new
        _refuse_broken_object_graph(names, renamed)
        return renamed

    def _refuse_rules_without_names(self, names: Sequence[str]) -> None:
        for glob in self.drop:
            if not any(fnmatch.fnmatchcase(name, glob) for name in names):
                raise ArgumentError(f"--drop {glob!r} matches no variable")
        known = set(names)
        for name in self.name_map:
            if name not in known:
                raise ArgumentError(f"the map renames {name!r}, which is not in the checkpoint")


def read_name_map(path: Path) -> dict[str, str]:
    """Reads a map of names, old to new, from a JSON or YAML file.

    Raises:
        ArgumentError: it is not a map of texts.
        OSError: it cannot be read.
    """
    if path.stat().st_size > _MOST_MAP_BYTES:
        raise ArgumentError(f"{path} is larger than {_MOST_MAP_BYTES} bytes")
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            loaded = json.loads(text)
        else:
            import yaml

            loaded = yaml.safe_load(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path} is no map of names: {error}") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        raise ArgumentError(f"{path} is no map of names: {error}") from None
    if not isinstance(loaded, dict) or not all(
        isinstance(old, str) and isinstance(new, str) for old, new in loaded.items()
    ):
        raise ArgumentError(f"{path} is no map of names: expected {{old name: new name, ...}}")
    return loaded


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"{pattern!r} is no regular expression: {error}") from None


def _substituted(expression: re.Pattern[str], text: str, name: str) -> str:
    try:
        return expression.sub(text, name)
    except (re.error, IndexError) as error:
        raise ArgumentError(f"the replacement {text!r}: {error}") from None


def _refuse_bad_name(old: str, new: str) -> None:
    if not new:
        raise ArgumentError(f"tensor {old!r} would have no name")
    if new.startswith("\0"):
        raise ArgumentError(
            f"tensor {old!r} would be named {new!r}: names that begin with 0x00 are those of slices"
        )


def _refuse_broken_object_graph(names: Sequence[str], renamed: Mapping[str, str]) -> None:
    if OBJECT_GRAPH not in renamed:
        return
    changed = [name for name in names if renamed.get(name) != name]
    if changed:
        raise ArgumentError(
            f"the checkpoint is one of objects (tf.train.Checkpoint): its entry {OBJECT_GRAPH!r} "
            f"refers to {changed[0]!r} and the others by name. Leave it out, too: --drop "
            f"{OBJECT_GRAPH}"
        )
