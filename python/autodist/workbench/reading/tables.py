"""The module `_tables`, and its errors as those of the workbench."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator
from types import ModuleType

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import other_files
from autodist.workbench.storage import places


@functools.cache
def module() -> ModuleType:
    """The module `_tables`, which has no source for those who follow imports."""
    return importlib.import_module("autodist._tables")


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns what `_tables` raises into errors that name a file.

    Args:
        path: The file.
    """
    try:
        with places.translated(path):
            yield
    except module().DamagedError as error:
        kind = other_files.known_as(path)
        raise errors.DamagedError(f"{printable(path)!r} is damaged: {error}{kind}") from error
    except module().UnsupportedError as error:
        raise errors.UnsupportedError(f"{printable(path)!r} is {error}") from error
