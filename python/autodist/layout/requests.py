"""What is to be saved or restored, as data: every way of saving and restoring takes it.

`autodist.tf_nodes` makes requests from the saver nodes of a user's graph. The transformer makes
them from those of an original graph.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist.layout.box import Box


@dataclasses.dataclass(frozen=True)
class RequestEntry:
    """One entry of a request: a variable, a shard or replica of one, or a tensor of another kind.

    Attributes:
      tensor_name: its name in the checkpoint.
      slice: `shape_and_slice` of the shard; empty: all of the tensor.
      dtype: its `tf.DType`.
      aggregation: how the replicas of a save become one; empty in a restore, and for a tensor.
      device: where it is, `/job:worker/task:1/device:CPU:0`; without the task on one machine;
        empty: not known yet.
      node: name of the op of the variable; of any other op, for a tensor that no variable holds.
      output: which output of `node` the tensor is; None for a variable.
      validate_shape: of a restore: whether a variable without a fixed shape keeps the shape that it
        has.
    """

    tensor_name: str
    slice: str
    dtype: Any
    aggregation: str
    device: str
    node: str
    output: int | None = None
    validate_shape: bool = False

    @property
    def shape_and_box(self) -> tuple[tuple[int, ...], Box] | None:
        """The shape of the logical variable and the box of it; None for all of a tensor.

        Raises:
          ValueError: if `slice` is not of TensorFlow's form.
        """
        return Box.parse(self.slice) if self.slice else None

    @staticmethod
    def of_variable(
        name: bytes, spec: str | bytes, handle: Any, dtype: Any, aggregation: str = ""
    ) -> RequestEntry:
        """The variable, shard or replica behind a handle, which is a `tf.Tensor`."""
        return RequestEntry(
            name.decode(), _text(spec), dtype, aggregation, handle.device, handle.op.name
        )

    @staticmethod
    def of_tensor(name: bytes, spec: bytes | str, tensor: Any) -> RequestEntry:
        """A `tf.Tensor` that no variable holds."""
        return RequestEntry(
            name.decode(),
            _text(spec),
            tensor.dtype,
            "",
            tensor.device,
            tensor.op.name,
            tensor.value_index,
        )

    @property
    def task(self) -> str:
        """The task, `/job:worker/task:1`; empty on one machine."""
        found = dict(
            field.split(":", 1) for field in self.device.strip("/").split("/") if ":" in field
        )
        return f"/job:{found['job']}/task:{found.get('task')}" if "job" in found else ""


@dataclasses.dataclass(frozen=True)
class SaveRequest:
    """What a save writes.

    Attributes:
      entries: the values, in the order of the saver's node.
      layout: `'original'`, `'slices'` or `'restorable'`.
      lock: `'block'` or `'copy'`.
      threads: how many threads write; 0 lets the machine decide.
      durable: whether all is synced.
    """

    entries: tuple[RequestEntry, ...]
    layout: str
    lock: str
    threads: int
    durable: bool


@dataclasses.dataclass(frozen=True)
class RestoreRequest:
    """What a restore reads, and where it goes.

    Attributes:
      entries: the variables that take values.
      verify: `'before'`, `'during'` or `'swap'`.
      threads: how many threads read; 0 lets the machine decide.
    """

    entries: tuple[RequestEntry, ...]
    verify: str
    threads: int


def _text(spec: str | bytes) -> str:
    return spec.decode() if isinstance(spec, bytes) else spec
