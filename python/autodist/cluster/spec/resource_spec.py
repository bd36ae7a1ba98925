"""The resource spec: a YAML file, or `TF_CONFIG`, that lists the machines and their devices.

    nodes:
      - address: 10.0.0.1
        cpus: [0, 1]
        chief: true
      - address: 10.0.0.2
        ssh_config: lab
    ssh:
      lab: {username: me, key_file: ~/.ssh/id_ed25519}

Each listed GPU is a replica; a node without GPUs gives one replica per listed CPU. The CPUs hold
the variables that replicas share. A CPU is a TensorFlow device, `/device:CPU:i`; all those of a
node share the machine's cores.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from autodist.cluster.spec import parsing, safe_yaml, tf_config
from autodist.cluster.spec.nodes import Node
from autodist.errors import ArgumentError


@dataclasses.dataclass(frozen=True)
class ResourceSpec:
    """The nodes and their devices.

    Attributes:
      nodes: the chief first, the others in the order of the spec. With several, node K is task K of
        job `worker`; those of `TF_CONFIG` keep their jobs.
    """

    nodes: tuple[Node, ...]

    @property
    def chief(self) -> Node:
        """The node that the program runs on."""
        return self.nodes[0]

    @property
    def is_cluster(self) -> bool:
        """Whether there are several nodes, and so servers."""
        return len(self.nodes) > 1

    @property
    def replica_devices(self) -> tuple[str, ...]:
        """One device per replica: of each node the GPUs, or the CPUs where it has none."""
        return tuple(
            self._prefix(node) + device
            for node in self.nodes
            if node.has_replicas
            for device in node.compute_devices
        )

    @property
    def server_devices(self) -> tuple[str, ...]:
        """The devices that may hold variables shared by the replicas."""
        return tuple(
            self._prefix(node) + device
            for node in self.nodes
            if node.holds_variables
            for device in node.cpu_devices
        )

    @property
    def host_device(self) -> str:
        """The CPU of the process that runs the program."""
        return f"{self._prefix(self.chief)}/device:CPU:0"

    @property
    def cluster(self) -> dict[str, list[str]]:
        """The addresses by job, as `tf.train.ClusterSpec` takes them."""
        jobs: dict[str, dict[int, str]] = {}
        for node in self.nodes:
            jobs.setdefault(node.job, {})[node.task] = node.address
        return {job: [tasks[i] for i in sorted(tasks)] for job, tasks in jobs.items()}

    def _prefix(self, node: Node) -> str:
        return node.task_device if self.is_cluster else ""

    @staticmethod
    def from_file(path: str) -> ResourceSpec:
        """Reads a resource spec.

        Args:
          path: a YAML file.

        Raises:
          FileNotFoundError: if there is no such file.
          ArgumentError: if it is not a resource spec; the message says what was expected, found and
            where.
        """
        return ResourceSpec.from_mapping(safe_yaml.read(path, "resource spec"), path)

    @staticmethod
    def from_mapping(content: Any, where: str = "resource spec") -> ResourceSpec:
        """Checks the content of a resource spec; `where` names its source in messages.

        Raises:
          ArgumentError: if it is not a resource spec.
        """
        try:
            return ResourceSpec(parsing.parse(content, where))
        except ArgumentError as error:
            raise ArgumentError(safe_yaml.shorten(str(error))) from error

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> ResourceSpec:
        """Takes the cluster from `TF_CONFIG`.

        Raises:
          ArgumentError: if it is not set, or describes no cluster.
        """
        return ResourceSpec(tf_config.parse(_tf_config(environment)))

    @staticmethod
    def own_task(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
        """Job and number of this process's own task in `TF_CONFIG`.

        Raises:
          ArgumentError: if it is not set, or the task is none of the cluster's.
        """
        return tf_config.own_task(_tf_config(environment))


def _tf_config(environment: Mapping[str, str]) -> Any:
    text = environment.get("TF_CONFIG", "")
    if not text:
        raise ArgumentError(
            "there is no resource spec: give the path of a YAML file, or set TF_CONFIG"
        )
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ArgumentError(f"TF_CONFIG is not JSON: {error}") from error
