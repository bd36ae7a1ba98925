"""One way to ask for files, wherever they are.

A path with a scheme, such as `gs://bucket/model.ckpt`, is read through fsspec. All other paths are
local, also `file:///tmp/model.ckpt`.
"""

from __future__ import annotations

import abc
import contextlib
import os
import re
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autodist._log import printable
from autodist.workbench import errors

if TYPE_CHECKING:
    from typing_extensions import Self

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
# What to install for the usual schemes.
_PACKAGES = {
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "abfs": "adlfs",
    "az": "adlfs",
}


class ByteFile(abc.ABC):
    """An open file.

    Attributes:
        path: What it was opened by.
        size: Its bytes when it was opened.
    """

    path: str
    size: int

    @abc.abstractmethod
    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills a buffer with the bytes from `offset` on; thread-safe.

        Raises:
            DamagedError: The file has fewer.
            UnreadableError: They cannot be read.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Closes it."""

    def read(self, offset: int, size: int) -> bytes:
        """Returns `size` bytes; see `read_into`."""
        if offset + size > self.size:
            raise ends_early(self.path, self.size)
        buffer = bytearray(size)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _LocalFile(ByteFile):
    def __init__(self, path: str) -> None:
        self.path = path
        with translated(path):
            # A FIFO would wait for a writer.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise errors.NotFoundError(f"{printable(path)!r} is not a regular file")
        self.size = status.st_size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        rest = buffer.cast("B") if buffer.format != "B" else buffer
        while rest:
            with translated(self.path):
                count = os.preadv(self._descriptor, [rest], offset)
            if count == 0:
                raise ends_early(self.path, offset)
            rest, offset = rest[count:], offset + count

    def close(self) -> None:
        os.close(self._descriptor)


class _RemoteFile(ByteFile):
    def __init__(self, path: str) -> None:
        self.path = path
        self._file_system, self._name = _remote(path)
        with translated(path):
            self.size = int(self._file_system.info(self._name)["size"])

    def read_into(self, offset: int, buffer: memoryview) -> None:
        with translated(self.path):
            data = self._file_system.cat_file(self._name, start=offset, end=offset + len(buffer))
        if len(data) != len(buffer):
            raise ends_early(self.path, offset + len(data))
        buffer[:] = data

    def close(self) -> None:
        pass


def open_file(path: str) -> ByteFile:
    """Opens a file to read.

    Raises:
        NotFoundError: There is none, or it is no regular file.
        UnreadableError: It cannot be opened.
        MissingPackageError: fsspec, or what it needs for the path's scheme, is not installed.
    """
    return _RemoteFile(path) if is_remote(path) else _LocalFile(local(path))


def read_whole(path: str, most_bytes: int) -> bytes:
    """Returns all bytes of a file.

    Raises:
        DamagedError: It has more than `most_bytes`.
    """
    with open_file(path) as file:
        if file.size > most_bytes:
            raise errors.DamagedError(
                f"{printable(path)!r} has {file.size} bytes, expected at most {most_bytes}"
            )
        return file.read(0, file.size)


def is_remote(path: str) -> bool:
    """Tells whether a path has a scheme other than `file`."""
    found = _SCHEME.match(path)
    return found is not None and found.group(1).lower() != "file"


def local(path: str) -> str:
    """Returns a local path without `file://`."""
    return path[len("file://") :] if path.lower().startswith("file://") else path


def is_file(path: str) -> bool:
    """Tells whether there is a file, as far as it may be seen.

    Raises:
        UnreadableError: The store of a remote path does not answer.
    """
    if is_remote(path):
        return _remote_type(path) == "file"
    return os.path.isfile(local(path))  # noqa: PTH113 - a path of text, perhaps with a scheme


def is_same_directory(path: str, other: str) -> bool:
    """Tells whether two paths lead to one directory, perhaps by links; remote ones if they are equal."""
    if is_remote(path) or is_remote(other):
        return path == other
    with contextlib.suppress(OSError):
        return os.path.samefile(local(path) or ".", local(other) or ".")  # noqa: PTH121
    return False


def is_directory(path: str) -> bool:
    """Tells whether there is a directory; see `is_file` for errors."""
    if is_remote(path):
        return _remote_type(path) == "directory"
    return os.path.isdir(local(path) or ".")  # noqa: PTH112


def names_in(directory: str) -> list[str]:
    """Returns the sorted names in a directory; '' is the current one.

    Raises:
        NotFoundError: There is no such directory.
        UnreadableError: It cannot be listed.
    """
    if is_remote(directory):
        file_system, name = _remote(directory)
        with translated(directory):
            found = file_system.ls(name, detail=False)
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)
    with translated(directory):
        return sorted(os.listdir(local(directory) or "."))  # noqa: PTH208


def size_of(path: str) -> int:
    """Returns the bytes of a file; see `open_file` for errors."""
    with open_file(path) as file:
        return file.size


def split(path: str) -> tuple[str, str]:
    """Splits a path into its directory, with the slash that ends it, and its name."""
    at = path.rfind("/") + 1
    return path[:at], path[at:]


def join(directory: str, name: str) -> str:
    """Joins a directory and a name, or an absolute path, which stays."""
    if not directory or name.startswith("/") or _SCHEME.match(name):
        return name
    return directory + name if directory.endswith("/") else f"{directory}/{name}"


def ends_early(path: str, size: int) -> errors.DamagedError:
    """Returns the error of a file that has fewer bytes than it should."""
    return errors.DamagedError(f"{printable(path)!r} ends early, after {size} bytes")


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns what a file system raises into errors of the workbench."""
    try:
        yield
    except errors.AutoDistError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise errors.NotFoundError(f"{printable(path)!r} does not exist") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    except Exception as error:
        # The packages behind fsspec have errors of their own, of no common class.
        if not is_remote(path):
            raise
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> errors.UnreadableError:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return errors.UnreadableError(f"{printable(path)!r} cannot be read: {printable(text)}")


def _remote_type(path: str) -> str:
    """Returns `'file'`, `'directory'`, or `''` for what is not there or may not be seen.

    Not `isfile` and `isdir` of fsspec, which take every error for an absence.
    """
    file_system, name = _remote(path)
    with translated(path):
        try:
            return str(file_system.info(name)["type"])
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return ""


def _remote(path: str) -> tuple[Any, str]:
    scheme = path.partition("://")[0].lower()
    try:
        import fsspec
    except ImportError as error:
        packages = " ".join(filter(None, ["fsspec", _PACKAGES.get(scheme, "")]))
        raise errors.MissingPackageError(
            f"{printable(path)!r} needs fsspec. Run: pip install {packages}"
        ) from error
    try:
        file_system, name = fsspec.core.url_to_fs(path)
    except ImportError as error:
        package = _PACKAGES.get(scheme, f"fsspec's package for '{scheme}'")
        raise errors.MissingPackageError(
            f"{printable(path)!r} needs {package}. Run: pip install {package}"
        ) from error
    except ValueError as error:
        raise errors.NotFoundError(f"{printable(path)!r}: {error}") from error
    return file_system, name
