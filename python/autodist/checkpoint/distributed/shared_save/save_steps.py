"""Runs the steps of a save by several tasks to one data file.

1. The chief makes the data file under a temporary name.
2. All tasks refer to the values of their variables at once, and check whether they see that file.
3. The client plans which task writes which bytes.
4. Tasks write their values. Tasks that cannot write send theirs, a bounded part at a time.
5. Tasks sync the file. If several wrote to it, each checks some pages of another.
6. The chief writes the index and commits.

A failed save is dropped on every task that answers. Any other task drops it when its lease ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from autodist import _log, _native
from autodist.checkpoint.distributed.instants import joint_instant
from autodist.checkpoint.distributed.shared_save import (
    file_systems,
    reusable_save,
    save_graph,
    shared_blocks,
)
from autodist.checkpoint.distributed.stock_servers import stock_server_reads, stock_server_saves
from autodist.checkpoint.distributed.tasks import data_connections
from autodist.checkpoint.distributed.tasks.transport import (
    KEPT_SHARE,
    LEASE_FACTOR,
    ROUND_SHARE,
    ROUNDS_UNDER_WAY,
    Transport,
)
from autodist.checkpoint.reports import transfer

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.variables.located import Located
    from autodist.checkpoint.distributed.variables.sources import PlacedSave

_LOGGER = _log.get_logger()

# How much of a file that several tasks wrote is read again; a share of `memory_bytes`.
_CHECK_SHARE = 1 / 32


@dataclasses.dataclass(frozen=True)
class _Writers:
    """Which tasks write to the file.

    Attributes:
        path: The file.
        chief: Where the chief sees it.
        writes: For each task whether it writes.
        reasons: Why tasks that could open it do not.
        block_bytes: The size of a block of the file; each block has one writer.
    """

    path: str
    chief: file_systems.FilePlace
    writes: list[bool]
    reasons: dict[str, str]
    block_bytes: int


class SharedSave(reusable_save.ReusableSave):
    """Saves of one saver node, by all tasks to one data file.

    Reusable: built once, run for every save.
    """

    def __init__(
        self,
        located: Located[PlacedSave],
        transport: Transport,
        *,
        is_instant: bool = False,
        has_figures: bool = False,
    ) -> None:
        """Opens a session of our own and builds its graph.

        Args:
            located: What is saved, and the tasks of its values. Its master and its chief have
                loaded our ops.
            transport: How the bytes travel.
            is_instant: Whether all variables are taken at one instant.
            has_figures: Whether figures of what is written are computed.
        """
        self._has_figures = has_figures
        self._placed = placed = located.placed
        self._transport = transport
        self._chief = located.chief
        by_value = {
            number
            for number, (source, home) in enumerate(zip(placed.sources, located.homes, strict=True))
            if source.goes_to_chief
            or (home in located.without_ops and not stock_server_reads.can_slice(source))
        }
        homes = [
            self._chief if number in by_value else home for number, home in enumerate(located.homes)
        ]
        self._control = located.open_session(transport.timeout_seconds)
        self._graph = save_graph.SaveGraph(
            self._control.graph,
            placed,
            homes,
            by_value=by_value,
            chief=self._chief,
            without_ops=located.without_ops,
            label=f"{located.master}/{placed.name}",
            is_instant=is_instant,
            has_figures=has_figures,
        )
        number_of = {task: number for number, task in enumerate(self._graph.tasks)}
        self._homes = [number_of[home] for home in homes]
        self._stock = stock_server_saves.StockServerSaves(
            self._control, self._graph.stock_servers, self._budget_bytes
        )
        self._blocks = shared_blocks.SharedBlocks(self._control, self._graph)
        self._connections = data_connections.DataConnections(
            self._control,
            located.target,
            self._graph.tasks,
            self._graph.save_id,
            self._graph.lease,
            is_restore=False,
        )
        self._warned = ""

    def save(
        self,
        prefix: str,
        fed_values: list[Any],
        running: transfer.Transfer,
        instant: _native.Instant | None = None,
    ) -> None:
        """Saves.

        Args:
            prefix: The checkpoint's.
            fed_values: The values of the sources that are no variables, in their order.
            running: Is told how far the save is.
            instant: How all variables are taken at one instant; `None`: they are not.

        Raises:
            tf.errors.UnavailableError: A task does not answer; names it.
            tf.errors.FailedPreconditionError: A variable has no value; or a task has to write to
                the file and cannot, or may not on its file system; or one reads other bytes than
                another wrote.
            tf.errors.OpError: What else went wrong, with the path or variable.
        """
        start = time.monotonic()
        self._control.begin()
        feeds = {
            self._graph.save_id: secrets.token_hex(8),
            self._graph.lease: int(self._transport.timeout_seconds * LEASE_FACTOR) + 1,
        }
        with self._stock.saving(feeds), self._dropping(feeds), self._renewing(feeds, running):
            opened = self._control.run(self._graph.open, {**feeds, self._graph.prefix: prefix})
            taken, places, shapes = self._join(feeds, opened.path, fed_values, instant)
            running.note_taken()
            writers = self._writers(opened, places)
            plan = self._plan(writers, shapes)
            running.begin(plan.size_bytes)
            # A row for each part: its checksum, then its figures.
            columns = 1 + _native.bundle().FIGURES_WORDS if self._has_figures else 1
            sums = np.zeros((plan.part_count, columns), np.int64)
            self._blocks.begin(feeds, plan, self._check_bytes)
            self._write_direct(feeds, plan, sums)
            self._send(feeds, plan, sums)
            if plan.writer_count > 1:
                self._blocks.check(
                    feeds,
                    plan,
                    self._check_bytes,
                    path=writers.path,
                    file_system=writers.chief.file_system,
                )
            keys, entries = plan.index(sums)
            if self._has_figures:
                running.note_figures(plan.figures(sums))
            running.check_commit()
            running.judge(None)
            self._control.run(
                self._graph.commit, {**feeds, self._graph.keys: keys, self._graph.entries: entries}
            )
        self._has_saved = True
        running.end()
        seconds = time.monotonic() - start
        if taken is not None:
            taken.log(prefix)
        _LOGGER.info(
            "saved %s: %s of %s in %.3f s (%s); %s",
            prefix,
            _log.size(plan.size_bytes),
            _log.count(len(self._graph.tasks), "task"),
            seconds,
            _log.speed(plan.size_bytes, seconds),
            self._describe(writers),
        )

    def _join(
        self,
        feeds: dict[Any, Any],
        path: bytes,
        fed_values: list[Any],
        instant: _native.Instant | None,
    ) -> tuple[
        joint_instant.TakenInstant | None,
        dict[int, file_systems.FilePlace],
        dict[int, tuple[tuple[int, ...], int]],
    ]:
        """Has every task refer to its values.

        Returns how the instant was taken, the file as tasks see it, and each source's shape and
        encoded size.
        """
        given = dict(zip(self._graph.values, fed_values, strict=True))
        joint = self._graph.joint
        if joint is not None and instant is not None:
            given.update(joint.feeds(instant, self._transport.timeout_seconds))
        self._stock.check_values(feeds)
        # One run: every task refers to all of its variables with dense updates at the same time.
        outputs, begun, told = self._control.run(
            (
                {index: outputs for index, (_, outputs) in self._graph.joins.items()},
                self._stock.begin(),
                () if joint is None else joint.fetches,
            ),
            {**feeds, **given, self._graph.path: path if self._transport.way != "stream" else b""},
        )
        places = {}
        shapes = {number: (shape, 0) for number, shape in self._stock.shapes(begun).items()}
        for index, output in outputs.items():
            if output.can_open and index != 0:
                places[index] = file_systems.FilePlace.of(output)
            # Per source: rank, shape, encoded size.
            numbers = iter(output.shapes.tolist())
            for source in self._graph.joins[index][0]:
                shape = tuple(itertools.islice(numbers, next(numbers)))
                shapes[source] = shape, next(numbers)
        return None if joint is None else joint.check(told), places, shapes

    def _writers(self, opened: Any, places: dict[int, file_systems.FilePlace]) -> _Writers:
        """Returns which tasks write; raises if `transport` asks for tasks that cannot."""
        path, chief = opened.path.decode(), file_systems.FilePlace.of(opened)
        reasons = {
            index: reason
            for index, place in places.items()
            if (reason := file_systems.reason_against(place, chief))
        }
        if self._transport.way == "shared":
            self._check_that_all_write(path, places, reasons)
        elif reasons:
            self._warn_of_one_writer(path, reasons)
        writing = {index: place for index, place in places.items() if index not in reasons}
        return _Writers(
            path,
            chief,
            [index == 0 or index in writing for index in range(len(self._graph.tasks))],
            {self._graph.tasks[index]: reason for index, reason in reasons.items()},
            file_systems.shared_block_bytes([chief, *writing.values()], self._round_bytes),
        )

    def _check_that_all_write(
        self, path: str, places: dict[int, file_systems.FilePlace], reasons: dict[int, str]
    ) -> None:
        needed = {*self._graph.joins, *self._graph.stock_servers} - {0}
        out_of_reach = [self._graph.tasks[index] for index in sorted(needed - {*places})]
        why = ""
        if out_of_reach:
            why = (
                f"{', '.join(out_of_reach)} cannot open {path}, which {self._chief} made. Save to "
                "a directory that all tasks share, or leave transport out: then tasks send their "
                "variables"
            )
        elif reasons:
            index, reason = next(iter(reasons.items()))
            why = (
                f"{self._graph.tasks[index]} sees {path} {reason}, where several tasks that write "
                "to one file lose each other's bytes. Nothing was written. Use transport='files': "
                "every task writes a data file of its own; or leave transport out: then one task "
                "writes, and the others send"
            )
        if why:
            raise tf.errors.FailedPreconditionError(None, None, f"transport='shared', but {why}")

    def _warn_of_one_writer(self, path: str, reasons: dict[int, str]) -> None:
        """Warns, once, that tasks which can open the file do not write to it."""
        index, reason = next(iter(reasons.items()))
        if self._warned == reason:
            return
        self._warned = reason
        _LOGGER.warning(
            "%s sees %s %s, where several tasks that write to one file lose each other's bytes: %s "
            "sent their variables to %s. With Saver(transport='files') every task writes a data "
            "file of its own",
            self._graph.tasks[index],
            path,
            reason,
            ", ".join(self._graph.tasks[index] for index in reasons),
            self._chief,
        )

    def _plan(self, writers: _Writers, shapes: dict[int, tuple[tuple[int, ...], int]]) -> Any:
        # Not a list: there may be a million.
        entries = (
            (
                source.name,
                source.slice_spec,
                source.aggregation,
                source.dtype.as_datatype_enum,
                shapes[number][0],
                self._homes[number],
                shapes[number][1],
            )
            for number, source in enumerate(self._placed.sources)
        )
        memory = self._transport.memory_bytes
        try:
            return _native.bundle().ClusterPlan(
                entries,
                self._placed.request.layout,
                chief=0,
                writers=writers.writes,
                part_bytes=self._round_bytes,
                group_bytes=int(memory * KEPT_SHARE),
                block_bytes=writers.block_bytes,
            )
        except ValueError as error:
            raise tf.errors.InvalidArgumentError(None, None, str(error)) from error

    @property
    def _budget_bytes(self) -> int:
        return int(self._transport.memory_bytes * (1 - KEPT_SHARE / 2))

    @property
    def _round_bytes(self) -> int:
        return max(1, int(self._transport.memory_bytes * ROUND_SHARE))

    @property
    def _check_bytes(self) -> int:
        return int(self._transport.memory_bytes * _CHECK_SHARE)

    def _write_direct(self, feeds: dict[Any, Any], plan: Any, sums: Any) -> None:
        """Has all tasks write the values that they hold, at once."""
        for direct, handovers in plan.direct(self._round_bytes):
            self._write(feeds, [direct], sums)
            self._blocks.hand_over(feeds, handovers)

    def _send(self, feeds: dict[Any, Any], plan: Any, sums: Any) -> None:
        """Has the other values sent to tasks that write, a bounded group at a time."""
        sizes = plan.streamed_bytes()
        streaming = self._connections.connect(
            feeds,
            {task: size for task, size in sizes.items() if task not in self._graph.stock_servers},
        )
        kept: dict[int, Any] = {}
        for group in range(plan.group_count):
            sources = plan.group_sources(group)
            self._keep(feeds, sources, kept)
            kept = sources
            self._write(feeds, plan.rounds(group, self._round_bytes, streaming), sums)
            self._stream(feeds, plan.streams(group, streaming), sums)
            self._blocks.hand_over(feeds, plan.group_handovers(group))
        if kept:
            self._keep(feeds, {}, kept)
        self._stock.end(feeds)

    def _stream(self, feeds: dict[Any, Any], streams: dict[int, Any], sums: Any) -> None:
        """Has tasks send parts over their data connections, and notes the sums of these."""

        def call(task: int, parts: Any, reads: Any) -> tuple[Any, dict[Any, Any]]:
            fetch, more = self._graph.stream(task, parts, reads, self._connections.number)
            return fetch, {**feeds, **more}

        calls = [
            functools.partial(call, task, parts, reads)
            for task, (_, parts, reads) in streams.items()
        ]
        # What ends the save or restore also ends the other streams.
        results = self._control.map(calls, data_connections.STREAMS_UNDER_WAY, fails_at_once=True)
        for (numbers, *_), (found, _) in zip(streams.values(), results, strict=True):
            sums[numbers] = found

    def _keep(self, feeds: dict[Any, Any], keep: dict[int, Any], release: dict[int, Any]) -> None:
        self._stock.release(feeds, release)
        concerned = sorted({*keep, *release} & {*self._graph.keep_ops})
        _, shapes = self._control.run(
            ([self._graph.keep_ops[index] for index in concerned], self._stock.keep_ops(keep)),
            {
                **feeds,
                **self._graph.keep_feeds(concerned, keep, release),
                self._graph.budget: self._budget_bytes,
            },
        )
        self._stock.check_kept(shapes)

    def _write(self, feeds: dict[Any, Any], rounds: list[dict[int, Any]], sums: Any) -> None:
        """Has tasks write, some rounds at a time, and notes the sums of the parts."""

        def call(one: dict[int, Any]) -> tuple[Any, dict[Any, Any]]:
            fetches, given = {}, dict(feeds)
            for writer, (_, names, parts, reads) in one.items():
                fetches[writer], more = self._graph.write(writer, names, parts, reads)
                given.update(more)
            return fetches, given

        calls = [functools.partial(call, one) for one in rounds]
        for one, results in zip(rounds, self._control.map(calls, ROUNDS_UNDER_WAY), strict=True):
            for writer, (numbers, *_) in one.items():
                sums[numbers] = results[writer]

    def _describe(self, writers: _Writers) -> str:
        unreachable = [
            task
            for task, writes in zip(self._graph.tasks, writers.writes, strict=True)
            if not writes
        ]
        if not unreachable:
            return "every task wrote its variables"
        what = f"{', '.join(unreachable)} sent their variables to {self._chief}"
        if writers.reasons:
            task, reason = next(iter(writers.reasons.items()))
            what += f", since {task} sees the file {reason}"
        if not self._stock.tasks:
            return what
        return f"{what} ({', '.join(self._stock.tasks)}: as plain tensors)"

    def _renewing(
        self, feeds: dict[Any, Any], running: transfer.Transfer
    ) -> contextlib.AbstractContextManager[None]:
        """Renews the lease on every task while the block lasts, and asks what they have written."""
        given = {
            **feeds,
            **self._graph.keep_feeds(self._graph.keep_ops, {}, {}),
            self._graph.budget: 0,
        }
        keep_ops = list(self._graph.keep_ops.values())
        return self._control.keeping_alive(keep_ops, given, feeds[self._graph.lease], running.tell)

    @contextlib.contextmanager
    def _dropping(self, feeds: dict[Any, Any]) -> Iterator[None]:
        """Ends the save on every task if the block fails."""
        try:
            yield
        except BaseException:
            save_id = feeds[self._graph.save_id]
            drops = dict.fromkeys(
                self._graph.tasks, lambda: _native.ops().autodist_drop_save(save_id)
            )
            self._control.notify({**drops, **self._stock.drop_ops()})
            raise
