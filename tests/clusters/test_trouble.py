"""Servers that die, hang, are others than expected or are not there; real processes, killed for real."""

import signal
from pathlib import Path
from typing import Any

from support.ports import free_ports
from support.processes import wait_for_end
from support.python_programs import Start, read_line
from support.specs import cluster_text

CHIEF = ("-m", "support.clusters.chief")


def test_a_server_that_dies_or_hangs_is_named_and_comes_back(
    start: Start, write_spec: Any, tmp_path: Path
) -> None:
    chief = start(*CHIEF, "kills", write_spec(3), tmp_path, AUTODIST_SILENCE_TIMEOUT="3")
    _, _, task, message = read_line(chief).split(maxsplit=3)
    assert task == "/job:worker/task:2"
    assert "node 2 of 3" in message
    assert "ended by signal 9; the end of its log" in message
    assert read_line(chief) == "same True"
    _, seconds, task, message = read_line(chief).split(maxsplit=3)
    assert task == "/job:worker/task:1"
    # Named by the timeout of 3 s, with room for a busy machine.
    assert float(seconds) < 3 * 6
    assert "no answer within" in message
    assert read_line(chief) == "goes on"
    servers = [int(pid) for pid in read_line(chief).split()[1:]]
    assert chief.wait(30) == -signal.SIGKILL
    assert wait_for_end(servers) == []


def test_what_is_left_of_collectives_can_be_saved(
    start: Start, write_spec: Any, tmp_path: Path
) -> None:
    chief = start(*CHIEF, "collectives", write_spec(2), tmp_path)
    assert read_line(chief).split()[2] == "/job:worker/task:1"
    assert read_line(chief) == "same True"
    assert "Restart the program" in read_line(chief)


STOCK_SERVER = """
import sys, tensorflow as tf
jobs = {"worker": sys.argv[1].split(",")}
server = tf.distribute.Server(tf.train.ClusterSpec(jobs), job_name="worker", task_index=1)
print("ready", flush=True)
server.join()
"""


def test_servers_that_run_already_work_for_one_chief_at_a_time(
    start: Start, tmp_path: Path
) -> None:
    first, second, node = free_ports(3)
    specs = []
    for chief in (first, second):
        specs.append(tmp_path / f"{chief}.yml")
        specs[-1].write_text(cluster_text([chief, node]))
    serve = ("-m", "autodist.cli", "serve", "--resource-spec", specs[0], "--node")
    server = start(*serve, 1)
    assert read_line(server).startswith("autodist serve: ready")
    chief = start(*CHIEF, "joins", specs[0], tmp_path)
    assert read_line(chief) == "trained"
    other = start(*CHIEF, "joins", specs[1], tmp_path)
    assert f"works for another chief, at 127.0.0.1:{first}" in read_line(other)
    chief.kill()
    chief.wait()
    assert read_line(server).startswith("autodist serve: ready")
    successor = start(*CHIEF, "joins", specs[0], tmp_path)
    assert read_line(successor) == "trained"


def test_a_server_without_our_library_is_named(start: Start, tmp_path: Path) -> None:
    ports = free_ports(2)
    spec = tmp_path / "spec.yml"
    spec.write_text(cluster_text(ports, cpus=1))
    stock = start("-c", STOCK_SERVER, ",".join(f"127.0.0.1:{port}" for port in ports))
    assert read_line(stock) == "ready"
    chief = start(*CHIEF, "joins", spec, tmp_path)
    message = read_line(chief)
    assert (
        f"127.0.0.1:{ports[1]} (/job:worker/task:1) has not loaded autodist's op library" in message
    )


def test_a_node_that_nobody_starts_is_named_in_time(start: Start, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yml"
    here, other = free_ports(2)
    spec.write_text(
        f"nodes: [{{address: '127.0.0.1:{here}', chief: true}}, {{address: '127.0.0.1:{other}', "
        "ssh_config: nobody}]\nssh: {nobody: {port: 1}}\n"
    )
    chief = start(*CHIEF, "joins", spec, tmp_path, AUTODIST_START_TIMEOUT="5")
    message = read_line(chief)
    assert f"1 of 2 nodes did not answer in time: node 127.0.0.1:{other}" in message
    assert "ssh to 127.0.0.1:1" in message
