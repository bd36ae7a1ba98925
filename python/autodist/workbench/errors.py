"""The errors of the workbench. The command line prints them in one line."""

from __future__ import annotations

from autodist.errors import ArgumentError, AutoDistError


class NotFoundError(AutoDistError, FileNotFoundError):
    """There is no checkpoint, file or variable of that name."""


class UnreadableError(AutoDistError, OSError):
    """The file system does not give what it holds."""


class DamagedError(AutoDistError, ValueError):
    """A file is not what it should be, or its bytes are not those that were written."""


class UnsupportedError(AutoDistError, ValueError):
    """A sound file that this version cannot read."""


class MissingPackageError(AutoDistError, ImportError):
    """A Python package that the task needs is not installed."""


__all__ = [
    "ArgumentError",
    "AutoDistError",
    "DamagedError",
    "MissingPackageError",
    "NotFoundError",
    "UnreadableError",
    "UnsupportedError",
]
