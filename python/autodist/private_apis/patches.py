"""Replaces functions of other packages while scopes are open.

Several scopes may be open at a time, in several threads, and end in any order. So an attribute is
always the original function inside the wrappers of all open scopes. A scope that ends removes its
own wrapper and leaves the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

Wrap = Callable[[Any], Any]


@dataclasses.dataclass
class _Patch:
    """An attribute that is replaced.

    Attributes:
      owner: the module or class.
      name: of the attribute.
      original: the attribute before the first scope.
      is_own: whether `owner` has it itself; otherwise one of its base classes does.
      wraps: of the open scopes, the first is innermost.
    """

    owner: Any
    name: str
    original: Any
    is_own: bool
    wraps: list[Wrap] = dataclasses.field(default_factory=list)

    def apply(self) -> None:
        """Sets the attribute."""
        value = self.original
        for wrap in self.wraps:
            value = wrap(value)
        if self.wraps or self.is_own:
            setattr(self.owner, self.name, value)
        else:
            delattr(self.owner, self.name)


_lock = threading.Lock()
_patches: dict[tuple[int, str], _Patch] = {}


@contextlib.contextmanager
def replaced(owner: Any, name: str, wrap: Wrap) -> Iterator[None]:
    """Replaces an attribute until the context is left.

    Args:
      owner: a module or class.
      name: of the attribute.
      wrap: called with what is replaced, None where there is nothing; returns what stands in its
        place. It may be called again at any time.
    """
    key = id(owner), name
    with _lock:
        if key not in _patches:
            own = vars(owner)
            is_own = name in own
            original = own[name] if is_own else getattr(owner, name, None)
            _patches[key] = _Patch(owner, name, original, is_own)
        patch = _patches[key]
        patch.wraps.append(wrap)
        patch.apply()
    try:
        yield
    finally:
        with _lock:
            patch.wraps.remove(wrap)
            patch.apply()
            if not patch.wraps:
                del _patches[key]
