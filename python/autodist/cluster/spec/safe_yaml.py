"""Reads untrusted YAML: plain values only, and no more of them than the file holds.

A few lines of YAML can stand for billions of values (aliases of lists of aliases). A mapping may
have a key twice, and a reader takes the last. Both are errors, as are files that are too large or
nested too deeply.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from autodist import _log
from autodist.errors import ArgumentError

_MOST_BYTES = 1 << 20
_MOST_VALUES = 20_000
_MOST_LEVELS = 32
_MOST_TEXT = 2000


class _Loader(yaml.SafeLoader):
    """A `SafeLoader` that counts the values it composes."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._levels = 0
        # How many values each node stands for, with those that its aliases repeat.
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._levels += 1
        if self._levels > _MOST_LEVELS:
            raise yaml.YAMLError(f"more than {_MOST_LEVELS} levels of lists and mappings")
        node = super().compose_node(parent, index)
        self._levels -= 1
        if id(node) not in self._sizes:
            self._sizes[id(node)] = self._size(node)
        if self._sizes[id(node)] > _MOST_VALUES:
            raise yaml.YAMLError(f"more than {_MOST_VALUES} values")
        return node

    def _size(self, node: Any) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        parts = (
            [part for pair in node.value for part in pair]
            if isinstance(node, yaml.MappingNode)
            else node.value
        )
        # The size of a node is not known yet for an alias inside it.
        if any(id(part) not in self._sizes for part in parts):
            raise yaml.YAMLError("a list or mapping that holds itself")
        return 1 + sum(self._sizes[id(part)] for part in parts)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read(path: str, what: str) -> Any:
    """Reads a YAML file.

    Args:
        path: The file.
        what: What it is, for messages.

    Returns:
        Its value: of dicts, lists, texts, numbers and the like.

    Raises:
        OSError: It cannot be read.
        ArgumentError: It is not YAML, or YAML that nobody would write by hand.
    """
    with Path(path).open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ArgumentError(f"{what} {path!r} is larger than {_MOST_BYTES} bytes")
    try:
        return _Loader(content.decode("utf-8")).get_single_data()
    # Malformed numbers and dates raise plain `ValueError`s. A key may be a list.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ArgumentError(shorten(f"{what} {path!r} is not YAML: {error}")) from error


def shorten(message: str) -> str:
    """Returns a message that can be printed: not too long, without control characters."""
    if len(message) > _MOST_TEXT:
        half = _MOST_TEXT // 2
        message = f"{message[:half]} ... {message[-half:]}"
    return "\n".join(map(_log.printable, message.split("\n")))
