"""`autodist doctor`: what is installed, and what is safe in a directory."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import NamedTuple

from autodist import _installation
from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import tables
from autodist.workbench.storage import places

# What each kind of file system allows; the kinds are those of cc/storage/directory/file_systems.h.
_SAFE = {
    "one machine": (
        "Processes of this machine may write one data file together. Saves are durable, and two "
        "saves to one prefix exclude each other."
    ),
    "coherent": (
        "Processes of several machines may write one data file together: its clients see each "
        "other's writes and locks at once."
    ),
    "other": (
        "One task writes each data file, and other tasks send it their bytes: clients may cache "
        "pages, or have locks of their own. Locks exclude two saves within one machine only."
    ),
}
_PACKAGES = ("numpy", "ml_dtypes", "click", "rich", "fsspec", "gcsfs", "s3fs")


class Installed(NamedTuple):
    """A part, its version (`''`: not installed) and what is wrong with it (`''`: nothing)."""

    part: str
    version: str
    problem: str


class Directory(NamedTuple):
    """A directory.

    Attributes:
        path: As it was given.
        file_system: Such as `'tmpfs'`.
        kind: `'one machine'`, `'coherent'` or `'other'`; `'remote'` behind a scheme.
        is_writable: Whether this user may make files there.
        free_bytes: For this user; -1 if it is not known.
        safe: What may be done there, and why.
    """

    path: str
    file_system: str
    kind: str
    is_writable: bool
    free_bytes: int
    safe: str


class Diagnosis(NamedTuple):
    """What is installed, and the directories that were asked for."""

    parts: tuple[Installed, ...]
    directories: tuple[Directory, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong with what is installed."""
        return not any(part.problem for part in self.parts)


def diagnose(paths: tuple[str, ...]) -> Diagnosis:
    """Looks at the installation and at directories. Imports no TensorFlow.

    Raises:
        NotFoundError: A directory is not there.
    """
    return Diagnosis(_installed(), tuple(_directory(path) for path in paths))


def _installed() -> tuple[Installed, ...]:
    info = _installation.build_info()
    built = f"built against {info.TENSORFLOW_DISTRIBUTION} {info.TENSORFLOW_VERSION}"
    found = _installation.installed_tensorflow(info.TENSORFLOW_DISTRIBUTION)
    problem = "" if found else f"autodist is {built}; install it"
    if found:
        try:
            _installation.check_build()
        except ImportError as error:
            problem = str(error)
    library = _installation.library_dir() / _installation.OP_LIBRARY
    has_library = library.is_file()
    return (
        Installed("autodist", info.VERSION, ""),
        Installed("python", platform.python_version(), ""),
        Installed(found[0] if found else "tensorflow", found[1] if found else "", problem),
        Installed("op library", built if has_library else "", "" if has_library else str(library)),
        *(Installed(name, _version(name), "") for name in _PACKAGES),
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _directory(path: str) -> Directory:
    if places.is_remote(path):
        scheme = path.partition("://")[0]
        safe = "An object store: a file appears whole when it is closed, and there are no locks."
        return Directory(path, scheme, "remote", is_writable=True, free_bytes=-1, safe=safe)
    local = places.local(path)
    if not Path(local).is_dir():
        raise errors.NotFoundError(f"there is no directory {printable(path)!r}")
    number = file_system_type(local)
    kind = str(tables.module().file_system_kind(number))
    space = os.statvfs(local)
    return Directory(
        path=path,
        file_system=str(tables.module().file_system_name(number)),
        kind=kind,
        is_writable=os.access(local, os.W_OK | os.X_OK),
        free_bytes=space.f_bavail * space.f_frsize,
        safe=_SAFE[kind],
    )


def file_system_type(path: str) -> int:
    """Returns the type that statfs(2) tells of a directory; 0 if it tells none.

    Python has statvfs, which leaves the type out.
    """
    library = ctypes.CDLL(None, use_errno=True)
    # struct statfs begins with f_type, a word; 256 bytes hold it on every architecture.
    buffer = ctypes.create_string_buffer(256)
    if library.statfs(os.fsencode(path), buffer) != 0:
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF
