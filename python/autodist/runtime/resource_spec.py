"""The resource spec: a YAML file that lists the machines and their devices.

    nodes:
      - address: localhost
        cpus: [0, 1]

Each listed GPU is a replica; a node without GPUs gives one replica per listed CPU. The CPUs hold the variables that
replicas share. A CPU is a TensorFlow device, `/device:CPU:i`; all of them share the machine's cores.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from autodist.errors import ArgumentError

_NODE_KEYS = frozenset({"address", "cpus", "gpus", "chief"})
_LOCAL_ADDRESSES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclasses.dataclass(frozen=True)
class ResourceSpec:
    """The devices of one machine.

    Attributes:
      cpus: numbers of the CPU devices.
      gpus: numbers of the GPU devices.
    """

    cpus: tuple[int, ...]
    gpus: tuple[int, ...] = ()

    @property
    def replica_devices(self) -> tuple[str, ...]:
        """One device per replica: the GPUs, or the CPUs where there are none."""
        if self.gpus:
            return tuple(f"/device:GPU:{i}" for i in self.gpus)
        return self.server_devices

    @property
    def server_devices(self) -> tuple[str, ...]:
        """The devices that may hold variables shared by the replicas."""
        return tuple(f"/device:CPU:{i}" for i in self.cpus)

    @property
    def cpu_device_count(self) -> int:
        """How many CPU devices a session needs so that each number in `cpus` exists."""
        return max(self.cpus) + 1

    @staticmethod
    def from_file(path: str) -> ResourceSpec:
        """Reads a resource spec.

        Args:
          path: a YAML file.

        Raises:
          FileNotFoundError: if there is no such file.
          ArgumentError: if it is not a resource spec; the message says what was expected, found and where.
        """
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ArgumentError(f"resource spec {path!r} is not YAML: {error}") from error
        return ResourceSpec.from_mapping(content, path)

    @staticmethod
    def from_mapping(content: Any, where: str = "resource spec") -> ResourceSpec:
        """Checks the content of a resource spec; `where` names its source in messages.

        Raises:
          ArgumentError: if it is not a resource spec.
        """
        nodes = content.get("nodes") if isinstance(content, dict) else None
        if not isinstance(nodes, list) or not nodes:
            raise ArgumentError(
                f"{where}: expected a mapping with a list 'nodes', as in 'nodes: [{{address: localhost, "
                f"cpus: [0, 1]}}]'; found {content!r}"
            )
        unknown = set(content) - {"nodes"}
        if unknown:
            raise ArgumentError(
                f"{where}: unknown keys {sorted(map(str, unknown))}; known: ['nodes']"
            )
        if len(nodes) > 1:
            raise ArgumentError(
                f"{where}: {len(nodes)} nodes are listed; this version runs on one machine. List one node "
                "and give it as many cpus or gpus as there shall be replicas."
            )
        return _node(nodes[0], f"{where}, nodes[0]")


def _node(node: Any, where: str) -> ResourceSpec:
    if not isinstance(node, dict):
        raise ArgumentError(f"{where}: expected a mapping with 'address', found {node!r}")
    unknown = set(node) - _NODE_KEYS
    if unknown:
        raise ArgumentError(
            f"{where}: unknown keys {sorted(map(str, unknown))}; known: {sorted(_NODE_KEYS)}"
        )
    address = node.get("address")
    if address not in _LOCAL_ADDRESSES:
        raise ArgumentError(
            f"{where}: address {address!r} is not this machine; this version runs on one machine. "
            f"Expected one of {sorted(_LOCAL_ADDRESSES)}."
        )
    cpus = _numbers(node.get("cpus", [0]), f"{where}.cpus")
    gpus = _numbers(node.get("gpus", []), f"{where}.gpus")
    return ResourceSpec(cpus or (0,), gpus)


def _numbers(value: Any, where: str) -> tuple[int, ...]:
    is_list = isinstance(value, list) and all(type(i) is int and i >= 0 for i in value)
    if not is_list or len(set(value)) != len(value):
        raise ArgumentError(
            f"{where}: expected a list of different device numbers, found {value!r}"
        )
    return tuple(value)
