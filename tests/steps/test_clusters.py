"""Which cluster a session's master belongs to, among those of a process's servers."""

import tensorflow as tf

from autodist.steps import clusters
from autodist.steps.clusters import ServerOfProcess, of_master, told_by_master
from support.ports import free_ports

WORKER = "/job:worker/replica:0/task:0"
PS = "/job:ps/replica:0/task:0"


def _server(port: str, *, task: str = WORKER, host: str = "a") -> ServerOfProcess:
    return ServerOfProcess(task, port, {WORKER: f"{host}:2222", PS: f"{host}:2223"})


def test_the_address_decides_not_the_name() -> None:
    one, other = _server("2222", host="a"), _server("2222", host="b")
    assert of_master([one, other], WORKER, "b:2222") is other.addresses
    assert of_master([other], WORKER, "a:2222") is None
    assert of_master([other], PS, "b:2223") is other.addresses


def test_a_server_of_this_process_is_found_at_its_target() -> None:
    server = _server("4000")
    assert of_master([server], WORKER, "localhost:4000") is server.addresses
    assert of_master([server], WORKER, "elsewhere:4000") is None
    assert of_master([server], PS, "localhost:4000") is None


def test_the_masters_process_knows_which_of_its_servers_was_asked() -> None:
    one, other = _server("1", host="a"), _server("2", host="b")
    assert told_by_master([one, other], WORKER, "name:2") is other.addresses
    # Through a proxy, with another port.
    assert told_by_master([one], WORKER, "proxy:80") is one.addresses
    assert told_by_master([one, other], WORKER, "proxy:80") is None
    assert told_by_master([_server("1", task=PS)], WORKER, "name:1") is None


def test_the_servers_of_this_process() -> None:
    ports = free_ports(2)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    server = tf.distribute.Server({"step_clusters": addresses}, "step_clusters", 1)
    names = [f"/job:step_clusters/replica:0/task:{task}" for task in range(2)]
    found = [each for each in clusters.servers_of_process() if each.task == names[1]]
    expected = ServerOfProcess(names[1], str(ports[1]), dict(zip(names, addresses, strict=True)))
    assert found == [expected]
    address = server.target.removeprefix("grpc://")
    assert of_master(found, names[1], address) == expected.addresses
