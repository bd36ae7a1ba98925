"""Reads variables on stock servers: tasks that have not loaded our ops.

A run of a session sees one value of a variable, but sending a large variable takes many runs. So
the save keeps it: it assigns the value to a second variable of the server, which shares the buffer.
The next dense update writes to a new buffer. All variables are kept when a save begins. Only a
variable in copy-on-read mode, as updates by rows leave it, is copied, just before it is sent.
`Slice` of a flat tensor is a view if it begins at a multiple of 64 bytes; `Bitcast` always is.
(TensorFlow 2.21. Servers have no session handles.)

Kept variables have fixed names: the next save from the same master finds and frees those of a save
that lost the server. A second process may use the same names. An owner's mark tells each that it
reads its own::

    keep:   assign the mark, then the values        read:   read the values, then compare the mark
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.distributed.tasks import task_names
from autodist.checkpoint.distributed.variables.own_graph_handles import is_in_processor_memory

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.variables.sources import Source

# Errors about kept variables have it in their text.
CONTAINER = "autodist_kept"

# As the buffers of `AutodistReadParts`.
_ALIGNMENT = 64

# What `Bitcast` takes; booleans are cast.
_SLICED = frozenset(
    {
        *(tf.bfloat16, tf.float16, tf.float32, tf.float64, tf.complex64, tf.complex128, tf.bool),
        *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
        *(tf.qint8, tf.quint8, tf.qint16, tf.quint16, tf.qint32),
    }
)

# What leaves a variable out of copy-on-read mode, beside `ResourceApply...`.
_DENSE_USES = frozenset(
    {
        "AssignAddVariableOp",
        "AssignSubVariableOp",
        "AssignVariableOp",
        "DestroyResourceOp",
        "DisableCopyOnRead",
        "ReadVariableOp",
        "VarIsInitializedOp",
        "VariableShape",
    }
)


def can_slice(source: Source) -> bool:
    """Tells whether TensorFlow's ops can send a variable in parts."""
    return (
        source.variable is not None
        and source.dtype in _SLICED
        and is_in_processor_memory(source.variable)
    )


