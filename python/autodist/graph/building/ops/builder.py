"""Adds ops to the transformed graph."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from autodist.graph.building.ops import random_seeds
from autodist.graph.building.ops.random_functions import RandomFunctions
from autodist.private_apis import tf_graphs
from autodist.tf_nodes import marks


class Builder:
    """The transformed graph under construction.

    Attributes:
      graph: the transformed `tf.Graph`.
      replica_devices: one device per replica.
      host_device: the CPU of the process that runs the program.
      container: where variables, tables and the like lie on servers that several sessions use;
        empty: where TensorFlow has them.
    """

    def __init__(
        self, replica_devices: tuple[str, ...], host_device: str, container: str = ""
    ) -> None:
        self.graph = tf.Graph()
        self.replica_devices = replica_devices
        self.host_device = host_device
        self.container = container
        self._template: tuple[Any, Any] = (None, None)
        self._random_functions = RandomFunctions(self.graph)

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

    def adding_on_cpu(self, name: str, device: str) -> contextlib.AbstractContextManager[None]:
        """As `adding`, for an autodist op: on `device` if it is a CPU, else on its task's CPU."""
        return self.adding(name, cpu_beside(device))

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
            Branches and loops that TensorFlow takes apart run on the replica's: their ops on a
            variable are placed one by one.

        Returns:
          The new `tf.Operation`.
        """
        template = self._template_of(op)
        name = op.name
        if shard is not None:
            name = f"{name}/shard_{shard}"
        changed = self._contained(template.attributes)
        if replica:
            name = f"replica_{replica}/{name}"
            changed |= self._of_replica(template, replica)
        if device is None:
            device = self._device(inputs, replica)
            if "_lower_using_switch_merge" in template.attributes:
                device = self.replica_devices[replica]
                inputs = [self._brought_to(device, tensor) for tensor in inputs]
        name = self.graph.unique_name(name)
        return template.create(
            self.graph,
            name,
            device=device,
            inputs=inputs,
            control_inputs=controls,
            changed=changed,
        )

    def variable(
        self, handle_op: Any, name: str, device: str, shape: tuple[int, ...] | None
    ) -> Any:
        """Makes a variable like that of an original `VarHandleOp`; returns its handle.

        Args:
          handle_op: the original op.
          name: of the new op; the variable has no other name.
          device: where it lives.
          shape: of the new variable; None: the original's.
        """
        name = self.graph.unique_name(name)
        template = self._template_of(handle_op)
        changed = self._contained(template.attributes)
        changed["shared_name"] = tf.compat.v1.AttrValue(s=name.encode())
        if shape is not None:
            changed["shape"] = tf.compat.v1.AttrValue(shape=tf.TensorShape(shape).as_proto())
        made = template.create(
            self.graph, name, device=device, inputs=[], control_inputs=[], changed=changed
        )
        return made.outputs[0]

    def is_at_host(self, device: str) -> bool:
        """Whether a device is one of the process that runs the program."""
        here, there = (tf.DeviceSpec.from_string(d) for d in (self.host_device, device))
        return (here.job, here.task) == (there.job, there.task)

    def _contained(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """The attribute that puts the state of an op into this session's container."""
        if not self.container or "container" not in attributes or attributes["container"].s:
            return {}
        return {"container": tf.compat.v1.AttrValue(s=self.container.encode())}

    def _brought_to(self, device: str, tensor: Any) -> Any:
        """Copies `tensor` to `device`, unless it is a handle.

        TensorFlow does not move a tensor that enters a loop.
        """
        if tensor.dtype == tf.resource or tensor.device == device:
            return tensor
        with self.adding(f"{tensor.op.name}/brought", device):
            return tf.identity(tensor)

    def _of_replica(self, template: Any, replica: int) -> dict[str, Any]:
        """The attributes that give a replica's copy its own random stream and loop frame."""
        attributes = template.attributes
        changed = random_seeds.seeds_of_replica(attributes, replica)
        changed.update(self._random_functions.attributes_of(template.type, attributes, replica))
        if "frame_name" in attributes:
            frame = attributes["frame_name"].s + f"/replica_{replica}".encode()
            changed["frame_name"] = tf.compat.v1.AttrValue(s=frame)
        return changed

    def _template_of(self, op: Any) -> Any:
        """The template of `op`.

        The last is kept, for the copies of one op are made one after the other.
        """
        if self._template[0] is not op:
            self._template = (op, tf_graphs.OpTemplate.of_op(op, _is_dropped))
        return self._template[1]

    def _device(self, inputs: list[Any], replica: int) -> str:
        """The device of an op: that of the resource it uses, else the replica's."""
        for tensor in inputs:
            if tensor.dtype == tf.resource:
                return str(tensor.device)
        return self.replica_devices[replica]


@functools.lru_cache(maxsize=1024)
def is_cpu(device: str) -> bool:
    """Whether a device is a CPU."""
    return bool(tf.DeviceSpec.from_string(device).device_type == "CPU")


@functools.lru_cache(maxsize=1024)
def cpu_beside(device: str) -> str:
    """The device itself if it is a CPU, else the CPU of its task."""
    if is_cpu(device):
        return device
    spec = tf.DeviceSpec.from_string(device)
    return str(spec.replace(device_type="CPU", device_index=0).to_string())


def _is_dropped(attribute: str) -> bool:
    """Whether copies omit an attribute, which names original ops or is meant for `Saver`."""
    return attribute in ("_class", "_output_shapes") or marks.is_mark(attribute)
