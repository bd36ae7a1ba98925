"""What a save or restore is about in the transformed graph: pure data, for whoever moves the bytes."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class StoredPart:
    """One entry of a `SaveV2` or `RestoreV2`: a shard or replica, or a tensor of another kind.

    Attributes:
      tensor_name: its name in the checkpoint.
      slice: `shape_and_slice` of the shard; empty: all of the tensor.
      dtype: its type.
      aggregation: how the replicas of a save become one; empty in a restore.
      device: where it is in the transformed graph, `/job:worker/task:1/device:CPU:0`; without the task on one machine.
      node: name of the `VarHandleOp` of the transformed graph; of any other op, for a tensor that no variable holds.
      output: which output of `node` the tensor is; None for a variable.
    """

    tensor_name: str
    slice: str
    dtype: tf.DType
    aggregation: str
    device: str
    node: str
    output: int | None = None

    @property
    def task(self) -> str:
        """The task, `/job:worker/task:1`; empty on one machine."""
        spec = tf.DeviceSpec.from_string(self.device)
        return "" if spec.job is None else f"/job:{spec.job}/task:{spec.task}"

    @staticmethod
    def of_variable(
        name: bytes, spec: str, handle: Any, dtype: Any, aggregation: str = ""
    ) -> StoredPart:
        """The shard or replica behind a handle."""
        return StoredPart(name.decode(), spec, dtype, aggregation, handle.device, handle.op.name)

    @staticmethod
    def of_tensor(name: bytes, spec: bytes | str, tensor: Any) -> StoredPart:
        """A tensor that no variable holds."""
        text = spec.decode() if isinstance(spec, bytes) else spec
        return StoredPart(
            name.decode(),
            text,
            tensor.dtype,
            "",
            tensor.device,
            tensor.op.name,
            tensor.value_index,
        )
