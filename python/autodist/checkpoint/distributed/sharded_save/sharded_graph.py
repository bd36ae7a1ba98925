"""Builds the ops of a sharded save, in a graph of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _native
from autodist.checkpoint.distributed.instants import joint_instant
from autodist.checkpoint.distributed.tasks import task_names
from autodist.checkpoint.distributed.variables import own_graph_handles

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.sharded_save.sharded_plan import DataFile
    from autodist.checkpoint.distributed.variables.sources import PlacedSave

PROBE = "probe"


class ShardedGraph:
    """The ops of the saves of one saver.

    Attributes:
        directory: The placeholder of the directory that tasks write to.
        prefix: The placeholder of the checkpoint's prefix.
        values: The placeholders of the sources that are no variables.
        probes: By task, an op that reads the program's probe in the directory, then writes one.
        sizes: By number of a source, an op that counts its elements, where its shape is not static.
        save: The fetches that write the data files: of each its size and CRC as its task sees them,
            and as the chief does.
        merge: The op that makes one checkpoint of the data files.
        figures_files: The files with the figures of the data files, in the directory.
        joint: The ops that take all variables at one instant; `None`: they are not.
    """

    def __init__(
        self,
        graph: Any,
        placed: PlacedSave,
        data_files: Sequence[DataFile],
        *,
        homes: Sequence[str],
        chief: str,
        unsized: Sequence[int],
        is_instant: bool,
        has_figures: bool,
    ) -> None:
        """Builds the ops.

        Args:
            graph: The graph to build in.
            placed: What is saved.
            data_files: Which task writes which values.
            homes: The task of each source.
            chief: The task that makes the checkpoint of the data files.
            unsized: The numbers of the variables without a static shape.
            is_instant: Whether all variables are taken at one instant.
            has_figures: Whether each task writes a file with figures, too.
        """
        self._placed = placed
        self._has_figures = has_figures
        self._homes = homes
        fed = [number for number, source in enumerate(placed.sources) if source.variable is None]
        with graph.as_default():
            self.directory = tf.compat.v1.placeholder(tf.string, [])
            self.prefix = tf.compat.v1.placeholder(tf.string, [])
            self.values = [tf.compat.v1.placeholder(placed.sources[number].dtype) for number in fed]
            self._given = dict(zip(fed, self.values, strict=True))
            self._variables = own_graph_handles.OwnHandles(
                source.variable for source in placed.sources
            )
            writers = dict.fromkeys([chief, *(data_file.task for data_file in data_files)])
            self.probes = {task: self._probe(task, str(i)) for i, task in enumerate(writers)}
            self.sizes = {number: self._size(number) for number in unsized}
            # Each in a directory of its own, in which no task looks at another's files while they
            # grow: a client of a network file system may remember the size that it saw.
            names = [f"part-{i:05d}-of-{len(data_files):05d}/part" for i in range(len(data_files))]
            self.figures_files = [f"{name}.figures" for name in names] if has_figures else []
            self.joint: joint_instant.JointInstant | None = None
            # Values that one task takes and another writes.
            self._sent: dict[int, Any] = {}
            if is_instant:
                self.joint = joint_instant.JointInstant(chief, placed.sources, self._variables)
                self._sent = self.joint.read(
                    number
                    for data_file in data_files
                    for number in data_file.numbers
                    if joint_instant.is_taken(placed.sources[number])
                    and not self._is_pinned(data_file, number)
                )
            own = [
                self._save(data_file, name)
                for data_file, name in zip(data_files, names, strict=True)
            ]
            if self.joint is not None:
                self.joint.finish()
            # One op waits for all tasks: as many edges as tasks, not their square.
            with tf.device(task_names.processor_of(chief)), tf.control_dependencies(own):
                written = tf.no_op()
            with tf.control_dependencies([written]):
                self.save = own, [self._print(chief, name) for name in names]
            with tf.device(task_names.processor_of(chief)):
                self.merge = tf.raw_ops.MergeV2Checkpoints(
                    checkpoint_prefixes=tf.strings.join([self.directory, "/", names]),
                    destination_prefix=self.prefix,
                    delete_old_dirs=False,
                )

    def _probe(self, task: str, name: str) -> Any:
        with tf.device(task_names.processor_of(task)):
            seen = self._read_probe()
            with tf.control_dependencies([seen]):
                path = tf.strings.join([self.directory, f"/{PROBE}-{name}"])
                written = tf.raw_ops.WriteFile(filename=path, contents=seen)
            with tf.control_dependencies([written]):
                return tf.identity(seen)

    def _read_probe(self) -> Any:
        return tf.raw_ops.ReadFile(filename=tf.strings.join([self.directory, "/" + PROBE]))

    def _size(self, number: int) -> Any:
        variable = self._variables.handle(number)
        with tf.device(variable.device):
            if self._placed.sources[number].is_resource:
                shape = tf.raw_ops.VariableShape(input=variable, out_type=tf.int64)
            else:
                shape = tf.raw_ops.Shape(input=variable, out_type=tf.int64)
            return tf.reduce_prod(shape)

    def _is_pinned(self, data_file: DataFile, number: int) -> bool:
        """Tells whether the task of a data file reads a value of it in place."""
        return self._placed.sources[number].is_pinned and self._homes[number] == data_file.task

    def _save(self, data_file: DataFile, name: str) -> Any:
        sources = self._placed.sources
        held = [number for number in data_file.numbers if self._is_pinned(data_file, number)]
        if self.joint is not None:
            pinned, pins = self.joint.reference(held, data_file.task)
        else:
            pinned, pins = self._variables.reference(held, task_names.processor_of(data_file.task))
        read = [number for number in data_file.numbers if number not in set(pinned)]
        tensors = [self._value(number) for number in read]
        position = {number: i for i, number in enumerate([*pinned, *read])}
        with tf.device(task_names.processor_of(data_file.task)):
            # A server that hung until the save was given up finds no probe, and writes nothing.
            with tf.control_dependencies([self._read_probe()]):
                prefix = tf.strings.join([self.directory, "/" + name])
            save = _native.ops().autodist_save(
                prefix=prefix,
                tensor_names=_strings([sources[i].name for i in data_file.numbers]),
                shape_and_slices=_strings([sources[i].slice_spec for i in data_file.numbers]),
                aggregations=_strings([sources[i].aggregation for i in data_file.numbers]),
                pins=pins,
                tensors=tensors,
                value_index=[position[i] for i in data_file.numbers],
                layout=data_file.layout,
                lock=self._placed.request.lock,
                threads=self._placed.request.threads,
                durable=self._placed.request.durable,
                figures_file=self._has_figures,
            )
        with tf.control_dependencies([save]):
            return self._print(data_file.task, name)

    def _print(self, task: str, name: str) -> Any:
        with tf.device(task_names.processor_of(task)):
            return _native.ops().autodist_bundle_print(
                tf.strings.join([self.directory, "/" + name])
            )

    def _value(self, number: int) -> Any:
        source = self._placed.sources[number]
        if number in self._sent:
            return self._sent[number]
        if source.variable is None:
            return self._given[number]
        variable = self._variables.handle(number)
        with tf.device(variable.device):
            if source.is_resource:
                return tf.raw_ops.ReadVariableOp(resource=variable, dtype=source.dtype)
            return tf.identity(variable)


def _strings(values: list[bytes]) -> Any:
    return tf.constant(values, tf.string, [len(values)])
