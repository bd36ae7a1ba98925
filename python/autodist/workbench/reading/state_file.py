"""Reads a state file (`checkpoint`): which checkpoints a directory has, and the latest.

It is a `CheckpointState` as text. This reads the two fields that name checkpoints, and skips lines
of others.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.storage import places

NAME = "checkpoint"
_MOST_BYTES = 64 << 20
_LINE = re.compile(
    r'\s*(\w+)\s*:\s*(?:"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|[-+.\w]+)\s*[,;]?'
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_CHARACTERS = {
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"v": b"\v",
}


class State(NamedTuple):
    """What a state file says.

    Attributes:
        path: The file.
        latest: The prefix of the latest checkpoint; `''` if it names none.
        kept: The prefixes of all that are kept, oldest first.
    """

    path: str
    latest: str
    kept: tuple[str, ...]


def read(directory: str, name: str = NAME) -> State:
    """Reads the state file of a directory. Prefixes in it are relative to the directory.

    Raises:
        NotFoundError: There is none.
        DamagedError: It is not a state file.
    """
    path = places.join(directory, name)
    data = places.read_whole(path, _MOST_BYTES)
    latest, kept, at = "", [], 0
    text = data.decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        at = 0
        rest = line.strip()
        while at < len(rest) and not rest[at:].lstrip().startswith("#") and rest[at:].strip():
            found = _LINE.match(rest, at)
            if found is None:
                raise errors.DamagedError(
                    f"{printable(path)!r} is not a state file: line {number} cannot be read"
                )
            at = found.end()
            value = _unescape(
                found.group(2) if found.group(2) is not None else found.group(3) or ""
            )
            if found.group(1) == "model_checkpoint_path":
                latest = places.join(directory, value)
            elif found.group(1) == "all_model_checkpoint_paths":
                kept.append(places.join(directory, value))
    if not latest and not kept:
        raise errors.DamagedError(f"{printable(path)!r} names no checkpoint")
    return State(path, latest, tuple(kept))


def _unescape(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape")

    def byte(found: re.Match[bytes]) -> bytes:
        octal, digits, other = found.groups()
        if other is not None:
            return _CHARACTERS.get(other, other)
        return bytes([int(octal, 8) & 0xFF if octal else int(digits, 16)])

    return _ESCAPE.sub(byte, raw).decode("utf-8", "surrogateescape")
