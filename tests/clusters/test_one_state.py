"""Saves of several tasks beside training: every task refers to its dense variables when the save begins, by any way.

A step adds one to the first and the last variable of each server; the saves here go on only after many more steps.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.distributed.sharded_save import sharded_graph, sharded_steps
from autodist.checkpoint.distributed.shared_save import save_steps
from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce
from support.clusters.ps_job import PsJob, running
from support.ports import free_ports
from support.threads import training

tf1 = tf.compat.v1

SERVERS = 2
# That training makes while a save is held up.
STEPS = 60
TIMEOUT_SECONDS = 120


@pytest.fixture(scope="module")
def job() -> Iterator[PsJob]:
    with running(free_ports(1 + SERVERS)) as job:
        yield job


class Training:
    """A step that a thread runs over and over, and what it has come to."""

    def __init__(self, session: Any, place: Callable[[int], Any]) -> None:
        """Builds variables on each server, and initializes them."""
        self._session = session
        self.variables = []
        for server in range(SERVERS):
            for name, size in (("first", 1), ("large", 1 << 20), ("last", 1)):
                with place(server):
                    self.variables.append(
                        tf1.get_variable(
                            f"{name}_{server}",
                            [size],
                            initializer=tf1.zeros_initializer(),
                            use_resource=True,
                        )
                    )
        counted = [v for v in self.variables if "large" not in v.op.name]
        self._step = tf.group(*(v.assign_add([1.0], read_value=False) for v in counted))
        self._count = counted[0]

    def count(self) -> float:
        return float(self._session.run(self._count)[0])

    def wait(self, steps: int) -> None:
        """Returns after so many more steps."""
        enough, end = self.count() + steps, time.monotonic() + TIMEOUT_SECONDS
        while self.count() < enough:
            assert time.monotonic() < end

    @contextlib.contextmanager
    def running(self, session: Any) -> Iterator[None]:
        self._session = session
        with training(session, self._step):
            yield


def check(prefix: str, earliest: float, latest: float) -> None:
    """Looks whether what was saved is of one state of each server, between two of training."""
    reader = tf.train.load_checkpoint(prefix)
    for server in range(SERVERS):
        first, last = (float(reader.get_tensor(f"{n}_{server}")[0]) for n in ("first", "last"))
        assert abs(first - last) <= 1
        assert earliest - 1 <= first <= latest + 1


def held_up(training: Training, name: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Lets a step of a cluster's save wait for training; returns a list that gets the count before it."""
    counts: list[float] = []
    done = getattr(save_steps.SharedSave, name)

    def wait_first(self: Any, *given: Any) -> Any:
        counts.append(training.count())
        training.wait(STEPS)
        return done(self, *given)

    monkeypatch.setattr(save_steps.SharedSave, name, wait_first)
    return counts


def on_server(server: int) -> Any:
    return tf1.device(f"/job:ps/task:{server}")


@pytest.mark.parametrize(
    ("way", "name"), [("shared", "_plan"), ("stream", "_plan"), ("stream", "_send")]
)
def test_values_are_those_of_the_beginning(
    job: PsJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, name: str
) -> None:
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        training = Training(session, on_server)
        saver = Saver(training.variables, transport=way)
        session.run(tf1.global_variables_initializer())
        counts = held_up(training, name, monkeypatch)
        with training.running(session):
            for _ in range(2):
                before = training.count()
                prefix = saver.save(session, str(tmp_path / way), write_meta_graph=False)
                check(prefix, before, counts[-1])


def make_gate() -> Any:
    """A queue of the job's worker, the same in all sessions."""
    with tf1.device("/job:worker/task:0"):
        return tf1.FIFOQueue(10, [tf.float32], [[]], shared_name="gate")


def test_data_files_have_values_of_the_beginning(
    job: PsJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every task looks for the probe before it writes: here that waits for a gate to open."""
    build = sharded_graph.ShardedGraph._save

    def build_held_up(self: Any, part: Any, name: str) -> Any:
        read_probe = self._read_probe

        def read_later() -> Any:
            with tf.control_dependencies([make_gate().dequeue()]):
                return read_probe()

        monkeypatch.setattr(self, "_read_probe", read_later, raising=False)
        try:
            return build(self, part, name)
        finally:
            monkeypatch.delattr(self, "_read_probe")

    monkeypatch.setattr(sharded_graph.ShardedGraph, "_save", build_held_up)
    with tf.Graph().as_default(), tf1.Session(job.target) as session:
        training = Training(session, on_server)
        saver = Saver(training.variables, transport="files")
        open_gate = make_gate().enqueue_many([tf.zeros([SERVERS])])
        session.run(tf1.global_variables_initializer())
        # The servers know the graph from then on.
        session.run(open_gate)
        saver.save(session, str(tmp_path / "model"), write_meta_graph=False)
        counts: list[float] = []

        def open_later() -> None:
            training.wait(2 * STEPS)
            session.run(open_gate)

        check_sizes = sharded_steps.ShardedSave._check_sizes

        def begin(self: Any) -> None:
            check_sizes(self)
            counts.append(training.count())
            threading.Thread(target=open_later).start()

        monkeypatch.setattr(sharded_steps.ShardedSave, "_check_sizes", begin)
        with training.running(session):
            before = training.count()
            prefix = saver.save(session, str(tmp_path / "model"), write_meta_graph=False)
        check(prefix, before, counts[-1] + STEPS)


@pytest.mark.parametrize("way", ["shared", "stream"])
def test_a_distributed_session_saves_one_state(
    make_autodist: Callable[..., AutoDist],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """Two replicas on two tasks, each with a copy of every variable."""
    autodist = make_autodist(AllReduce(), 2)
    with tf.Graph().as_default(), autodist.scope():
        training = Training(None, lambda _: contextlib.nullcontext())
        saver = Saver(training.variables, transport=way)
        with autodist.create_distributed_session() as session, training.running(session):
            counts = held_up(training, "_plan", monkeypatch)
            before = training.count()
            prefix = saver.save(session, str(tmp_path / way), write_meta_graph=False)
            check(prefix, before, counts[-1])
