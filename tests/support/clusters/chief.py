"""A chief in a process of its own, that meets trouble; `python -m support.clusters.chief SCENARIO SPEC DIRECTORY`.

Each step prints one line, which the test reads.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.cluster import chief
from autodist.cluster.node_errors import NodeUnavailableError
from autodist.errors import GraphStateError
from autodist.strategy import AllReduce, PartitionedPS
from support.clusters import digits

SPEC, DIRECTORY = sys.argv[2], Path(sys.argv[3])


def say(*words: Any) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def training(strategy: Any) -> Iterator[tuple[Any, digits.Program, Saver]]:
    autodist = AutoDist(SPEC, strategy)
    with tf.Graph().as_default(), autodist.scope():
        program = digits.build()
        saver = Saver()
        session = autodist.create_distributed_session()
        digits.run(session, program)
        saver.save(session, str(DIRECTORY / "good"), write_meta_graph=False)
        yield session, program, saver


def server_pid(task: str) -> int:
    (only,) = chief._clusters.values()
    return only.server_pids[task]


def train_until_error(session: Any, program: digits.Program, strike: Callable[[], None]) -> None:
    """Trains, has `strike` happen after a moment, and says which error comes how long after it."""
    struck: list[float] = []

    def wait_and_strike() -> None:
        time.sleep(0.3)
        struck.append(time.monotonic())
        strike()

    threading.Thread(target=wait_and_strike).start()
    try:
        while True:
            session.run(program.train, digits.feeds(program, 12))
    except NodeUnavailableError as error:
        seconds = time.monotonic() - struck[0]
        say("error", round(seconds, 1), error.nodes[0][1], str(error).replace("\n", "|"))


def kills() -> None:
    """A server is killed: the error names it; it is started again, and a restore brings all back."""
    with training(PartitionedPS(min_variable_bytes=0)) as (session, program, saver):
        victim = server_pid("/job:worker/task:2")
        train_until_error(session, program, lambda: os.kill(victim, signal.SIGKILL))
        saver.restore(session, str(DIRECTORY / "good"))
        saver.save(session, str(DIRECTORY / "again"), write_meta_graph=False)
        say("same", digits.files(str(DIRECTORY / "good")) == digits.files(str(DIRECTORY / "again")))
        session.run(program.train, digits.feeds(program, 12))
        victim = server_pid("/job:worker/task:1")
        train_until_error(session, program, lambda: os.kill(victim, signal.SIGSTOP))
        os.kill(victim, signal.SIGCONT)
        session.run(program.train, digits.feeds(program, 12))
        say("goes on")
        say("servers", *(server_pid(f"/job:worker/task:{k}") for k in (1, 2)))
        os.kill(os.getpid(), signal.SIGKILL)


def collectives() -> None:
    """A server is killed in the middle of collectives: what is left can be saved, training needs another process."""
    with training(AllReduce()) as (session, program, saver):
        victim = server_pid("/job:worker/task:1")
        train_until_error(session, program, lambda: os.kill(victim, signal.SIGKILL))
        saver.restore(session, str(DIRECTORY / "good"))
        saver.save(session, str(DIRECTORY / "again"), write_meta_graph=False)
        say("same", digits.files(str(DIRECTORY / "good")) == digits.files(str(DIRECTORY / "again")))
        try:
            session.run(program.train, digits.feeds(program, 12))
        except GraphStateError as error:
            say("refused", error)


def joins() -> None:
    """Trains on servers that run already, and holds them until it is told to end."""
    try:
        with training(AllReduce()):
            say("trained")
            sys.stdin.readline()
    except (GraphStateError, NodeUnavailableError) as error:
        say("refused", str(error).replace("\n", "|"))


{"kills": kills, "collectives": collectives, "joins": joins}[sys.argv[1]]()
