"""Parameter-server jobs of the user's own: which tasks write, and what outlives a worker; real processes."""

import json
from pathlib import Path
from subprocess import STDOUT

import tensorflow as tf

from support.ports import free_ports
from support.python_programs import Start, read_until

SCRIPT = ("-m", "support.clusters.one_script_job")


def new_cluster() -> dict[str, list[str]]:
    worker, *servers = (f"127.0.0.1:{port}" for port in free_ports(3))
    return {"ps": servers, "worker": [worker]}


def test_the_import_alone_lets_every_task_write(start: Start, tmp_path: Path) -> None:
    cluster = json.dumps(new_cluster())
    servers = [start(*SCRIPT, "ps", task, cluster, tmp_path, log=STDOUT) for task in (0, 1)]
    for server in servers:
        read_until(server, "ready")
    worker = start(*SCRIPT, "worker", 0, cluster, tmp_path, log=STDOUT)
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
        servers.append(start("-m", "autodist.cli", "serve", TF_CONFIG=config, log=STDOUT))
    for server in servers:
        read_until(server, "autodist serve: ready")
    arguments = (*SCRIPT, "worker", 0, json.dumps(cluster), tmp_path)
    worker = start(*arguments, log=STDOUT)
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
    read_until(start(*arguments, log=STDOUT), "saved\n")
    after = tf.train.load_checkpoint(str(tmp_path / "model"))
    assert after.get_tensor("table").tolist() == before.tolist()
    assert (after.get_tensor("dense") >= 2).all()
