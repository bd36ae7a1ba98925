"""Checks what the packages of cc/ include. A package is a folder of cc/, such as cc/core.

A package, and a folder in a package, includes only those below it. No two headers define types of
one name: all are in one namespace, and a library that had both would mix them up without a word.

`make lint` runs it.

    python bazel-free-build/check_includes.py

Prints every include that points up or sideways, every circle of headers, and every name of several
types. If there are any, it exits with code 1.
"""

from __future__ import annotations

import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

_CC = Path(__file__).resolve().parent.parent / "cc"
_INCLUDE = re.compile(r'^#include (?:"|<)([^">]+)[">]', re.MULTILINE)
# A type in a namespace: it begins its line.
_TYPE = re.compile(r"^(?:struct|class|enum class) (\w+)[^;(]*\{", re.MULTILINE)

# The packages that a package may include, besides itself.
_BELOW_SAVE = (
    "core",
    "versions",
    "tables",
    "system_memory",
    "threads",
    "storage",
    "format",
    "images",
    "accelerators",
)
_CONNECTED = ("sockets", "barrier", "streams")
_ALLOWED: dict[str, tuple[str, ...]] = {
    "core": (),
    "versions": (),
    "tables": ("core",),
    "system_memory": ("core",),
    "threads": ("core",),
    "storage": ("core", "versions", "threads"),
    "format": ("core", "versions", "tables", "threads", "storage"),
    "images": ("core", "system_memory"),
    "accelerators": ("core", "versions", "threads", "images"),
    "sockets": ("core", "storage"),
    "barrier": ("core", "threads", "storage", "sockets"),
    "streams": ("core", "threads", "storage", "format", "sockets"),
    "save": _BELOW_SAVE,
    "restore": _BELOW_SAVE,
    "tests": (*_BELOW_SAVE, "save", "restore"),
    "fuzz": (*_BELOW_SAVE, "save", "restore"),
    "sessions": (*_BELOW_SAVE, *_CONNECTED, "save", "restore"),
    "passes": ("core",),
    "ops": (*_BELOW_SAVE, *_CONNECTED, "save", "restore", "sessions"),
    "python": (*_BELOW_SAVE, *_CONNECTED, "save", "restore", "sessions", "ops"),
}
# The folders of a package, from the lowest up. "." stands for the files beside them. Tests may
# include any.
_FOLDERS: dict[str, tuple[str, ...]] = {
    "core": (".", "boxes", "planning", "reduction", "figures"),
    "format": ("index", "values", "reader"),
    "ops": (".", "replicas", "streams", "save", "restore"),
    "save": ("plan", "data", "commit", "."),
    "storage": (".", "posix", "directory"),
    "tables": (".", "bytes", "table", "bundle", "saved_slices", "sums", "graph", "writing"),
}
# The libraries that only some packages may include, by the first part of the path of their headers.
_LIBRARIES = {
    "tensorflow": set(_ALLOWED) - {"core", "tables"},
    "xla": set(_ALLOWED) - {"core", "tables"},
    "tsl": set(_ALLOWED) - {"core", "tables"},
    "absl": set(_ALLOWED) - {"core", "tables"},
    "pybind11": {"python"},
}


def main() -> int:
    """Returns the exit code of the process: 1 if an include is not allowed."""
    problems = []
    headers: dict[str, set[str]] = {}
    types: dict[str, list[str]] = {}
    for path in sorted([*_CC.rglob("*.h"), *_CC.rglob("*.cc")]):
        name = path.relative_to(_CC).as_posix()
        package = name.split("/", maxsplit=1)[0]
        if package not in _ALLOWED:
            problems.append(f"cc/{name}: add the package '{package}' to {Path(__file__).name}")
            continue
        text = path.read_text()
        includes = _INCLUDE.findall(text)
        problems += [
            f"cc/{name} includes '{include}': cc/{package} must not"
            for include in includes
            if not _is_allowed(package, include)
        ]
        problems += [
            f"cc/{name} includes '{include}': cc/{package}/{_folder(name)} must not"
            for include in includes
            if not _points_down(name, include)
        ]
        if path.suffix == ".h":
            headers[name] = set(includes)
            if "namespace autodist {" in text:
                for defined in set(_TYPE.findall(text)):
                    types.setdefault(defined, []).append(f"cc/{name}")
    problems += [
        f"the type {defined} is defined in {' and in '.join(places)}"
        for defined, places in types.items()
        if len(places) > 1
    ]
    try:
        TopologicalSorter(headers).prepare()
    except CycleError as circle:
        problems.append("headers include each other: " + " -> ".join(circle.args[1]))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _is_allowed(package: str, include: str) -> bool:
    first = include.split("/", maxsplit=1)[0]
    if first in _ALLOWED:
        return first == package or first in _ALLOWED[package]
    return first not in _LIBRARIES or package in _LIBRARIES[first]


def _folder(name: str) -> str:
    """Returns the folder of its package that a file is in; "." for a file that is in none."""
    parts = name.split("/")
    return parts[1] if len(parts) > 2 else "."


def _points_down(name: str, include: str) -> bool:
    """Returns whether an include goes to no higher folder; true if it leaves the package."""
    package = name.split("/", maxsplit=1)[0]
    if not include.startswith(f"{package}/") or package not in _FOLDERS:
        return True
    if "testing" in name or name.endswith("_test.cc"):
        return True
    folders = _FOLDERS[package]
    source, target = _folder(name), _folder(include)
    if source not in folders or target not in folders:
        return False
    return folders.index(target) <= folders.index(source)


if __name__ == "__main__":
    sys.exit(main())
