"""The limit of the file system: the same bytes from as many threads, and nothing else.

No checksum is computed, no index is written, and TensorFlow is not used.
"""

from __future__ import annotations

import concurrent.futures
import enum
import itertools
import mmap
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from measuring.checks import DATA

_BLOCK_BYTES = 1 << 20
_ALIGNMENT_BYTES = 4096


def bare_writes(
    values: np.ndarray, threads: int, *, is_synced: bool, is_preallocated: bool = False
) -> Callable[[Path], None]:
    """Writes the bytes to the data file of a directory by `pwrite`, in blocks of 1 MiB.

    On tmpfs it is not quite the floor. Linux lets one `pwrite` at a time into a file (6.18,
    `i_rwsem`), so two threads are no faster than one. A writer whose block is in the processor's
    cache holds that lock for less time. Writing one block repeatedly took 0.150 s where this took
    0.168.
    """
    source = memoryview(values).cast("B")
    pool = concurrent.futures.ThreadPoolExecutor(threads)

    def write(directory: Path) -> None:
        descriptor = os.open(directory / DATA, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            if is_preallocated:
                os.posix_fallocate(descriptor, 0, source.nbytes)
            _in_parts(pool, threads, source.nbytes, lambda b, e: _write(descriptor, source, b, e))
        finally:
            os.close(descriptor)
        if is_synced:
            sync_all(directory)

    return write


class Memory(enum.Enum):
    """What bare reads fill."""

    SAME = "that of the call before"
    NEW = "never touched, as that of a variable that has no value yet"
    NEW_HUGE = "the same, and huge pages are wanted for it"


def direct_writes(values: np.ndarray, threads: int) -> Callable[[Path], None]:
    """Writes the bytes past the page cache (`O_DIRECT`) into preallocated blocks, and syncs.

    The memory is aligned beforehand: a copy of `values`.
    """
    memory = mmap.mmap(-1, values.nbytes)
    memory[:] = memoryview(values).cast("B")
    source = memoryview(memory)
    # Direct writes are of whole blocks of the disk.
    whole = values.nbytes - values.nbytes % _ALIGNMENT_BYTES
    pool = concurrent.futures.ThreadPoolExecutor(threads)

    def write(directory: Path) -> None:
        descriptor = os.open(directory / DATA, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        direct = os.open(directory / DATA, os.O_WRONLY | os.O_DIRECT)
        try:
            os.posix_fallocate(descriptor, 0, values.nbytes)
            blocks = -(-whole // _BLOCK_BYTES)
            _in_parts(
                pool,
                threads,
                blocks,
                lambda b, e: _write(direct, source, b * _BLOCK_BYTES, min(e * _BLOCK_BYTES, whole)),
            )
            _write(descriptor, source, whole, values.nbytes)
        finally:
            os.close(direct)
            os.close(descriptor)
        sync_all(directory)

    return write


def has_direct_writes(directory: Path) -> bool:
    """Whether files of a directory can be written past the page cache."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        try:
            os.close(os.open(file.name, os.O_WRONLY | os.O_DIRECT))
        except OSError:
            return False
    return True


def _write(descriptor: int, source: memoryview, begin: int, end: int) -> None:
    while begin < end:
        begin += os.pwrite(descriptor, source[begin : min(begin + _BLOCK_BYTES, end)], begin)


class BareReads:
    """The bytes by `pread` in blocks of 1 MiB straight into memory of this process alone."""

    def __init__(self, path: Path, threads: int, memory: Memory) -> None:
        """Prepares to read a file whole."""
        self._kind = memory
        self._path = path
        self._threads = threads
        self._size_bytes = path.stat().st_size
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)
        self._memory = self._map()

    def prepare(self) -> None:
        """Forgets what was read."""
        if self._kind is Memory.SAME:
            np.frombuffer(self._memory, np.uint8)[:] = 0
        else:
            self._memory.close()
            self._memory = self._map()

    def _map(self) -> mmap.mmap:
        memory = mmap.mmap(-1, self._size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if self._kind is Memory.NEW_HUGE:
            memory.madvise(mmap.MADV_HUGEPAGE)
        return memory

    def read(self) -> None:
        """Reads the file."""
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            with memoryview(self._memory) as target:
                _in_parts(
                    self._pool,
                    self._threads,
                    self._size_bytes,
                    lambda b, e: self._read_part(descriptor, target, b, e),
                )
        finally:
            os.close(descriptor)

    def found(self) -> np.ndarray:
        """A copy of what was read."""
        return np.frombuffer(self._memory, np.float32).copy()

    @staticmethod
    def _read_part(descriptor: int, target: memoryview, begin: int, end: int) -> None:
        while begin < end:
            block = target[begin : min(begin + _BLOCK_BYTES, end)]
            count = os.preadv(descriptor, [block], begin)
            if count == 0:
                raise AssertionError("the file is shorter than it was")
            begin += count


def sync_all(directory: Path) -> None:
    """Has the kernel bring a directory and the files in it to the device."""
    for path in (*directory.rglob("*"), directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def drop_cached(directory: Path) -> None:
    """Drops a directory's files from the kernel's cache, so that they are read from the device."""
    sync_all(directory)
    for path in (path for path in directory.rglob("*") if path.is_file()):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _in_parts(
    pool: concurrent.futures.Executor,
    threads: int,
    size_bytes: int,
    work: Callable[[int, int], None],
) -> None:
    """Does the work in as many parts as there are threads, each a range `[begin, end)` of bytes."""
    cuts = [size_bytes * i // threads for i in range(threads + 1)]
    parts = [pool.submit(work, begin, end) for begin, end in itertools.pairwise(cuts)]
    for part in parts:
        part.result()
