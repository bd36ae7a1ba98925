"""Users' own parameter-server jobs: two servers, two workers, one import of ours."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from support.clusters import digits
from support.ports import free_ports
from support.python_programs import Process, read_until, start_python

tf1 = tf.compat.v1


class Job:
    """Two parameter servers and two workers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        ports = free_ports(4)
        self._addresses = {
            "ps": [f"127.0.0.1:{port}" for port in ports[:2]],
            "worker": [f"127.0.0.1:{port}" for port in ports[2:]],
        }
        self._processes: list[Process] = []

    def start(self, job: str, task: int) -> Process:
        arguments = [job, task, json.dumps(self._addresses), self.directory]
        with (self.directory / f"{job}_{task}.log").open("a") as log:
            process = start_python("-m", "support.clusters.monitored_job", *arguments, log=log)
        self._processes.append(process)
        return process

    def mark_and_wait(self, process: Process, name: str) -> None:
        """Waits for a step of a worker that begins now or later."""
        (self.directory / f"mark_{name}").touch()
        read_until(process, f"mark_{name}")

    def kill_all(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path)
    yield made
    made.kill_all()


def save_in_stock(prefix: str, path: str) -> None:
    """Has stock TensorFlow save, from one machine, what a checkpoint holds."""
    reader = tf.train.load_checkpoint(prefix)
    with tf.Graph().as_default():
        for name in sorted(reader.get_variable_to_shape_map()):
            tf1.get_variable(name, initializer=tf.constant(reader.get_tensor(name)))
        saver = tf1.train.Saver()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            saver.save(session, path, write_meta_graph=False, write_state=False)


def test_a_job_goes_on_without_a_worker_and_after_a_server_has_come_back(
    job: Job, tmp_path: Path
) -> None:
    servers = [job.start("ps", task) for task in range(2)]
    chief = job.start("worker", 0)
    job.mark_and_wait(chief, "chief")
    other = job.start("worker", 1)
    job.mark_and_wait(other, "other")
    other.kill()
    other.wait()
    job.mark_and_wait(chief, "without_a_worker")

    servers[1].kill()
    servers[1].wait()
    job.start("ps", 1)
    # What the server held is lost: training goes on from the last checkpoint.
    job.mark_and_wait(chief, "with_another_server")
    (tmp_path / "stop").touch()
    read_until(chief, "done")

    directory = tmp_path / "train"
    prefix: Any = tf.train.latest_checkpoint(str(directory))
    assert tf.train.load_variable(prefix, "table").shape == (10, 4)
    assert np.isfinite(tf.train.load_variable(prefix, "table/Adam")).all()
    save_in_stock(prefix, str(tmp_path / "stock"))
    assert digits.files(prefix) == digits.files(str(tmp_path / "stock"))
    assert [p.name for p in directory.iterdir() if "autodist" in p.name] == []
