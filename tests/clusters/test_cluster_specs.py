"""Specs of several nodes, from a file and from TF_CONFIG: what they mean, and what is wrong with a bad one."""

import json
from pathlib import Path
from typing import Any

import pytest

from autodist.cluster import settings
from autodist.cluster.servers.launching import command_line
from autodist.cluster.servers.serving import ServedTask, find_task
from autodist.cluster.spec.nodes import split_address
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.errors import ArgumentError

A, B = {"address": "10.0.0.1", "chief": True}, {"address": "10.0.0.2"}


def read(*nodes: Any, **more: Any) -> ResourceSpec:
    return ResourceSpec.from_mapping({"nodes": list(nodes), **more}, "spec.yml")


def from_tf_config(cluster: Any, task: Any = None) -> ResourceSpec:
    content = json.dumps({"cluster": cluster, "task": task})
    return ResourceSpec.from_environment({"TF_CONFIG": content})


def test_the_chief_is_task_0_and_the_others_follow_in_order() -> None:
    spec = read(B, {"address": "10.0.0.3:77", "cpus": [0, 1]}, A)
    assert spec.cluster == {"worker": ["10.0.0.1:15000", "10.0.0.2:15000", "10.0.0.3:77"]}
    assert spec.replica_devices == (
        "/job:worker/task:0/device:CPU:0",
        "/job:worker/task:1/device:CPU:0",
        "/job:worker/task:2/device:CPU:0",
        "/job:worker/task:2/device:CPU:1",
    )
    assert spec.server_devices == spec.replica_devices
    assert spec.host_device == "/job:worker/task:0/device:CPU:0"


def test_the_gpus_of_a_node_are_its_replicas_and_its_cpus_hold_variables() -> None:
    spec = read(A, {**B, "gpus": [0, 1]})
    assert spec.replica_devices == (
        "/job:worker/task:0/device:CPU:0",
        "/job:worker/task:1/device:GPU:0",
        "/job:worker/task:1/device:GPU:1",
    )
    assert spec.server_devices[1] == "/job:worker/task:1/device:CPU:0"


def test_nodes_of_one_host_get_ports_of_their_own() -> None:
    local = {"address": "127.0.0.1"}
    spec = read({**local, "chief": True}, {"address": "127.0.0.1:15001"}, local, local)
    addresses = ["127.0.0.1:15000", "127.0.0.1:15001", "127.0.0.1:15002", "127.0.0.1:15003"]
    assert spec.cluster == {"worker": addresses}


def test_ssh_configs_as_autodist_documents_them(tmp_path: Path) -> None:
    lab = {
        "username": "me",
        "key_file": "~/key.pem",
        "port": 2200,
        "python_venv": "source ~/venv/bin/activate",
        "shared_envs": {"LD_LIBRARY_PATH": "/a b", "LEVEL": 2},
    }
    node = read(A, {**B, "ssh_config": "lab", "network_bandwidth": 100}, ssh={"lab": lab}).nodes[1]
    assert node.ssh is not None
    assert (node.ssh.username, node.ssh.port, node.network_bandwidth) == ("me", 2200, 100.0)
    assert node.ssh.key_file == str(Path("~/key.pem").expanduser())
    command = command_line(node)
    assert "source ~/venv/bin/activate && exec env" in command
    assert "LEVEL=2" in command
    assert command.startswith("bash -c ")


BAD: list[tuple[list[Any], dict[str, Any], str]] = [
    ([B, B], {}, "spec.yml: two nodes have|exactly one of 2 nodes must have 'chief: true'.*none has"),
    ([A, {**B, "chief": True}], {}, r"exactly one .* nodes \[0, 1\] have"),
    ([A, {**B, "chief": "yes"}], {}, r"spec.yml, nodes\[1\]\.chief: expected true or false, found 'yes'"),
    ([A, {"address": "localhost"}], {}, r"nodes\[1\]: 'localhost' means another machine"),
    ([A, {"address": "10.0.0.2:0"}], {}, r"nodes\[1\]\.address: expected a host or host:port"),
    ([A, {"address": 10}], {}, r"nodes\[1\]\.address: expected .*found 10"),
    ([A, {"address": "me@host"}], {}, r"nodes\[1\]\.address"),
    ([A, {**B, "ssh_config": "x"}], {}, r"nodes\[1\]\.ssh_config: there is no 'x' under 'ssh'"),
    ([A, {**B, "network_bandwidth": 0}], {}, r"nodes\[1\]\.network_bandwidth: expected a positive"),
    ([A, {**B, "tpus": [0]}], {}, r"nodes\[1\]: unknown keys \['tpus'\]"),
    ([A, B], {"ssh": []}, r"spec.yml, ssh: expected a mapping"),
    ([A, B], {"ssh": {"x": 3}}, r"ssh\.x: expected a mapping"),
    ([A, B], {"ssh": {"x": {"user": "me"}}}, r"ssh\.x: unknown keys \['user'\]"),
    ([A, B], {"ssh": {"x": {"port": "22"}}}, r"ssh\.x\.port: expected a number"),
    ([A, B], {"ssh": {"x": {"key_file": 3}}}, r"ssh\.x\.key_file: expected a text"),
    ([A, B], {"ssh": {"x": {"shared_envs": ["a"]}}}, r"ssh\.x\.shared_envs: expected a mapping"),
    ([{**A, "address": "h:1"}, {"address": "h:1"}], {}, "two nodes have the address 'h:1'"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "more", "message"), BAD)
