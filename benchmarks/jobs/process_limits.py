"""The limit of the file system for several processes that share one data file.

As `limits`, for servers: no checksum, no index, no TensorFlow.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK_BYTES = 1 << 20


class Processes:
    """Processes that each hold a part of a data file in memory."""

    def __init__(self, count: int, reference: Path) -> None:
        """Starts them.

        Args:
            count: How many.
            reference: The data file.
        """
        size = reference.stat().st_size
        self._cuts = [size * number // count for number in range(count + 1)]
        self._reference = reference
        context = multiprocessing.get_context("spawn")
        # One in each, so that each is asked for its own part.
        self._pools = [concurrent.futures.ProcessPoolExecutor(1, context) for _ in range(count)]
        self._all(_load, reference)

    def write(self, directory: Path) -> None:
        """Writes the file into a directory."""
        path = directory / self._reference.name
        path.touch(exist_ok=False)
        self._all(_write, path)

    def read(self, directory: Path) -> None:
        """Reads the file into the memory that holds it; the directory is nothing to it."""
        del directory
        self._all(_read, self._reference)

    def close(self) -> None:
        """Ends them."""
        for pool in self._pools:
            pool.shutdown()

    def _all(self, work: Callable[[Path, int, int], Any], path: Path) -> None:
        parts = zip(self._pools, self._cuts[:-1], self._cuts[1:], strict=True)
        for running in [pool.submit(work, path, begin, end) for pool, begin, end in parts]:
            running.result()


# Of a process: its part.
_held = np.empty(0, np.uint8)


def _load(path: Path, begin: int, end: int) -> None:
    global _held  # noqa: PLW0603 a process has nothing else that lasts from call to call
    _held = np.fromfile(path, np.uint8, end - begin, offset=begin)


def _write(path: Path, begin: int, end: int) -> None:
    source = memoryview(_held)
    descriptor = os.open(path, os.O_WRONLY)
    try:
        at = begin
        while at < end:
            at += os.pwrite(descriptor, source[at - begin : at - begin + _BLOCK_BYTES], at)
    finally:
        os.close(descriptor)


def _read(path: Path, begin: int, end: int) -> None:
    target = memoryview(_held)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        at = begin
        while at < end:
            count = os.preadv(descriptor, [target[at - begin : at - begin + _BLOCK_BYTES]], at)
            if count == 0:
                raise AssertionError("the file is shorter than it was")
            at += count
    finally:
        os.close(descriptor)
