"""The limits for several processes that share one data file, or that send it to another process.

As `limits`, for servers: no checksum, no index, no TensorFlow.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import socket
import threading
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

    def write_through_sockets(self, directory: Path) -> None:
        """Sends all parts to this process, which writes the file into a directory."""
        path = directory / self._reference.name
        path.touch(exist_ok=False)
        self._through_sockets(_send, _receive_to_file, path, os.O_WRONLY)

    def read_through_sockets(self, directory: Path) -> None:
        """Reads the file here and sends the parts; the directory is nothing to it."""
        del directory
        self._through_sockets(_receive, _send_from_file, self._reference, os.O_RDONLY)

    def _through_sockets(
        self,
        there: Callable[[int], None],
        here: Callable[[socket.socket, int, int, int], None],
        path: Path,
        flags: int,
    ) -> None:
        """Has each process do its side of a transfer, and a thread of this one the other."""
        descriptor = os.open(path, flags)
        try:
            with socket.create_server(("127.0.0.1", 0), backlog=len(self._pools)) as listener:
                threads, running = [], []
                cuts = zip(self._pools, self._cuts[:-1], self._cuts[1:], strict=True)
                for pool, begin, end in cuts:
                    running.append(pool.submit(there, listener.getsockname()[1]))
                    connection, _ = listener.accept()
                    arguments = (connection, descriptor, begin, end)
                    threads.append(threading.Thread(target=here, args=arguments))
                    threads[-1].start()
                for thread in threads:
                    thread.join()
                for sent in running:
                    sent.result()
        finally:
            os.close(descriptor)

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


def _send(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(memoryview(_held))


def _receive(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        _fill(connection, memoryview(_held))


def _receive_to_file(connection: socket.socket, descriptor: int, begin: int, end: int) -> None:
    block = memoryview(bytearray(_BLOCK_BYTES))
    with connection:
        for at in range(begin, end, _BLOCK_BYTES):
            part = block[: min(_BLOCK_BYTES, end - at)]
            _fill(connection, part)
            if os.pwrite(descriptor, part, at) != len(part):
                raise AssertionError("a write was short")


def _send_from_file(connection: socket.socket, descriptor: int, begin: int, end: int) -> None:
    block = memoryview(bytearray(_BLOCK_BYTES))
    with connection:
        for at in range(begin, end, _BLOCK_BYTES):
            part = block[: min(_BLOCK_BYTES, end - at)]
            if os.preadv(descriptor, [part], at) != len(part):
                raise AssertionError("the file is shorter than it was")
            connection.sendall(part)


def _fill(connection: socket.socket, target: memoryview) -> None:
    done = 0
    while done < len(target):
        count = connection.recv_into(target[done:], 0, socket.MSG_WAITALL)
        if count == 0:
            raise AssertionError("the other side has gone")
        done += count
