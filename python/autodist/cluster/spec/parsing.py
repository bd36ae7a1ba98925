"""Parses the content of a resource spec into nodes; each error names file, node and key."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from autodist.cluster.spec.nodes import Node, SshConfig, is_loopback, split_address
from autodist.errors import ArgumentError

DEFAULT_PORT = 15000

# TensorFlow makes all devices up to the largest number.
_MOST_DEVICES = 1024

_TOP_KEYS = frozenset({"nodes", "ssh"})
_NODE_KEYS = frozenset({"address", "cpus", "gpus", "chief", "ssh_config", "network_bandwidth"})
_SSH_KEYS = frozenset({"username", "port", "key_file", "python_venv", "shared_envs", "known_hosts"})


def parse(content: Any, where: str) -> tuple[Node, ...]:
    """The nodes of a resource spec, the chief first.

    Raises:
      ArgumentError: if it is not a resource spec.
    """
    nodes = content.get("nodes") if isinstance(content, dict) else None
    if not isinstance(nodes, list) or not nodes:
        raise ArgumentError(
            f"{where}: expected a mapping with a list 'nodes', as in 'nodes: [{{address: "
            f"localhost, cpus: [0, 1]}}]'; found {content!r}"
        )
    _check_keys(content, _TOP_KEYS, where)
    ssh = _ssh_configs(content.get("ssh"), f"{where}, ssh")
    made = [_node(node, f"{where}, nodes[{i}]", ssh) for i, node in enumerate(nodes)]
    if len(made) == 1:
        _check_single(made[0], f"{where}, nodes[0]")
        return (dataclasses.replace(made[0], is_chief=True, port=0),)
    _check_reachable(made, where)
    return _in_task_order(_with_ports(made, where), where)


def _node(node: Any, where: str, ssh: dict[str, SshConfig]) -> Node:
    """One node; its port is 0 where none is given."""
    if not isinstance(node, dict):
        raise ArgumentError(f"{where}: expected a mapping with 'address', found {node!r}")
    _check_keys(node, _NODE_KEYS, where)
    host, port = _address(node.get("address"), f"{where}.address")
    chief = node.get("chief", False)
    if not isinstance(chief, bool):
        raise ArgumentError(f"{where}.chief: expected true or false, found {chief!r}")
    name = node.get("ssh_config")
    if name is not None and (not isinstance(name, str) or name not in ssh):
        raise ArgumentError(
            f"{where}.ssh_config: there is no {name!r} under 'ssh'; there is {sorted(ssh)}"
        )
    return Node(
        host,
        port,
        _numbers(node.get("cpus", [0]), f"{where}.cpus") or (0,),
        _numbers(node.get("gpus", []), f"{where}.gpus"),
        is_chief=chief,
        ssh=None if name is None else ssh[name],
        network_bandwidth=_bandwidth(node.get("network_bandwidth"), f"{where}.network_bandwidth"),
    )


def _address(value: Any, where: str) -> tuple[str, int]:
    if isinstance(value, str):
        try:
            host, port = split_address(value)
        except ValueError:
            pass
        else:
            return host, port or 0
    raise ArgumentError(
        f"{where}: expected a host or host:port, as in '10.0.0.1', 'node-1:2222' or '[::1]:2222'; "
        f"found {value!r}"
    )


def _bandwidth(value: Any, where: str) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise ArgumentError(f"{where}: expected a positive number of Gbit/s, found {value!r}")
    return float(value)


def _check_single(node: Node, where: str) -> None:
    """A single node is this machine: no server is started, and no port is needed."""
    if not is_loopback(node.host):
        raise ArgumentError(
            f"{where}: address {node.host!r} is not this machine. A single node is the machine "
            "that the program runs on: write localhost. For several, list them all."
        )


def _check_reachable(nodes: list[Node], where: str) -> None:
    loopback = [i for i, node in enumerate(nodes) if node.is_loopback]
    if loopback and len(loopback) < len(nodes):
        raise ArgumentError(
            f"{where}, nodes[{loopback[0]}]: {nodes[loopback[0]].host!r} means another machine on "
            "each node. Give an address that all nodes can reach, or loopback addresses to all."
        )


def _with_ports(nodes: list[Node], where: str) -> list[Node]:
    """Gives nodes without a port the next free one of their host, from the default on."""
    used: set[tuple[str, int]] = set()
    for node in nodes:
        if node.port and (node.host, node.port) in used:
            raise ArgumentError(f"{where}: two nodes have the address {node.address!r}")
        used.add((node.host, node.port))
    made = []
    # The first port that may be free, by host.
    free: dict[str, int] = {}
    for given in nodes:
        port = given.port
        if not port:
            port = free.get(given.host, DEFAULT_PORT)
            while (given.host, port) in used:
                port += 1
            free[given.host] = port + 1
        made.append(dataclasses.replace(given, port=port))
    return made


def _in_task_order(nodes: list[Node], where: str) -> tuple[Node, ...]:
    chiefs = [i for i, node in enumerate(nodes) if node.is_chief]
    if len(chiefs) != 1:
        found = "none has" if not chiefs else f"nodes {chiefs} have"
        raise ArgumentError(
            f"{where}: exactly one of {len(nodes)} nodes must have 'chief: true', the one that the "
            f"program runs on; {found}"
        )
    ordered = [nodes[chiefs[0]], *(node for node in nodes if not node.is_chief)]
    return tuple(dataclasses.replace(node, task=task) for task, node in enumerate(ordered))


def _ssh_configs(content: Any, where: str) -> dict[str, SshConfig]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ArgumentError(f"{where}: expected a mapping from names to configs, found {content!r}")
    return {str(name): _ssh(config, f"{where}.{name}") for name, config in content.items()}


def _ssh(config: Any, where: str) -> SshConfig:
    if not isinstance(config, dict):
        raise ArgumentError(
            f"{where}: expected a mapping with keys among {sorted(_SSH_KEYS)}, found {config!r}"
        )
    _check_keys(config, _SSH_KEYS, where)
    port = config.get("port", 22)
    if type(port) is not int or not 1 <= port <= 65535:
        raise ArgumentError(f"{where}.port: expected a number from 1 to 65535, found {port!r}")
    envs = config.get("shared_envs") or {}
    if not isinstance(envs, dict) or not all(
        isinstance(k, str) and isinstance(v, str | int | float) for k, v in envs.items()
    ):
        raise ArgumentError(
            f"{where}.shared_envs: expected a mapping from names to values, found {envs!r}"
        )
    return SshConfig(
        username=_text(config, "username", where),
        port=port,
        key_file=_file(config, "key_file", where),
        python_venv=_text(config, "python_venv", where) or "",
        shared_envs=tuple((name, str(value)) for name, value in envs.items()),
        known_hosts=_file(config, "known_hosts", where),
    )


def _text(config: dict[Any, Any], key: str, where: str) -> str | None:
    value = config.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise ArgumentError(f"{where}.{key}: expected a text, found {value!r}")


def _file(config: dict[Any, Any], key: str, where: str) -> str | None:
    value = _text(config, key, where)
    return None if value is None else str(Path(value).expanduser())


def _check_keys(mapping: dict[Any, Any], known: frozenset[str], where: str) -> None:
    unknown = set(mapping) - known
    if unknown:
        raise ArgumentError(
            f"{where}: unknown keys {sorted(map(str, unknown))}; known: {sorted(known)}"
        )


def _numbers(value: Any, where: str) -> tuple[int, ...]:
    is_list = isinstance(value, list) and all(
        type(i) is int and 0 <= i < _MOST_DEVICES for i in value
    )
    if not is_list or len(set(value)) != len(value):
        raise ArgumentError(
            f"{where}: expected a list of different device numbers below {_MOST_DEVICES}, found "
            f"{value!r}"
        )
    return tuple(value)
