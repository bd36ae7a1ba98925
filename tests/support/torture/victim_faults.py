"""Faults that the system itself makes, around one save: small file systems, limits of the process, signals."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support import threads

_NEW_MOUNTS = 0x20000
_PRIVATE = (1 << 18) | (1 << 14)
_BIND, _REMOUNT, _READ_ONLY = 4096, 32, 1

_Fault = Callable[[Path, int], contextlib.AbstractContextManager[None]]


class MountError(OSError):
    """This process may not mount."""


def _call(name: str, *arguments: Any) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        raise MountError(ctypes.get_errno(), name)


def mount_small(directory: Path, size: int) -> None:
    """Puts a file system of so many bytes over a directory, for this process alone."""
    _call("unshare", _NEW_MOUNTS)
    _call("mount", b"none", b"/", None, _PRIVATE, None)
    _call("mount", b"tmpfs", bytes(directory), b"tmpfs", 0, b"size=%d" % size)


@contextlib.contextmanager
def no_space(directory: Path, free: int) -> Iterator[None]:
    """Leaves so many bytes of the directory's file system."""
    filler = directory.parent / "filler"
    status = os.statvfs(directory)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - free, 1))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(directory: Path, _: int) -> Iterator[None]:
    """Mounts the directory's file system read-only."""
    path = bytes(directory)
    _call("mount", path, path, None, _BIND, None)
    _call("mount", b"none", path, None, _BIND | _REMOUNT | _READ_ONLY, None)
    try:
        yield
    finally:
        _call("umount2", path, 2)


@contextlib.contextmanager
def _limited(kind: int, limit: int) -> Iterator[None]:
    former = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, former)


@contextlib.contextmanager
def few_files(_: Path, more: int) -> Iterator[None]:
    """Lets so many more files be opened."""
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]
    lowest = opened[0]
    for descriptor in opened:
        os.close(descriptor)
    with _limited(resource.RLIMIT_NOFILE, lowest + more):
        yield


@contextlib.contextmanager
def small_files(_: Path, limit: int) -> Iterator[None]:
    """Lets files grow to so many bytes."""
    with _limited(resource.RLIMIT_FSIZE, limit):
        yield


@contextlib.contextmanager
def little_memory(_: Path, more: int) -> Iterator[None]:
    """Leaves so many bytes in pieces of 256 KiB, and whatever there is of smaller ones."""
    piece = 256 << 10
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = (ctypes.c_size_t,)
    library.free.argtypes = (ctypes.c_void_p,)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    # What the process has free is taken, and it gets no more.
    with _limited(resource.RLIMIT_AS, pages * resource.getpagesize() + (4 << 20)):
        taken = []
        while (piece_at := library.malloc(piece)) is not None:
            taken.append(piece_at)
        for _ in range(min(more // piece, len(taken))):
            library.free(taken.pop())
        try:
            yield
        finally:
            for piece_at in taken:
                library.free(piece_at)


def _meanwhile(
    action: Callable[[], None], milliseconds: int
) -> contextlib.AbstractContextManager[None]:
    def act() -> None:
        time.sleep(milliseconds / 1000)
        action()

    return threads.running(act)


def deleted(directory: Path, milliseconds: int) -> contextlib.AbstractContextManager[None]:
    """Deletes the directory during the save."""
    return _meanwhile(lambda: shutil.rmtree(directory, ignore_errors=True), milliseconds)


def replaced(directory: Path, milliseconds: int) -> contextlib.AbstractContextManager[None]:
    """Puts another directory in its place during the save."""

    def replace() -> None:
        directory.rename(directory.parent / "moved")
        directory.mkdir()

    return _meanwhile(replace, milliseconds)


@contextlib.contextmanager
def terminated(_: Path, milliseconds: int) -> Iterator[None]:
    """Sends SIGTERM, which has a handler, during the save."""

    def leave(*_: Any) -> None:
        raise SystemExit(143)

    former = signal.signal(signal.SIGTERM, leave)
    try:
        with _meanwhile(lambda: os.kill(os.getpid(), signal.SIGTERM), milliseconds):
            yield
    finally:
        signal.signal(signal.SIGTERM, former)


FAULTS: dict[str, _Fault] = {
    fault.__name__: fault
    for fault in (
        no_space,
        read_only,
        few_files,
        small_files,
        little_memory,
        deleted,
        replaced,
        terminated,
    )
}
