"""Shares the blocks of a file among its writers, and checks the file before the commit.

Each block of the file has one writer (cc/save/plan/shared_blocks.h). What other tasks have read of
its bytes they hand over. Before the commit, another task than the writer reads each writer's first
and last page. It also reads pages at the borders between two writers: a file system that shows one
task other bytes than another wrote is found out before the checkpoint is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from autodist import _native
from autodist.checkpoint.distributed.shared_save import file_systems
from autodist.checkpoint.distributed.tasks import task_names

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.shared_save.save_graph import SaveGraph
    from autodist.checkpoint.distributed.tasks.control_session import ControlSession


class SharedBlocks:
    """Ops for shared blocks, built when they are first needed, and the steps that run them."""

    def __init__(self, control: ControlSession, graph: SaveGraph) -> None:
        """Has no ops yet.

        Args:
            control: What runs them.
            graph: Those of the save.
        """
        self._control = control
        self._graph = graph
        self._built: dict[Any, Any] = {}

    def begin(self, feeds: Mapping[Any, Any], plan: Any, check_bytes: int) -> None:
        """Tells each task which bytes of others' blocks it will hand over.

        Args:
            feeds: The feeds of every run of the save; the same below.
            plan: The save's.
            check_bytes: How many bytes to read again before the commit; many writers may need more.
        """
        given, checked = plan.given(), plan.pages_to_check(check_bytes)
        fetches, fed = {}, dict(feeds)
        for task in {*given, *checked}:
            fetches[task], given_in, checked_in = self._op(("share", task), self._share)
            fed[given_in] = given.get(task, [])
            fed[checked_in] = checked.get(task, [])
        if fetches:
            self._control.run(fetches, fed)

    def hand_over(self, feeds: Mapping[Any, Any], handovers: Mapping[int, Any]) -> None:
        """Has the writers of blocks write the bytes of them that others have read.

        Args:
            feeds: As for `begin`.
            handovers: What the plan says.
        """
        fetches, fed = {}, dict(feeds)
        for writer, (ranges, reads) in handovers.items():
            key = ("hand over", writer, *reads)
            fetches[writer], ranges_in, reads_in = self._op(key, self._hand_over)
            fed[ranges_in] = ranges
            fed.update({reads_in[task]: reads[task] for task in reads})
        if fetches:
            self._control.run(fetches, fed)

    def check(
        self, feeds: Mapping[Any, Any], plan: Any, check_bytes: int, *, path: str, file_system: int
    ) -> None:
        """Has tasks sync the file, and compares what each wrote with what another reads.

        Args:
            feeds: As for `begin`.
            plan: The save's.
            check_bytes: As for `begin`.
            path: The data file.
            file_system: Its type.

        Raises:
            tf.errors.FailedPreconditionError: A task reads other bytes than one wrote, or another
                size; names both, the bytes and the file system.
        """
        pages = plan.pages_to_check(check_bytes)
        writers = list(pages)
        # Each writer's pages are read by the next one; the chief sees at least the size.
        read_by = dict(zip([*writers[1:], *writers[:1]], writers, strict=True))
        written, read, fed = {}, {}, {**feeds, self._graph.path: path.encode()}
        for writer in writers:
            written[writer], ranges_in = self._op(("sum written", writer), self._sum_written)
            fed[ranges_in] = pages[writer]
        for reader in {0, *read_by}:
            read[reader], ranges_in = self._op(("sum file", reader), self._sum_file)
            fed[ranges_in] = pages[read_by[reader]] if reader in read_by else []
        written, read = self._control.run((written, read), fed)
        differing = [
            f"{self._graph.tasks[reader]} sees a file of {sums[0]} bytes, {plan.size_bytes} were "
            "written"
            for reader, sums in read.items()
            if sums[0] != plan.size_bytes
        ]
        for reader, writer in read_by.items():
            ranges = np.reshape(pages[writer], [-1, 2])
            differing.extend(
                f"{self._graph.tasks[reader]} reads other bytes at [{begin}, {end}) than "
                f"{self._graph.tasks[writer]} wrote"
                for begin, end in ranges[read[reader][1:] != written[writer]]
            )
        if differing:
            more = f" (and {len(differing) - 1} more such)" if len(differing) > 1 else ""
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"{path}: {differing[0]}{more}. The file system, "
                f"{file_systems.name_of(file_system)}, does not show every task what others write. "
                "Nothing was saved. Save with transport='files', where every task writes a data "
                "file of its own, or transport='stream', where one task writes",
            )

    def _op(self, key: tuple[Any, ...], build: Callable[..., Any]) -> Any:
        """Returns the op of a key with its placeholders; builds it at first."""
        if key not in self._built:
            with self._control.graph.as_default():
                self._built[key] = build(*key[1:])
        return self._built[key]

    def _share(self, task: int) -> Any:
        given, checked = _ranges(), _ranges()
        with self._on(task):
            op = _native.ops().autodist_share_blocks(self._graph.save_id, given, checked)
        return op, given, checked

    def _hand_over(self, writer: int, *readers: int) -> Any:
        ranges, reads, buffers = _ranges(), {task: _ranges() for task in readers}, []
        for task in readers:
            with self._on(task):
                buffers.append(_native.ops().autodist_read_given(self._graph.save_id, reads[task]))
        with self._on(writer):
            op = _native.ops().autodist_write_given(self._graph.save_id, ranges, buffers)
        return op, ranges, reads

    def _sum_written(self, task: int) -> Any:
        ranges = _ranges()
        with self._on(task):
            return _native.ops().autodist_sum_written(self._graph.save_id, ranges), ranges

    def _sum_file(self, task: int) -> Any:
        ranges = _ranges()
        with self._on(task), tf.control_dependencies([self._op(("finished",), self._finished)]):
            return _native.ops().autodist_sum_file(self._graph.path, ranges), ranges

    def _finished(self) -> Any:
        """Returns one op that waits for all tasks: as many edges as tasks, not their square."""
        with self._on(0), tf.control_dependencies(self._graph.finish_ops):
            return tf.no_op()

    def _on(self, task: int) -> Any:
        return tf.device(task_names.processor_of(self._graph.tasks[task]))


def _ranges() -> Any:
    return tf.compat.v1.placeholder(tf.int64, [None])
