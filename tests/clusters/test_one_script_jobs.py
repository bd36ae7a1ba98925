"""Parameter-server jobs of the user's own: which tasks write, and what outlives a worker; real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from conftest import free_ports

SCRIPT = Path(__file__).with_name("one_script_job.py")

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes whose output and log can be read line by line, and kills those that are left."""
    started: list[Process] = []

    def run(*arguments: Any, **environment: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def read_until(process: Process, text: str) -> str:
    """Returns all that a process says up to a line that has a text in it."""
    assert process.stdout is not None
    lines = ""
    for line in process.stdout:
        lines += line
        if text in line:
            return lines
    raise AssertionError(f"the process ended before it said {text!r}:\n{lines}")


def new_cluster() -> dict[str, list[str]]:
    worker, *servers = (f"127.0.0.1:{port}" for port in free_ports(3))
    return {"ps": servers, "worker": [worker]}


def test_the_import_alone_lets_every_task_write(start: Start, tmp_path: Path) -> None:
    cluster = json.dumps(new_cluster())
    servers = [start(SCRIPT, "ps", task, cluster, tmp_path) for task in (0, 1)]
    for server in servers:
        read_until(server, "ready")
    worker = start(SCRIPT, "worker", 0, cluster, tmp_path)
    said = read_until(worker, "saved\n")
    assert "every task wrote its variables" in said
    assert "logged INFO saved" in said
    assert "logged WARNING" not in said
    assert tf.train.load_checkpoint(str(tmp_path / "model")).get_tensor("dense").tolist() == [1] * 3


def test_what_servers_hold_outlives_a_worker_that_claims_nothing(
    start: Start, tmp_path: Path
) -> None:
    cluster = new_cluster()
    servers = []
    for task in (0, 1):
        config = json.dumps({"cluster": cluster, "task": {"type": "ps", "index": task}})
        servers.append(start("-m", "autodist.cli", "serve", TF_CONFIG=config))
    for server in servers:
        read_until(server, "autodist serve: ready")
    arguments = (SCRIPT, "worker", 0, json.dumps(cluster), tmp_path)
    worker = start(*arguments)
    read_until(worker, "saved\n")
    before = tf.train.load_checkpoint(str(tmp_path / "model")).get_tensor("table")
    # The servers have seen it once they ask it again.
    for server in servers:
        read_until(server, "serves the chief at")
    worker.kill()
    worker.wait()
    for server in servers:
        said = read_until(server, "all variables here are kept")
        assert "autodist serve: ready" not in said
    read_until(start(*arguments), "saved\n")
    after = tf.train.load_checkpoint(str(tmp_path / "model"))
    assert after.get_tensor("table").tolist() == before.tolist()
    assert (after.get_tensor("dense") >= 2).all()