def test_a_bad_spec_is_refused_by_file_node_and_key(
    nodes: list[Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        read(*nodes, **more)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("h", ("h", None)), ("h:1", ("h", 1)), ("::1", ("::1", None)), ("[::1]:2", ("::1", 2))],
)
def test_addresses(text: str, parts: tuple[str, int | None]) -> None:
    assert split_address(text) == parts


def test_tf_config_has_replicas_on_chief_and_workers_and_variables_on_ps() -> None:
    spec = from_tf_config({"ps": ["p:1", "p:2"], "worker": ["w:1"], "chief": ["c:1"]})
    assert spec.replica_devices == (
        "/job:chief/task:0/device:CPU:0",
        "/job:worker/task:0/device:CPU:0",
    )
    assert spec.server_devices == ("/job:ps/task:0/device:CPU:0", "/job:ps/task:1/device:CPU:0")
    assert spec.cluster == {"chief": ["c:1"], "worker": ["w:1"], "ps": ["p:1", "p:2"]}
    assert ServedTask.of(spec, spec.nodes[1]).leader == "/job:chief/replica:0/task:0"


def test_worker_0_is_the_chief_where_there_is_no_other() -> None:
    spec = from_tf_config({"worker": ["w:1", "w:2"]})
    assert (spec.chief.address, spec.chief.is_chief) == ("w:1", True)
    assert len(spec.server_devices) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "there is no resource spec: .*TF_CONFIG"),
        ("{", "TF_CONFIG is not JSON"),
        ("[]", "TF_CONFIG: expected a 'cluster'"),
        ('{"cluster": {"ps": ["a:1"]}}', "neither a chief nor a worker"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}}', "expected one 'chief'"),
        ('{"cluster": {"boss": ["a:1"]}}', "unknown job 'boss'"),
        ('{"cluster": {"worker": "a:1"}}', "cluster.worker: expected a list"),
        ('{"cluster": {"worker": ["a"]}}', r"cluster.worker\[0\]: expected 'host:port'"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "two tasks have the address 'a:1'"),
    ],
)
def test_a_bad_tf_config_is_refused(content: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ResourceSpec.from_environment({"TF_CONFIG": content})


@pytest.mark.parametrize("task", [None, {"type": "ps", "index": 0}, {"type": "worker", "index": 2}])
def test_a_task_that_is_none_of_the_clusters_is_refused(task: Any) -> None:
    content = json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": task})
    with pytest.raises(ArgumentError, match=r"expected a 'task' .*\{'worker': 2\}"):
        ResourceSpec.own_task({"TF_CONFIG": content})


@pytest.mark.parametrize(
    ("node", "message"), [(0, "0 is the chief"), (2, "from 1 to 1"), (None, "None")]
)
def test_a_node_to_serve_must_be_one_of_the_others(
    node: int | None, message: str, write_spec: Any
) -> None:
    with pytest.raises(ArgumentError, match=message):
        find_task(write_spec(2), node)


def test_a_task_survives_its_line() -> None:
    task = ServedTask.of(read(A, B), read(A, B).nodes[1])
    assert ServedTask.from_line(task.to_line()) == task
    with pytest.raises(ArgumentError, match="description of a task"):
        ServedTask.from_line("{}\n")


@pytest.mark.parametrize("text", ["soon", "0", "inf"])
def test_timeouts_must_be_positive_numbers(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTODIST_START_TIMEOUT", text)
    with pytest.raises(ArgumentError, match="AUTODIST_START_TIMEOUT: expected a positive number"):
        settings.start_timeout_seconds()
