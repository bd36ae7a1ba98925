"""A job that trains in threads while it saves instants, and looks at what each save leaves.

The counters are updated one after the other: `first` by rows, `dense`, `last` by rows. At each instant
`last <= dense <= first <= last + 1`. A save that reads them one after the other does not see that.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist.checkpoint.saver import SaveOptions, Saver
from support import threads

tf1 = tf.compat.v1
ROWS, COLUMNS = 4000, 120  # 1.9 MB: several blocks, and more than what is copied at once
NAMES = ("first", "dense", "last")
METHODS = ("auto", "pages", "fork", "copy")
_FREED_SECONDS = 10.0
MEMORY_BYTES = (0, 1 << 16, 1 << 20, 64 << 20)
_ANY_CHILD = 0x40000000  # __WALL


def add_rows(variable: Any) -> Any:
    """Returns an op that adds 1 to a table, row by row and in place."""
    return tf.raw_ops.ResourceScatterAdd(
        resource=variable.handle, indices=tf.range(ROWS), updates=tf.ones([ROWS, COLUMNS])
    )


class Chain:
    """The counters, and the step that updates them."""

    def __init__(self) -> None:
        self.first, self.dense, self.last = (
            tf1.get_variable(
                n, [ROWS, COLUMNS], use_resource=True, initializer=tf1.zeros_initializer()
            )
            for n in NAMES
        )
        with tf.control_dependencies([add_rows(self.first)]):
            middle = tf1.assign_add(self.dense, tf.ones([ROWS, COLUMNS])).op
        with tf.control_dependencies([middle]):
            self.step = add_rows(self.last)


def check_instant(path: str) -> float:
    """Checks that a checkpoint is of one instant, and returns its first counter."""
    first, dense, last = (tf.train.load_variable(path, name) for name in NAMES)
    for counter in (first, dense, last):
        assert counter.min() == counter.max()
    assert last[0, 0] <= dense[0, 0] <= first[0, 0] <= last[0, 0] + 1
    return float(first[0, 0])


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """Yields the lines that autodist logs in the block."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("autodist")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


class Traces:
    """What a save may leave behind in its process."""

    def __init__(self) -> None:
        self._descriptors = set(Path("/proc/self/fd").iterdir())

    def _has_more_descriptors(self) -> bool:
        more = set(Path("/proc/self/fd").iterdir()) - self._descriptors
        # The one that the directory was read by is gone.
        return any(path.is_symlink() for path in more)

    def found(self) -> list[str]:
        """Returns what was left since."""
        traces = []
        # A thread may still free the former data file, which it holds open.
        end = time.monotonic() + _FREED_SECONDS
        while (is_left := self._has_more_descriptors()) and time.monotonic() < end:
            time.sleep(0.05)
        if is_left:
            traces.append("descriptors")
        flags = [
            line.split()
            for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines()
            if line.startswith("VmFlags:")
        ]
        if any({"um", "uw"} & set(line) for line in flags):
            traces.append("watched memory")
        if ctypes.CDLL(None).waitpid(-1, None, _ANY_CHILD | os.WNOHANG) != -1:
            traces.append("a child")
        return traces


class Job:
    """Trains, and saves under a prefix."""

    def __init__(self, directory: str) -> None:
        """Saves a first checkpoint, and updates the tables in place from then on.

        Args:
            directory: Where the checkpoints are.
        """
        self._directory = directory
        self._chain = Chain()
        self._value = self._chain.last[0, 0]
        self._number = 0
        self._session = tf1.Session()
        self._session.run(tf1.global_variables_initializer())
        self._session.run(self._chain.step)
        self._savers = {
            (method, memory_bytes): Saver(
                max_to_keep=None,
                options=SaveOptions(
                    consistency="instant",
                    snapshot_method=method,
                    snapshot_memory_bytes=memory_bytes,
                ),
            )
            for method in METHODS
            for memory_bytes in MEMORY_BYTES
        }
        self._former = Saver().save(self._session, f"{directory}/m", 0)

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Trains in a thread while the block runs."""
        with threads.training(self._session, self._chain.step):
            yield

    def save(
        self,
        method: str = "auto",
        memory_bytes: int = MEMORY_BYTES[-1],
        limit: contextlib.AbstractContextManager[None] | None = None,
    ) -> dict[str, Any]:
        """Saves an instant during the training; says how, or why not.

        Args:
            method: The method to keep it by, one of `METHODS`.
            memory_bytes: `snapshot_memory_bytes`, one of `MEMORY_BYTES`.
            limit: What holds during the save, and not for the checks after it.
        """
        self._number += 1
        saver = self._savers[method, memory_bytes]
        before, names = Traces(), set(Path(self._directory).iterdir())
        try:
            with _logged() as lines, limit or contextlib.nullcontext():
                path = saver.save(self._session, f"{self._directory}/m", self._number)
        except (tf.errors.OpError, ValueError) as error:
            assert tf.train.latest_checkpoint(self._directory) == self._former
            assert set(Path(self._directory).iterdir()) == names
            check_instant(self._former)
            told = {"error": type(error).__name__, "message": str(error)}
        else:
            self._former = path
            check_instant(path)
            told = {"log": lines[-1].partition("kept by ")[2]}
        self._await_steps()
        return {**told, "left": before.found()}

    def _await_steps(self) -> None:
        """Waits until the training has gone on."""
        reached, end = self._session.run(self._value), time.monotonic() + 60
        while self._session.run(self._value) < reached + 2:
            assert time.monotonic() < end, "the training does not go on"
