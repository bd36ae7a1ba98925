"""Kills or stops a server at a step of a save of one instant.

`python -m support.clusters.instant_fault_program DIRECTORY CASE ...`, where a case is `SERVER:FAULT:WAY`, as in
`1:5sk1:stream` (`barrier_fault.c` says what a fault is). Server 0 leads.

After each the error names the server, the former checkpoint is as it was, what is not lost trains on, and nothing holds
its locks. Once the server is there again the next save succeeds.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.c_programs import compile_library
from support.clusters.ps_job import PsJob, running
from support.ports import free_ports
from support.threads import forgiving_repeats

tf1 = tf.compat.v1

SERVERS = 3
TIMEOUT_SECONDS = 4.0
PATIENCE_SECONDS = 120.0
ROWS, COLUMNS = 1500, 256


def contents(directory: Path) -> dict[str, bytes]:
    """What is in a directory, but for what a killed process leaves and the next save removes."""
    return {
        str(path): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".autodist" not in path.name and "_temp-" not in str(path)
    }


def build(*servers: int) -> list[Any]:
    """A table on each of the servers; returns their updates in place."""
    updates = []
    for number in servers:
        with tf1.device(f"/job:ps/task:{number}"):
            table = tf1.get_variable(
                f"table_{number}",
                [ROWS, COLUMNS],
                initializer=tf1.zeros_initializer(),
                use_resource=True,
            )
            updates.append(
                tf.raw_ops.ResourceScatterAdd(
                    resource=table.handle,
                    indices=tf.range(ROWS),
                    updates=tf.ones(table.shape),
                )
            )
    return updates


class Training:
    """Updates the table of one server all the time, in a session that sees no other server."""

    def __init__(self, job: PsJob, number: int) -> None:
        config = tf1.ConfigProto(device_filters=["/job:worker/task:0", f"/job:ps/task:{number}"])
        with tf.Graph().as_default() as graph:
            (self._update,) = build(number)
        self._session = tf1.Session(job.target, graph=graph, config=config)
        self._is_over = threading.Event()
        self.steps = 0
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._thread.start()

    def _train(self) -> None:
        while not self._is_over.is_set():
            with forgiving_repeats():
                self._session.run(self._update)
                self.steps += 1

    def await_steps(self, count: int) -> None:
        """Waits until it has trained so often from now on: nothing holds the lock."""
        until, end = self.steps + count, time.monotonic() + PATIENCE_SECONDS
        while self.steps < until:
            assert time.monotonic() < end, "training does not go on"
            time.sleep(0.01)

    def end(self) -> None:
        """Ends it."""
        self._is_over.set()
        self._thread.join()
        self._session.close()


def attempt(save: Any) -> str:
    """Saves; returns the error, which is empty if the save does not fail."""
    try:
        save()
    except tf.errors.OpError as error:
        return str(error.message)
    return ""


def start(job: PsJob, number: int, **settings: str) -> None:
    """Starts a server with environment variables."""
    os.environ.update(settings)
    job.start(number)
    for name in settings:
        del os.environ[name]
    job.wait(number)


def strike(job: PsJob, directory: Path, library: str, case: str) -> None:
    """Has a save of one instant fail, and then one succeed."""
    victim_text, fault, way = case.split(":")
    victim = int(victim_text)
    flag = directory.parent / f"{directory.name}.flag"
    job.kill(victim)
    start(job, victim, LD_PRELOAD=library, BARRIER_FAULT=fault, BARRIER_FLAG=str(flag))
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        updates = build(*range(SERVERS))
        with tf1.device("/job:ps/task:0"):
            saver = Saver(transport=way, timeout_seconds=TIMEOUT_SECONDS)

        def save() -> None:
            saver.save(
                session, str(directory / "model"), write_meta_graph=False, consistency="instant"
            )

        session.run(tf1.global_variables_initializer())
        session.run(updates)
        save()
        before = contents(directory)
        others = [number for number in range(SERVERS) if number != victim]
        trainings = [Training(job, number) for number in others]
        for training in trainings:
            training.await_steps(2)
        flag.touch()
        start_time = time.monotonic()
        message = attempt(save)
        took = time.monotonic() - start_time
        flag.unlink()
        assert f"/job:ps/replica:0/task:{victim}" in message, f"{case}: {message}"
        assert contents(directory) == before
        for training in trainings:
            training.await_steps(5)
            training.end()
    job.kill(victim)
    start(job, victim)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        build(*range(SERVERS))
        with tf1.device("/job:ps/task:0"):
            saver = Saver(transport=way, timeout_seconds=TIMEOUT_SECONDS)
        session.run(tf1.global_variables_initializer())
        saver.save(session, str(directory / "model"), write_meta_graph=False, consistency="instant")
    assert contents(directory) != before
    left = [path.name for path in directory.iterdir() if ".autodist" in path.name]
    assert not left, left
    print(f"{case}: named after {took:.1f} s: {message.splitlines()[0]}", flush=True)


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(exist_ok=True)
    library = compile_library("clusters/barrier_fault.c", directory.parent / f"{directory.name}.so")
    with running(free_ports(1 + SERVERS)) as job:
        for case in sys.argv[2:]:
            strike(job, directory, library, case)
    Path(library).unlink()
    print("all faults were survived")


if __name__ == "__main__":
    main()
