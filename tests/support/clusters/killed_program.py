"""Kills and stops a server at points of saves or restores.

`python -m support.clusters.killed_program DIRECTORY save|restore POINTS [WAY ...]`

After each, the error names the server within the time allowed, the former checkpoint is as it was and nothing else is
left. After a restore that failed no variable has a value of the checkpoint beside one that has its former value. Once
the server is there again the next save or restore succeeds.

One point is before the operation begins; several are spread over the time that it takes undisturbed.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.clusters.ps_job import PsJob, files, running
from support.clusters.server_variables import build
from support.ports import free_ports

TIMEOUT_SECONDS = 4.0
# The end of an operation may come sooner than the one that was measured.
LATEST = 0.9
ROWS = 200_000
VICTIM = "/job:ps/replica:0/task:1"


def attempt(work: Any) -> Any:
    """Calls a function; returns the error if it fails."""
    try:
        work()
    except tf.errors.OpError as error:
        return error
    return None


def seconds(work: Any) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def check_no_mixture(session: Any, former: dict[str, Any], stored: dict[str, Any]) -> str:
    """Returns what the variables of the server that lives have: their former values, those restored, or none."""
    found = set()
    for variable in tf.compat.v1.global_variables():
        if not variable.device.endswith("task:0") or variable.op.name not in former:
            continue
        try:
            value = session.run(variable)
        except tf.errors.FailedPreconditionError:
            found.add("none")
            continue
        found |= {
            what
            for what, values in (("former", former), ("stored", stored))
            if np.array_equal(value, values[variable.op.name])
        }
    assert not {"former", "stored"} <= found, found
    return " and ".join(sorted(found))


def lose(
    job: PsJob, directory: Path, *, operation: str, way: str, trouble: Any, share: float
) -> str:
    """Loses the server at a share of the operation's time, before it if that is negative; returns what happened."""
    prefix = directory / "model"
    with tf.Graph().as_default(), tf.compat.v1.Session(job.target) as session:
        build(ROWS)
        numbers = [v for v in tf.compat.v1.global_variables() if v.dtype.base_dtype.is_floating]
        change = [v.assign(v + 1) for v in numbers if v.op.name != "ref"]
        saver = Saver(transport=way, timeout_seconds=TIMEOUT_SECONDS)
        session.run(tf.compat.v1.global_variables_initializer())
        works = {
            "save": lambda: saver.save(session, str(prefix), write_meta_graph=False),
            "restore": lambda: saver.restore(session, str(prefix)),
        }
        work = works[operation]
        whole = seconds(works["save"])
        stored = {v.op.name: session.run(v) for v in numbers if v.op.name != "ref"}
        if operation == "restore":
            whole = seconds(work)
        session.run(change)
        former = {v.op.name: session.run(v) for v in numbers if v.op.name != "ref"}
        before = files(prefix)
        names = sorted(path.name for path in directory.iterdir())
        victim = job.servers[1]
        delay = max(0.0, share * whole)
        strike = threading.Timer(delay, os.kill, (victim.pid, trouble))
        if share < 0:
            os.kill(victim.pid, trouble)
        else:
            strike.start()
        start = time.monotonic()
        error = attempt(work)
        took = time.monotonic() - start
        if error is None:
            told = f"the {operation} was quicker"
        else:
            assert VICTIM in error.message, error.message
            assert took < 2 * TIMEOUT_SECONDS, took
            assert files(prefix) == before
            left = sorted(path.name for path in directory.iterdir())
            assert left == names, left
            told = f"named after {took:.1f} s"
        if share >= 0:
            strike.join()
        job.kill(1)
        job.start(1)
        job.wait(1)
    with tf.Graph().as_default(), tf.compat.v1.Session(job.target) as session:
        build(ROWS)
        if operation == "restore" and error is not None:
            told += f"; what lives has values: {check_no_mixture(session, former, stored)}"
        saver = Saver(transport=way, timeout_seconds=TIMEOUT_SECONDS)
        if operation == "save":
            session.run(tf.compat.v1.global_variables_initializer())
            saver.save(session, str(prefix), write_meta_graph=False)
            assert files(prefix) != before
        saver.restore(session, str(prefix))
        left = sorted(path.name for path in directory.iterdir())
        assert left == names, left
        if operation == "restore":
            for variable in tf.compat.v1.global_variables():
                if variable.op.name in stored:
                    np.testing.assert_array_equal(session.run(variable), stored[variable.op.name])
    return told


def main() -> None:
    directory, operation, points = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    ways = sys.argv[4:] or ["shared", "stream"]
    rng = random.Random(1)
    shares = [LATEST * (n + rng.random()) / (points - 1) for n in range(points - 1)]
    with running(free_ports(3)) as job:
        for way in ways:
            for trouble in (signal.SIGKILL, signal.SIGSTOP):
                for share in [-1.0, *shares]:
                    told = lose(
                        job, directory, operation=operation, way=way, trouble=trouble, share=share
                    )
                    print(f"{operation} {way} {trouble.name} at {share:.2f}: {told}", flush=True)
    print("all trouble was survived")


if __name__ == "__main__":
    main()
