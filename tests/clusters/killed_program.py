"""Kills and stops servers while they save; its argument is a directory.

After each, the error names the server within the time allowed, the former checkpoint is as it was and nothing else is
left; and once the server is there again the next save succeeds.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from conftest import free_ports
from ps_job import files, running
from test_saves import build

from autodist.checkpoint.saver import Saver

directory = Path(sys.argv[1])
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
TIMEOUT_SECONDS = 4.0
rng = random.Random(1)


def attempt(saver: Saver, session: Any, prefix: Path) -> Any:
    """Saves; returns the error if it fails."""
    try:
        saver.save(session, str(prefix), write_meta_graph=False)
    except tf.errors.OpError as error:
        return error
    return None


with running(free_ports(3)) as job:
    for number in range(rounds):
        for way in ("shared", "stream"):
            for trouble in (signal.SIGKILL, signal.SIGSTOP):
                with tf.Graph().as_default(), tf.compat.v1.Session(job.target) as session:
                    build(200_000)
                    saver = Saver(transport=way, timeout_seconds=TIMEOUT_SECONDS)
                    session.run(tf.compat.v1.global_variables_initializer())
                    prefix = directory / "model"
                    start = time.monotonic()
                    saver.save(session, str(prefix), write_meta_graph=False)
                    whole = time.monotonic() - start
                    former = files(prefix)
                    names = sorted(path.name for path in directory.iterdir())
                    victim = job.servers[1]
                    delay = rng.random() * whole if number else 0.0
                    if number:
                        threading.Timer(delay, os.kill, (victim.pid, trouble)).start()
                    else:
                        os.kill(victim.pid, trouble)
                    start = time.monotonic()
                    error = attempt(saver, session, prefix)
                    took = time.monotonic() - start
                    if error is None:
                        print(way, trouble.name, f"{delay:.3f} s: the save was quicker", flush=True)
                    else:
                        assert "/job:ps/replica:0/task:1" in error.message, error.message
                        assert took < 2 * TIMEOUT_SECONDS, took
                        assert files(prefix) == former
                        left = sorted(path.name for path in directory.iterdir())
                        assert left == names, left
                        print(
                            way,
                            trouble.name,
                            f"{delay:.3f} s: named after {took:.1f} s",
                            flush=True,
                        )
                    time.sleep(max(0.0, delay - (time.monotonic() - start)) + 0.1)
                    job.kill(1)
                    job.start(1)
                    job.wait(1)
                # What the server held is gone with it; a new session has a new graph's variables.
                with tf.Graph().as_default(), tf.compat.v1.Session(job.target) as session:
                    build()
                    saver = Saver(transport=way, timeout_seconds=TIMEOUT_SECONDS)
                    session.run(tf.compat.v1.global_variables_initializer())
                    saver.save(session, str(prefix), write_meta_graph=False)
                    assert files(prefix) != former
                    left = sorted(path.name for path in directory.iterdir())
                    assert left == names, left
print("all trouble was survived")
