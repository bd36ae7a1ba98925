"""Adds ops to the transformed graph."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from autodist import tf_internals

_MAX_SEED = 2**31 - 1


class Builder:
    """The transformed graph under construction.

    Attributes:
      graph: the transformed `tf.Graph`.
      replica_devices: one device per replica.
    """

    def __init__(self, replica_devices: tuple[str, ...]) -> None:
        self.graph = tf.Graph()
        self.replica_devices = replica_devices

    @contextlib.contextmanager
    def adding(self, name: str, device: str, controls: list[Any] | None = None) -> Iterator[None]:
        """Ops made with TensorFlow's Python API inside this context go to the transformed graph.

        Args:
          name: name scope.
          device: where they run.
          controls: ops of the transformed graph they wait for.
        """
        with (
            self.graph.as_default(),
            tf.device(device),
            tf.name_scope(name),
            tf.control_dependencies(controls or []),
        ):
            yield

    def copy(
        self,
        op: Any,
        inputs: list[Any],
        controls: list[Any],
        *,
        replica: int = 0,
        shard: int | None = None,
        device: str | None = None,
    ) -> Any:
        """Copies one op of the original graph.

        Args:
          op: the original op; its attributes are kept.
          inputs: tensors of the transformed graph.
          controls: ops of the transformed graph it waits for.
          replica: whose copy it is; copies of a random op draw different numbers.
          shard: which shard it works on, for the name.
          device: where it runs; None: on the replica's device, or where its resource inputs live.

        Returns:
          The new `tf.Operation`.
        """
        node = op.node_def
        del node.input[:]
        for attr in [a for a in node.attr if a.startswith("_")]:
            if attr in ("_class", "_output_shapes") or attr.startswith("_autodist"):
                del node.attr[attr]
        name = op.name
        if shard is not None:
            name = f"{name}/shard_{shard}"
        if replica:
            name = f"replica_{replica}/{name}"
            _separate_replica(node, replica)
        node.name = self.graph.unique_name(name)
        node.device = self._device(inputs, replica) if device is None else device
        return tf_internals.create_op(self.graph, node, inputs, controls)

    def variable(
        self, handle_op: Any, name: str, device: str, shape: tuple[int, ...] | None
    ) -> Any:
        """Makes a variable after an original `VarHandleOp`; returns its handle.

        Args:
          handle_op: the original op.
          name: of the new op; the variable has no other name.
          device: where it lives.
          shape: of the new variable; None: the original's.
        """
        node = handle_op.node_def
        node.name = self.graph.unique_name(name)
        node.device = device
        node.attr["shared_name"].s = node.name.encode()
        node.attr.pop("_class", None)
        if shape is not None:
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
        return tf_internals.create_op(self.graph, node, [], []).outputs[0]

    def _device(self, inputs: list[Any], replica: int) -> str:
        """Where an op with these inputs runs: beside the resource it uses, else on the replica's device."""
        for tensor in inputs:
            if tensor.dtype == tf.resource:
                return str(tensor.device)
        return self.replica_devices[replica]


def _separate_replica(node: Any, replica: int) -> None:
    """Gives a replica's copy of an op its own random stream and its own loop frame."""
    if "seed" in node.attr and "seed2" in node.attr:
        seed, seed2 = node.attr["seed"].i, node.attr["seed2"].i
        if seed or seed2:
            text = f"{seed} {seed2} {replica}".encode()
            node.attr["seed2"].i = zlib.crc32(text) % _MAX_SEED + 1
    if "frame_name" in node.attr:
        node.attr["frame_name"].s += f"/replica_{replica}".encode()
