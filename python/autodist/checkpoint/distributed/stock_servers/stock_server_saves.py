"""Runs the steps of a save on stock servers: tasks that have not loaded our ops."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.distributed.stock_servers.stock_server_reads import CONTAINER

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.stock_servers.stock_server_reads import StockServerReads
    from autodist.checkpoint.distributed.tasks.control_session import ControlSession

# What is kept has the same names in every save of a saver of this process.
_ONE_AT_A_TIME = threading.Lock()


class StockServerSaves:
    """The variables of all stock servers of a session, while they are saved."""

    def __init__(
        self,
        control: ControlSession,
        stock_servers: Mapping[int, StockServerReads],
        budget_bytes: int,
    ) -> None:
        """Keeps nothing yet.

        Args:
            control: What runs the ops.
            stock_servers: The tasks, by number.
            budget_bytes: What copies of variables may need on a task.
        """
        self._control = control
        self._tasks = stock_servers
        self._budget_bytes = budget_bytes
        self._shapes: dict[int, tuple[int, ...]] = {}
        # Since the save began.
        self._kept: set[int] = set()
        # What was there before, if a former process ended while it saved, is unknown.
        self._is_clean = False

    @property
    def tasks(self) -> list[str]:
        """The tasks."""
        return [server.task for server in self._tasks.values()]

    @contextlib.contextmanager
    def saving(self, feeds: Mapping[Any, Any]) -> Iterator[None]:
        """Holds a lock for the block: one save of this process at a time keeps variables.

        Frees what a former one left.

        Args:
            feeds: The feeds of every run of the save; the same below.

        Raises:
            tf.errors.FailedPreconditionError: Another process replaced the kept variables.
        """
        if not self._tasks:
            yield
            return
        with _ONE_AT_A_TIME:
            if not self._is_clean:
                self._kept = {n for server in self._tasks.values() for n in server.numbers}
                self.end(feeds)
            self._is_clean = False
            try:
                yield
            except tf.errors.OpError as error:
                if isinstance(error, tf.errors.UnavailableError) or CONTAINER not in error.message:
                    raise
                # No `AbortedError`, after which a `MonitoredTrainingSession` trains again for ever.
                raise tf.errors.FailedPreconditionError(
                    None,
                    None,
                    f"another process replaced the variables that {', '.join(self.tasks)} kept for "
                    "this save. It has the same master, and a saver of the same name. Let only one "
                    "of them save, or load autodist's ops there",
                ) from error
            self._is_clean = True

    def check_values(self, feeds: Mapping[Any, Any]) -> None:
        """Raises if variables have no value.

        Args:
            feeds: As for `saving`.

        Raises:
            tf.errors.FailedPreconditionError: Some have none; names them.
        """
        there = self._control.run({i: t.are_there for i, t in self._tasks.items()}, {**feeds})
        for index, server in self._tasks.items():
            missing = [
                server.name_of(number)
                for number, is_there in zip(server.numbers, there[index], strict=True)
                if not is_there
            ]
            if missing:
                raise tf.errors.FailedPreconditionError(
                    None, None, f"{', '.join(missing)} on {server.task}: not initialized"
                )

    def begin(self) -> tuple[Any, Any]:
        """Returns the ops that begin a save: ops that return shapes, and ops that keep variables.

        All variables with dense updates are kept at the same time: the kept ones share their
        buffers.
        """
        kept = {
            index: [number for number in server.numbers if server.is_kept_by_reference(number)]
            for index, server in self._tasks.items()
        }
        return {i: t.shapes for i, t in self._tasks.items()}, self.keep_ops(kept)

    def shapes(self, begun: tuple[Any, Any]) -> dict[int, tuple[int, ...]]:
        """Returns the shapes of the variables, by number.

        Args:
            begun: What the ops of `begin` returned.

        Raises:
            tf.errors.ResourceExhaustedError: A variable has to be copied and is too large.
        """
        shapes, kept = begun
        self._shapes = {
            number: tuple(map(int, shape))
            for index, server in self._tasks.items()
            for number, shape in zip(server.numbers, shapes[index], strict=True)
        }
        self._shapes.update({number: tuple(map(int, shape)) for number, shape in kept.items()})
        self._kept = set(kept)
        for server in self._tasks.values():
            for number in server.numbers:
                self._check_size(server, number)
        return dict(self._shapes)

    def keep_ops(self, keep: Mapping[int, Any]) -> dict[int, Any]:
        """Returns by number the ops that keep variables, of those that are not kept yet.

        Args:
            keep: Numbers of variables by task; other tasks are ignored.
        """
        return {
            number: op
            for index, numbers in keep.items()
            if index in self._tasks
            for number, op in self._tasks[index].keep_ops(numbers).items()
            if number not in self._kept
        }

    def check_kept(self, shapes: Mapping[int, Any]) -> None:
        """Raises if a variable has another shape than when the save began.

        Args:
            shapes: What the ops of `keep_ops` returned.

        Raises:
            tf.errors.FailedPreconditionError: It has another shape.
        """
        for number, shape in shapes.items():
            if tuple(map(int, shape)) != self._shapes[number]:
                name = next(
                    server.name_of(number)
                    for server in self._tasks.values()
                    if number in server.numbers
                )
                raise tf.errors.FailedPreconditionError(
                    None, None, f"{name} got another shape during the save"
                )

    def release(self, feeds: Mapping[Any, Any], release: Mapping[int, Any]) -> None:
        """Frees the kept copies of variables.

        Args:
            feeds: As for `saving`.
            release: As for `keep_ops`.
        """
        ops = [
            self._tasks[index].free_ops(numbers)
            for index, numbers in release.items()
            if index in self._tasks
        ]
        if ops:
            self._control.run(ops, {**feeds})
        for numbers in release.values():
            self._kept.difference_update(map(int, numbers))

    def end(self, feeds: Mapping[Any, Any]) -> None:
        """Frees everything that is still kept, and the marks.

        Args:
            feeds: As for `saving`.
        """
        ops = [
            [server.free_mark, server.free_ops([n for n in server.numbers if n in self._kept])]
            for server in self._tasks.values()
        ]
        if ops:
            self._control.run(ops, {**feeds})
        self._kept.clear()

    def drop_ops(self) -> dict[str, Callable[[], Any]]:
        """Returns for each task a function that makes the ops which free everything there."""
        return {server.task: server.free_all_ops for server in self._tasks.values()}

    def _check_size(self, server: StockServerReads, number: int) -> None:
        """Raises if a variable has to be copied and is too large for that."""
        size_bytes = int(np.prod(self._shapes[number], dtype=np.int64)) * server.element_bytes(
            number
        )
        if size_bytes > self._budget_bytes and server.may_be_copied(number):
            raise tf.errors.ResourceExhaustedError(
                None,
                None,
                f"{server.name_of(number)} on {server.task} changes in place, so it must be copied "
                f"before it is sent: {size_bytes} bytes of {self._budget_bytes} allowed. Raise "
                "Saver(memory_bytes=...)",
            )
