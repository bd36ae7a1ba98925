"""Nodes of a cluster with their devices and addresses; pure data."""

from __future__ import annotations

import dataclasses
import ipaddress

LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


@dataclasses.dataclass(frozen=True)
class SshConfig:
    """How the chief reaches a node by ssh.

    Attributes:
      username: on the node; None: as ssh would choose.
      port: of the ssh server.
      key_file: private key on the chief; None: the agent and the user's own keys.
      python_venv: shell command that makes `python` the right one; empty: none is needed.
      shared_envs: environment variables of the server.
      known_hosts: file of host keys besides the user's own; None: only those.
    """

    username: str | None = None
    port: int = 22
    key_file: str | None = None
    python_venv: str = ""
    shared_envs: tuple[tuple[str, str], ...] = ()
    known_hosts: str | None = None


@dataclasses.dataclass(frozen=True)
class Node:
    """One machine, or one server on it.

    Attributes:
      host: name or IP address.
      port: of its TensorFlow server; 0 where there is only one node, which needs none.
      cpus: numbers of the CPU devices.
      gpus: numbers of the GPU devices.
      is_chief: whether the program runs there.
      job: TensorFlow's name of the job.
      task: number of the task in its job.
      ssh: how the chief starts its server; None: another way.
      network_bandwidth: in Gbit/s; None where it is not known.
      has_replicas: whether its devices compute.
      holds_variables: whether its CPUs may hold variables that replicas share.
    """

    host: str
    port: int
    cpus: tuple[int, ...]
    gpus: tuple[int, ...] = ()
    is_chief: bool = False
    job: str = "worker"
    task: int = 0
    ssh: SshConfig | None = None
    network_bandwidth: float | None = None
    has_replicas: bool = True
    holds_variables: bool = True

    @property
    def address(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def task_device(self) -> str:
        """The task's part of a device name, `/job:worker/task:1`."""
        return f"/job:{self.job}/task:{self.task}"

    @property
    def cpu_count(self) -> int:
        """How many CPU devices its server needs so that each number in `cpus` exists."""
        return max(self.cpus) + 1

    @property
    def compute_devices(self) -> tuple[str, ...]:
        """The GPUs, or the CPUs where there are none, without the task: `/device:CPU:0`."""
        if self.gpus:
            return tuple(f"/device:GPU:{i}" for i in self.gpus)
        return self.cpu_devices

    @property
    def cpu_devices(self) -> tuple[str, ...]:
        """The CPUs, without the task."""
        return tuple(f"/device:CPU:{i}" for i in self.cpus)

    @property
    def is_loopback(self) -> bool:
        """Whether the address is a loopback address: it means another machine on each node."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_address(text: str) -> tuple[str, int | None]:
    """Splits `host`, `host:port`, `[ipv6]:port` or `ipv6` into host and port.

    Raises:
      ValueError: if there is no host, or the port is no number from 1 to 65535.
    """
    host, port = text, None
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(text)
        port = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or any(c.isspace() or c in "/@" for c in host):
        raise ValueError(text)
    if port is None:
        return host, None
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(text)
    return host, int(port)
