"""Builds the ops of a save by several tasks, in a graph of our own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _native
from autodist.checkpoint.distributed.instants import joint_instant
from autodist.checkpoint.distributed.stock_servers import stock_server_reads
from autodist.checkpoint.distributed.tasks import task_names
from autodist.checkpoint.distributed.variables import own_graph_handles

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.variables.sources import PlacedSave, Source


class SaveGraph:
    """The ops of the saves of one saver; those of writes are built when they are first needed.

    Attributes:
        fed: The numbers of the sources that are no variables: their values are fed.
        tasks: All tasks, the chief first; a task's number is its place here.
        stock_servers: By number, the reads of the tasks that have not loaded our ops.
        joins: By number of a task, the numbers of its sources and its `AutodistJoinSave`.
        keep_ops: By number of a task, its `AutodistKeepSources`.
        finish_ops: An `AutodistFinishParts` for each task that writes, but the chief. Run again,
            they do nothing.
        joint: The ops that take all variables at one instant; `None`: they are not.
    """

    def __init__(
        self,
        graph: Any,
        placed: PlacedSave,
        homes: Sequence[str],
        *,
        by_value: Collection[int],
        chief: str,
        without_ops: Collection[str],
        label: str,
        is_instant: bool,
        has_figures: bool,
    ) -> None:
        """Builds the ops that begin and end a save.

        Args:
            graph: The graph to build in.
            placed: What is saved.
            homes: The task that each source is read or sent from.
            by_value: The numbers of the sources that are read as whole values.
            chief: The task that makes the files.
            without_ops: The tasks that have not loaded our ops.
            label: A name for the saver and its master.
            is_instant: Whether all variables are taken at one instant.
            has_figures: Whether figures of what is written are computed.
        """
        self._has_figures = has_figures
        self._graph = graph
        self._placed = placed
        self.tasks = [chief, *sorted(set(homes) - {chief})]
        self.fed = [i for i, source in enumerate(placed.sources) if source.variable is None]
        self.stock_servers: dict[int, stock_server_reads.StockServerReads] = {}
        self._writers: dict[tuple[Any, ...], Any] = {}
        self._streams: dict[int, tuple[Any, Any, Any]] = {}
        self.joint: joint_instant.JointInstant | None = None
        with graph.as_default():
            self.save_id = tf.compat.v1.placeholder(tf.string, [])
            self.prefix = tf.compat.v1.placeholder(tf.string, [])
            self.path = tf.compat.v1.placeholder(tf.string, [])
            self.lease = tf.compat.v1.placeholder(tf.int64, [])
            self.budget = tf.compat.v1.placeholder(tf.int64, [])
            self.values = [
                tf.compat.v1.placeholder(placed.sources[number].dtype) for number in self.fed
            ]
            self._value_of = dict(zip(self.fed, self.values, strict=True))
            self.keys = tf.compat.v1.placeholder(tf.string, [None])
            self.entries = tf.compat.v1.placeholder(tf.string, [None])
            self._keep = [tf.compat.v1.placeholder(tf.int64, [None]) for _ in self.tasks]
            self._release = [tf.compat.v1.placeholder(tf.int64, [None]) for _ in self.tasks]
            self._build(homes, by_value, without_ops, label=label, is_instant=is_instant)

    def _build(
        self,
        homes: Sequence[str],
        by_value: Collection[int],
        without_ops: Collection[str],
        *,
        label: str,
        is_instant: bool,
    ) -> None:
        ops = _native.ops()
        placed = self._placed
        with self._on(0):
            self.open = ops.autodist_open_save(
                self.save_id, self.prefix, self.lease, durable=placed.request.durable
            )
        by_home: dict[str, list[int]] = {}
        for number, home in enumerate(homes):
            by_home.setdefault(home, []).append(number)
        handles = own_graph_handles.OwnHandles(source.variable for source in placed.sources)
        # Those that are taken where they lie and sent to the chief.
        taken: dict[int, Any] = {}
        if is_instant:
            self.joint = joint_instant.JointInstant(self.tasks[0], placed.sources, handles)
            taken = self.joint.read(
                number for number in by_value if joint_instant.is_taken(placed.sources[number])
            )
        self.joins: dict[int, tuple[list[int], Any]] = {}
        for index, task in enumerate(self.tasks):
            here = by_home.get(task, [])
            if task in without_ops:
                self.stock_servers[index] = stock_server_reads.StockServerReads(
                    task,
                    {number: placed.sources[number] for number in here},
                    {number: handles.handle(number) for number in here},
                    label=label,
                    save_id=self.save_id,
                )
                continue
            held: list[int] = []
            read: list[int] = []
            for number in here:
                is_held = placed.sources[number].is_pinned and number not in by_value
                (held if is_held else read).append(number)
            if held or read:
                self.joins[index] = self._join(index, held, read, handles, taken)
        if self.joint is not None:
            self.joint.finish()
        self.keep_ops: dict[int, Any] = {}
        self.finish_ops: list[Any] = []
        drops = []
        for index in range(len(self.tasks)):
            if index in self.stock_servers:
                continue
            with self._on(index):
                self.keep_ops[index] = ops.autodist_keep_sources(
                    self.save_id, self._keep[index], self._release[index], self.budget
                )
                if index in self.joins and index != 0:
                    finish = ops.autodist_finish_parts(
                        self.save_id, durable=placed.request.durable
                    ).op
                    self.finish_ops.append(finish)
                    with tf.control_dependencies([finish]):
                        drops.append(ops.autodist_drop_save(self.save_id))
        with self._on(0), tf.control_dependencies(drops):
            self.commit = ops.autodist_commit_save(self.save_id, self.keys, self.entries)

    def keep_feeds(
        self, concerned: Iterable[int], keep: Mapping[int, Any], release: Mapping[int, Any]
    ) -> dict[Any, Any]:
        """Returns the feeds of `keep_ops`: for each task, which sources to keep and which to release.

        Args:
            concerned: The numbers of the tasks whose `keep_ops` are run.
            keep: The sources to keep, by task.
            release: Those to let go.
        """
        feeds: dict[Any, Any] = {}
        for index in concerned:
            feeds[self._keep[index]] = keep.get(index, [])
            feeds[self._release[index]] = release.get(index, [])
        return feeds

    def write(
        self, writer: int, names: list[bytes], parts: Any, reads: Mapping[int, Any]
    ) -> tuple[Any, dict[Any, Any]]:
        """Returns the fetch and the feeds that have a task write parts.

        Args:
            writer: The number of the task.
            names: From the plan, as the next two.
            parts: For the writer.
            reads: By task, for those that send to it.
        """
        reads = dict(reads)
        senders = []
        for task in sorted(reads):
            numbers = None
            if task in self.stock_servers:
                numbers, reads[task] = self.stock_servers[task].arguments(reads[task])
            senders.append((task, numbers))
        key = writer, tuple(senders)
        if key not in self._writers:
            self._writers[key] = self._write(*key)
        fetch, names_in, parts_in, reads_in = self._writers[key]
        feeds = {names_in: names, parts_in: parts}
        feeds.update({placeholder: reads[task] for task, placeholder in reads_in.items()})
        return fetch, feeds

    def stream(self, task: int, parts: Any, reads: Any, number: Any) -> tuple[Any, dict[Any, Any]]:
        """Returns the fetch and the feeds that have a task send parts over its data connection.

        The fetch is the sums of the parts, which the chief writes.

        Args:
            task: The number of the task.
            parts: For the chief.
            reads: For the task.
            number: The placeholder of the task's number.
        """
        if task not in self._streams:
            ops = _native.ops()
            with self._graph.as_default():
                parts_in, reads_in = (tf.compat.v1.placeholder(tf.int64, [None]) for _ in range(2))
                with self._on(task):
                    sent = ops.autodist_send_parts(self.save_id, reads_in)
                with self._on(0):
                    sums = ops.autodist_receive_parts(
                        self.save_id, number, parts_in, figures=self._has_figures
                    )
            self._streams[task] = (sums, sent), parts_in, reads_in
        fetch, parts_in, reads_in = self._streams[task]
        return fetch, {parts_in: parts, reads_in: reads, number: task}

    def _write(
        self, writer: int, senders: tuple[tuple[int, Any], ...]
    ) -> tuple[Any, Any, Any, dict[int, Any]]:
        ops = _native.ops()
        reads: dict[int, Any] = {}
        with self._graph.as_default():
            names = tf.compat.v1.placeholder(tf.string, [None])
            parts = tf.compat.v1.placeholder(tf.int64, [None])
            buffers = []
            for task, numbers in senders:
                if numbers is not None:
                    buffer, reads[task] = self.stock_servers[task].read(numbers)
                    buffers.append(buffer)
                    continue
                reads[task] = tf.compat.v1.placeholder(tf.int64, [None])
                with self._on(task):
                    buffers.append(ops.autodist_read_parts(self.save_id, reads[task]))
            with self._on(writer):
                sums = ops.autodist_write_parts(
                    self.save_id,
                    names,
                    parts,
                    buffers,
                    lock=self._placed.request.lock,
                    threads=self._placed.request.threads,
                    figures=self._has_figures,
                )
        return sums, names, parts, reads

    def _join(
        self,
        index: int,
        held: list[int],
        read: list[int],
        handles: own_graph_handles.OwnHandles,
        taken: Mapping[int, Any],
    ) -> tuple[list[int], Any]:
        ops = _native.ops()
        if self.joint is not None:
            numbers, pins = self.joint.reference(held, self.tasks[index])
        else:
            numbers, pins = handles.reference(held, task_names.processor_of(self.tasks[index]))
        tensors = []
        for number in read:
            source = self._placed.sources[number]
            if number in taken:
                tensors.append(taken[number])
                continue
            tensors.append(
                self._value_of[number]
                if source.variable is None
                else _value(source, handles.handle(number))
            )
        numbers.extend(read)
        with self._on(index):
            outputs = ops.autodist_join_save(
                save_id=self.save_id,
                path=self.path,
                lease_seconds=self.lease,
                sources=tf.constant(numbers, tf.int64, [len(numbers)]),
                names=tf.constant([self._placed.sources[i].name for i in numbers], tf.string),
                pins=pins,
                tensors=tensors,
            )
        return numbers, outputs

    def _on(self, index: int) -> Any:
        return tf.device(task_names.processor_of(self.tasks[index]))


def _value(source: Source, variable: Any) -> Any:
    if not source.is_resource:
        return variable
    with tf.device(variable.device):
        return tf.raw_ops.ReadVariableOp(resource=variable, dtype=source.dtype)
