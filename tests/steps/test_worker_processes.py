"""Saves of one step in jobs of several worker processes: exact, or refused by name."""

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from support.ports import free_ports
from support.python_programs import Process, start_python

MakeJob = Callable[..., Any]


class Job:
    """Two parameter servers and their workers."""

    def __init__(self, directory: Path, mode: str) -> None:
        self._directory = directory
        self._mode = mode
        self.processes: list[Process] = []
        self.addresses: dict[str, list[str]] = {}

    def start_all(
        self, servers: str = "import", workers: Sequence[str] = ("hook",)
    ) -> list[Process]:
        """Starts all tasks, each with its kind of gate; returns the workers, once they train."""
        ports = free_ports(2 + len(workers))
        self.addresses = {
            "ps": [f"127.0.0.1:{port}" for port in ports[:2]],
            "worker": [f"127.0.0.1:{port}" for port in ports[2:]],
        }
        first = [self._start("ps", 0, servers), self._start("ps", 1, servers)]
        first.append(self._start("worker", 0, workers[0]))
        for process in first:
            assert answer_of(process) == "ready"
        # Those who find no variables yet look for them again after 30 seconds.
        assert answer_of(first[-1]) == "created"
        others = [self._start("worker", task + 1, gate) for task, gate in enumerate(workers[1:])]
        for worker in others:
            assert answer_of(worker) == "ready"
        for worker in others:
            check_trains(worker)
        return [first[-1], *others]

    def _start(self, job: str, task: int, gate: str) -> Process:
        arguments = [job, task, json.dumps(self.addresses), self._mode, gate]
        with (self._directory / f"{job}_{task}.log").open("a") as log:
            process = start_python("-m", "support.clusters.step_job", *arguments, log=log)
        self.processes.append(process)
        return process


def send(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def answer_of(process: Process, line: str | None = None) -> str:
    if line is not None:
        send(process, line)
    assert process.stdout is not None
    return process.stdout.readline().strip()


def check_trains(worker: Process) -> None:
    assert answer_of(worker, "step") == "step"


@pytest.fixture
def make_job(tmp_path: Path) -> Iterator[MakeJob]:
    jobs: list[Job] = []

    def make(mode: str = "async") -> Job:
        jobs.append(Job(tmp_path, mode))
        return jobs[-1]

    yield make
    for job in jobs:
        for process in job.processes:
            process.kill()
            process.communicate()


def check(path: str) -> int:
    """Checks that a checkpoint holds whole steps of all workers; returns how many."""
    reader = tf.train.load_checkpoint(path)
    step = int(reader.get_tensor("global_step"))
    assert path.endswith(f"-{step}")
    table, slot, dense = (reader.get_tensor(name) for name in ("table", "slot", "dense"))
    by_worker = table.reshape([3, -1])
    assert np.all(by_worker == by_worker[:, :1])
    assert by_worker[:, 0].sum() == step
    assert np.array_equal(slot, table)
    assert np.all(dense == step)
    return step


def check_is_refused(chief: Process, prefix: Path) -> str:
    """Asks for a save that fails, and returns the error."""
    answer = answer_of(chief, str(prefix))
    assert "Error: consistency='step'" in answer
    assert "Nothing was saved" in answer
    assert not list(prefix.parent.glob(f"{prefix.name}*"))
    return answer


def test_a_save_holds_whole_steps_of_all_workers(make_job: MakeJob, tmp_path: Path) -> None:
    chief, hooked, imported = make_job().start_all(workers=["hook", "hook", "import"])
    steps = [check(answer_of(chief, str(tmp_path / "m"))) for _ in range(6)]
    assert steps == sorted(set(steps))

    # One that hangs may train all the same.
    imported.send_signal(signal.SIGSTOP)
    assert "/job:worker/replica:0/task:2" in check_is_refused(chief, tmp_path / "hangs")
    imported.send_signal(signal.SIGCONT)
    check(answer_of(chief, str(tmp_path / "m")))
    check_trains(hooked)
    check_trains(imported)

    imported.kill()
    imported.wait()
    check(answer_of(chief, str(tmp_path / "m")))

    # The gates that it has closed open by themselves.
    for number in range(50):
        send(chief, f"{tmp_path / 'n'}{number}")
    answer_of(chief)
    chief.kill()
    check_trains(hooked)


def test_a_worker_without_a_gate_is_named(make_job: MakeJob, tmp_path: Path) -> None:
    """Beside servers of TensorFlow alone, which save by its own ops."""
    chief, hooked, stock = make_job().start_all("none", ["hook", "hook", "none"])
    answer = check_is_refused(chief, tmp_path / "m")
    assert "/job:worker/replica:0/task:2 may train these variables, and has no step gate" in answer
    check_trains(stock)
    stock.kill()
    stock.wait()
    for _ in range(3):
        check(answer_of(chief, str(tmp_path / "m")))
    check_trains(hooked)


STRANGER = """
import sys
import tensorflow as tf
tf1 = tf.compat.v1
tf1.disable_eager_execution()
with tf1.device("/job:ps/task:0"):
    step = tf1.train.get_or_create_global_step()
train = tf1.assign_add(step, 1)
config = tf1.ConfigProto(device_filters=["/job:ps"])
session = tf1.Session(sys.argv[1], config=config)
print("trains", flush=True)
while True:
    session.run(train)
"""


def test_a_process_that_is_no_task_is_found_by_its_steps(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job()
    (chief,) = job.start_all()
    stranger = start_python("-c", STRANGER, f"grpc://{job.addresses['ps'][0]}")
    job.processes.append(stranger)
    assert answer_of(stranger) == "trains"
    answers = [answer_of(chief, f"{tmp_path / 'm'}{number}") for number in range(8)]
    refused = [answer for answer in answers if "Error: " in answer]
    assert refused
    assert all("global_step went from" in answer for answer in refused)
    assert not any(list(tmp_path.glob(f"m{i}-*")) for i, a in enumerate(answers) if "Error: " in a)


def test_synchronous_workers(make_job: MakeJob, tmp_path: Path) -> None:
    chief, other = make_job("sync").start_all(workers=["hook", "hook"])
    for _ in range(6):
        path = answer_of(chief, str(tmp_path / "m"))
        reader = tf.train.load_checkpoint(path)
        step = int(reader.get_tensor("global_step"))
        assert path.endswith(f"-{step}")
        # The gradient is minus one at each step: the momentum is the step, the weights their sum.
        assert np.all(reader.get_tensor("table/Momentum") == -step)
        assert np.all(reader.get_tensor("table") == step * (step + 1) / 2)
    check_trains(other)