class StockServerReads:
    """The ops for the variables of one stock server.

    Attributes:
        task: The task of the server.
        numbers: The numbers of its variables.
        are_there: For each variable an op that tells whether it has a value.
        shapes: For each variable an op that returns its shape.
        free_mark: The op that frees the owner's mark.
    """

    def __init__(
        self,
        task: str,
        sources: Mapping[int, Source],
        variables: Mapping[int, Any],
        *,
        label: str,
        save_id: Any,
    ) -> None:
        """Builds the ops of every save in the default graph.

        Args:
            task: The task.
            sources: What of it is saved, by number.
            variables: The variables in the default graph, likewise.
            label: A name for the saver, as the next process that has it calls it.
            save_id: The scalar that a save is fed with.
        """
        self.task = task
        self._sources = sources
        self._variables = variables
        self._label = label
        self._save_id = save_id
        self._graph = tf.compat.v1.get_default_graph()
        self._reads: dict[tuple[int, ...], tuple[Any, Any]] = {}
        self.numbers = list(sources)
        self.are_there = [self._is_there(number) for number in sources]
        self.shapes = [self._shape(variables[number]) for number in sources]
        self._kept = {
            number: self._kept_variable(number)
            for number, source in sources.items()
            if source.is_resource
        }
        with self._on_task():
            self._mark = self._variable("mark", tf.string)
            marked = tf.raw_ops.AssignVariableOp(resource=self._mark, value=save_id)
        with tf.control_dependencies([marked]):
            self._keep_ops = {number: self._keep(number) for number in sources}
        self._free_ops = {number: _destroy(kept) for number, kept in self._kept.items()}
        self.free_mark = _destroy(self._mark)

    def may_be_copied(self, number: int) -> bool:
        """Whether keeping a variable may take a copy, as far as the user's graph tells."""
        source = self._sources[number]
        return source.is_resource and any(
            op.type not in _DENSE_USES and not op.type.startswith("ResourceApply")
            for op in source.variable.op.outputs[0].consumers()
        )

    def is_kept_by_reference(self, number: int) -> bool:
        """Whether keeping a variable takes no copy, as far as the user's graph tells."""
        return self._sources[number].is_resource and not self.may_be_copied(number)

    def keep_ops(self, numbers: Sequence[int]) -> dict[int, Any]:
        """Returns the ops that keep variables, by number.

        Each returns the shape of its variable then.
        """
        return {number: self._keep_ops[number] for number in map(int, numbers)}

    def free_ops(self, numbers: Sequence[int]) -> list[Any]:
        """Returns the ops that free kept variables."""
        return [self._free_ops[number] for number in map(int, numbers) if number in self._free_ops]

    def free_all_ops(self) -> list[Any]:
        """Makes the ops that free everything that may be kept, in the default graph."""
        kept = [self._kept_variable(number) for number in self._kept]
        with self._on_task():
            kept.append(self._variable("mark", tf.string))
        return [_destroy(each) for each in kept]

    def name_of(self, number: int) -> str:
        """Returns the name of a variable for messages."""
        return f"variable '{self._sources[number].name.decode()}'"

    def element_bytes(self, number: int) -> int:
        """Returns the size of an element of a variable."""
        return int(self._sources[number].dtype.size)

    def arguments(self, reads: Any) -> tuple[tuple[int, ...], Any]:
        """Returns the numbers of the variables of a read, and the feed of its placeholder.

        Args:
            reads: What the plan says to `AutodistReadParts`.
        """
        rows = np.asarray(reads[1:], np.int64).reshape(-1, 3)
        numbers = tuple(map(int, rows[:, 0]))
        sizes = np.array([self.element_bytes(number) for number in numbers], np.int64)
        pads = -(rows[:, 2] * sizes) % _ALIGNMENT
        return numbers, np.column_stack([rows[:, 1:], pads]).ravel()

    def read(self, numbers: tuple[int, ...]) -> tuple[Any, Any]:
        """Returns the bytes of parts of variables as one tensor, and the placeholder to feed."""
        if numbers not in self._reads:
            with self._graph.as_default():
                self._reads[numbers] = self._read(numbers)
        return self._reads[numbers]

    def _read(self, numbers: tuple[int, ...]) -> tuple[Any, Any]:
        parts = tf.compat.v1.placeholder(tf.int64, [3 * len(numbers)])
        pieces = []
        with self._on_task():
            # Few ops, for there may be many variables.
            each = iter(tf.split(parts, 3 * len(numbers)))
            flat, start = tf.constant([-1]), tf.constant([0], tf.int64)
            zeros = tf.zeros(_ALIGNMENT, tf.uint8)
        for number in numbers:
            with tf.device(self._variables[number].device):
                pieces.append(self._bytes(number, next(each), next(each), flat))
            with self._on_task():
                pieces.append(tf.raw_ops.Slice(input=zeros, begin=start, size=next(each)))
        with self._on_task():
            whole = tf.raw_ops.ConcatV2(values=pieces, axis=0) if len(numbers) > 1 else pieces[0]
            with tf.control_dependencies([whole]):
                mark = tf.raw_ops.ReadVariableOp(resource=self._mark, dtype=tf.string)
            own = tf.debugging.assert_equal(
                mark,
                self._save_id,
                message=f"{CONTAINER}/{self._label} is of another save",
            )
            with tf.control_dependencies([own]):
                return tf.identity(whole), parts

    def _bytes(self, number: int, first: Any, count: Any, flat: Any) -> Any:
        source = self._sources[number]
        value = self._variables[number]
        if source.is_resource:
            value = tf.raw_ops.ReadVariableOp(resource=self._kept[number], dtype=source.dtype)
        value = tf.raw_ops.Reshape(tensor=value, shape=flat)
        piece = tf.raw_ops.Slice(input=value, begin=first, size=count)
        if source.dtype == tf.bool:
            return tf.raw_ops.Cast(x=piece, DstT=tf.uint8)
        piece = tf.raw_ops.Bitcast(input=piece, type=tf.uint8)
        return piece if source.dtype.size == 1 else tf.raw_ops.Reshape(tensor=piece, shape=flat)

    def _is_there(self, number: int) -> Any:
        variable = self._variables[number]
        with tf.device(variable.device):
            if self._sources[number].is_resource:
                return tf.raw_ops.VarIsInitializedOp(resource=variable)
            return tf.raw_ops.IsVariableInitialized(ref=variable)

    def _keep(self, number: int) -> Any:
        source = self._sources[number]
        variable = self._variables[number]
        if not source.is_resource:
            # Updated in place, under whatever reads it: read as it is then.
            return self._shape(variable)
        with tf.device(variable.device):
            value = tf.raw_ops.ReadVariableOp(resource=variable, dtype=source.dtype)
            kept = tf.raw_ops.AssignVariableOp(resource=self._kept[number], value=value)
            with tf.control_dependencies([kept]):
                return self._shape(self._kept[number])

    def _shape(self, variable: Any) -> Any:
        with tf.device(variable.device):
            if variable.dtype == tf.resource:
                return tf.raw_ops.VariableShape(input=variable, out_type=tf.int64)
            return tf.raw_ops.Shape(input=variable, out_type=tf.int64)

    def _kept_variable(self, number: int) -> Any:
        with tf.device(self._variables[number].device):
            return self._variable(str(number), self._sources[number].dtype)

    def _variable(self, name: str, dtype: Any) -> Any:
        return tf.raw_ops.VarHandleOp(
            container=CONTAINER, shared_name=f"{self._label}/{name}", dtype=dtype, shape=None
        )

    def _on_task(self) -> Any:
        return tf.device(task_names.processor_of(self.task))


def _destroy(variable: Any) -> Any:
    return tf.raw_ops.DestroyResourceOp(resource=variable, ignore_lookup_error=True)
