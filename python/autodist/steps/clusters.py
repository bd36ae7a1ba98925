"""Finds the cluster to which a session's master belongs, among those of a process's servers.

Names of tasks do not tell clusters apart: each has a `/job:worker/replica:0/task:0`. So the address
of the master decides. It may have several names, and another port on the way to it (a proxy). A
process that is asked at this address knows better than others which of its servers was meant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from autodist.private_apis import tf_processes

# How TensorFlow names the host in `tf.distribute.Server.target`, and others do.
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclasses.dataclass(frozen=True)
class ServerOfProcess:
    """A server of TensorFlow.

    Attributes:
        task: Its task, as `/job:worker/replica:0/task:1`.
        port: Where it listens.
        addresses: Of all tasks of its cluster, by their names.
    """

    task: str
    port: str
    addresses: dict[str, str]


def servers_of_process() -> list[ServerOfProcess]:
    """Returns the servers of this process."""
    return [_described(server) for server in tf_processes.servers()]


def of_master(
    servers: Sequence[ServerOfProcess], master: str, address: str
) -> dict[str, str] | None:
    """Returns the addresses of the tasks of a master's cluster, by their names, if it is certain.

    Args:
        servers: The servers of this process.
        master: The master's task.
        address: At which the session finds the master, as `localhost:2222`.
    """
    host, _, port = address.rpartition(":")
    for server in servers:
        is_master = server.task == master and server.port == port and host in _THIS_MACHINE
        if is_master or server.addresses.get(master) == address:
            return server.addresses
    return None


def told_by_master(
    servers: Sequence[ServerOfProcess], master: str, address: str
) -> dict[str, str] | None:
    """Returns the same from the servers of the master's own process; `None` if it is not certain."""
    masters = [server for server in servers if server.task == master]
    _, _, port = address.rpartition(":")
    at_port = [server for server in masters if server.port == port]
    for candidates in (at_port, masters):
        if len(candidates) == 1:
            return candidates[0].addresses
    return None


def _described(server: Any) -> ServerOfProcess:
    definition = server.server_def
    return ServerOfProcess(
        task=_name(definition.job_name, definition.task_index),
        port=server.target.rpartition(":")[2],
        addresses={
            _name(job.name, number): address
            for job in definition.cluster.job
            for number, address in job.tasks.items()
        },
    )


def _name(job: str, number: int) -> str:
    return f"/job:{job}/replica:0/task:{number}"
