"""Checks that each room of cc/, and each folder in a room, includes only those below it.

`make lint` runs it.

    python bazel-free-build/check_includes.py

Prints every include that points up or sideways, and every circle of headers; then ends with 1.
"""

from __future__ import annotations

import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

_CC = Path(__file__).resolve().parent.parent / "cc"
_INCLUDE = re.compile(r'^#include (?:"|<)([^">]+)[">]', re.MULTILINE)

# The rooms that a room may include, besides itself.
_BELOW_SAVE = ("core", "threads", "storage", "format")
_ALLOWED: dict[str, tuple[str, ...]] = {
    "core": (),
    "threads": ("core",),
    "storage": ("core", "threads"),
    "format": ("core", "threads", "storage"),
    "save": _BELOW_SAVE,
    "restore": _BELOW_SAVE,
    "tests": (*_BELOW_SAVE, "save", "restore"),
    "fuzz": (*_BELOW_SAVE, "save", "restore"),
    "sessions": (*_BELOW_SAVE, "save", "restore"),
    "passes": ("core",),
    "ops": (*_BELOW_SAVE, "save", "restore", "sessions"),
    "python": (*_BELOW_SAVE, "save", "restore", "ops"),
}
# The folders of a room, from the lowest up. "." stands for the files beside them. Tests may include
# any.
_FOLDERS: dict[str, tuple[str, ...]] = {
    "core": (".", "boxes", "planning", "reduction"),
    "format": ("index", "values", "reader"),
    "ops": (".", "replicas", "save", "restore"),
    "save": ("plan", "data", "commit", "."),
    "storage": (".", "posix", "directory"),
}
# The libraries that only some rooms know, by the first part of the path of their headers.
_LIBRARIES = {
    "tensorflow": set(_ALLOWED) - {"core"},
    "xla": set(_ALLOWED) - {"core"},
    "tsl": set(_ALLOWED) - {"core"},
    "absl": set(_ALLOWED) - {"core"},
    "pybind11": {"python"},
}


def main() -> int:
    """The number of the process's end: 1 when an include is not allowed."""
    problems = []
    headers: dict[str, set[str]] = {}
    for path in sorted([*_CC.rglob("*.h"), *_CC.rglob("*.cc")]):
        name = path.relative_to(_CC).as_posix()
        room = name.split("/", maxsplit=1)[0]
        if room not in _ALLOWED:
            problems.append(f"cc/{name}: add the room '{room}' to {Path(__file__).name}")
            continue
        includes = _INCLUDE.findall(path.read_text())
        problems += [
            f"cc/{name} includes '{include}': cc/{room} must not"
            for include in includes
            if not _is_allowed(room, include)
        ]
        problems += [
            f"cc/{name} includes '{include}': cc/{room}/{_folder(name)} must not"
            for include in includes
            if not _points_down(name, include)
        ]
        if path.suffix == ".h":
            headers[name] = set(includes)
    try:
        TopologicalSorter(headers).prepare()
    except CycleError as circle:
        problems.append("headers include each other: " + " -> ".join(circle.args[1]))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _is_allowed(room: str, include: str) -> bool:
    first = include.split("/", maxsplit=1)[0]
    if first in _ALLOWED:
        return first == room or first in _ALLOWED[room]
    return first not in _LIBRARIES or room in _LIBRARIES[first]


def _folder(name: str) -> str:
    """The folder of its room that a file is in; "." for a file that is in none."""
    parts = name.split("/")
    return parts[1] if len(parts) > 2 else "."


def _points_down(name: str, include: str) -> bool:
    """Whether an include of a file of the same room goes to the same folder or to a lower one."""
    room = name.split("/", maxsplit=1)[0]
    if not include.startswith(f"{room}/") or room not in _FOLDERS:
        return True
    if "testing" in name or name.endswith("_test.cc"):
        return True
    folders = _FOLDERS[room]
    source, target = _folder(name), _folder(include)
    if source not in folders or target not in folders:
        return False
    return folders.index(target) <= folders.index(source)


if __name__ == "__main__":
    sys.exit(main())
