"""Saves of real servers on loopback, one thing varied at a time, for the terms of `cost_model`.

Each size has a job of its own. Per way: some first saves, each by a new `Saver`, then as many
steady ones by the last. A checkpoint that is not stock TensorFlow's is an error:
`cluster_benchmark.py` and the tests check that.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from jobs.cost_model import KEPT_SHARE, MEMORY_BYTES, ROUND_SHARE, Size
from measuring import contestants

WAYS = ("shared", "stream")


@dataclasses.dataclass(frozen=True)
class Case:
    """What is saved, and how.

    Attributes:
        servers: Parameter servers.
        variables: Each cut over all servers.
        mebibytes: In all.
        memory_bytes: What a save may need.
        is_synced: Whether durable saves are measured too.
    """

    servers: int
    variables: int
    mebibytes: int
    memory_bytes: int = MEMORY_BYTES
    is_synced: bool = False

    def size(self, way: str) -> Size:
        """Of a save by one way."""
        size_bytes = self.mebibytes << 20
        rounds = 0
        if way == "stream":
            group_bytes = min(size_bytes, self.servers * self.memory_bytes * KEPT_SHARE)
            rounds = math.ceil(size_bytes / group_bytes) * math.ceil(
                group_bytes / (self.memory_bytes * ROUND_SHARE)
            )
        return Size(self.servers, self.servers * self.variables, size_bytes, rounds)


CASES = (
    Case(2, 10, 32),
    Case(2, 100, 32, is_synced=True),
    Case(2, 1000, 32),
    Case(2, 100, 8, is_synced=True),
    Case(2, 100, 128, is_synced=True),
    Case(2, 100, 128, memory_bytes=32 << 20),
    Case(1, 200, 32),
    Case(4, 50, 32),
)


@dataclasses.dataclass(frozen=True)
class Found:
    """Seconds of one case, one way, one kind of save, or of a restore.

    Attributes:
        case: What was saved.
        way: How.
        kind: `'first'`, `'steady'`, `'restore'`, `'on disk'` or `'on disk, synced'`.
        wall: The median.
        chief: Processor time of the chief's process, the mean.
        servers: Likewise of all servers together.
    """

    case: Case
    way: str
    kind: str
    wall: float
    chief: float
    servers: float


def run(case: Case, rounds: int, memory: Path, disk: Path) -> list[Found]:
    """Measures one case, in processes of its own.

    Args:
        case: What to save.
        rounds: How often.
        memory: A directory on a file system in memory.
        disk: One on a disk.
    """
    return contestants.in_new_process(_run, case, rounds, memory, disk, is_memory_returned=False)


def _run(case: Case, rounds: int, memory: Path, disk: Path) -> list[Found]:
    import tensorflow as tf

    from jobs import cluster_job

    tf.compat.v1.disable_eager_execution()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    logging.getLogger("autodist").setLevel(logging.ERROR)
    layout = cluster_job.Layout(case.servers, case.mebibytes, case.variables)
    found = []
    with (
        cluster_job.serve(case.servers, is_memory_returned=False) as job,
        tf.Graph().as_default(),
    ):
        model = cluster_job.Model(job.target, layout)
        model.fill()
        timer = _Timer(case, job, model.session)
        for way in WAYS:
            found.append(timer.measure(way, "first", [_saver(case, way) for _ in range(3)], memory))
            steady = _saver(case, way)
            timer.save(steady, memory)
            found.append(timer.measure(way, "steady", [steady] * rounds, memory))
            found.append(timer.measure_restores(way, steady, rounds, memory))
            if not case.is_synced:
                continue
            synced = _saver(case, way, durable=True)
            for kind, saver in {"on disk": steady, "on disk, synced": synced}.items():
                timer.save(saver, disk)
                found.append(timer.measure(way, kind, [saver] * rounds, disk))
    return found


def _saver(case: Case, way: str, *, durable: bool = False) -> Any:
    from autodist.checkpoint.saver import Saver

    return Saver(transport=way, memory_bytes=case.memory_bytes, durable=durable, layout="original")


class _Timer:
    """Times saves of one job."""

    def __init__(self, case: Case, job: Any, session: Any) -> None:
        self._case = case
        self._session = session
        self._servers = [psutil.Process(server.pid) for server in job.servers.values()]

    def save(self, saver: Any, parent: Path) -> float:
        """Saves once; returns the seconds."""
        directory = Path(tempfile.mkdtemp(prefix="cluster_costs_", dir=parent))
        try:
            start = time.perf_counter()
            saver.save(
                self._session, str(directory / "model"), write_meta_graph=False, write_state=False
            )
            return time.perf_counter() - start
        finally:
            shutil.rmtree(directory)

    def measure(self, way: str, kind: str, savers: list[Any], parent: Path) -> Found:
        """Saves once with each."""
        return self._measure(way, kind, [lambda saver=s: self.save(saver, parent) for s in savers])

    def measure_restores(self, way: str, saver: Any, rounds: int, parent: Path) -> Found:
        """Restores one checkpoint again and again, over values; the first is not counted."""
        directory = Path(tempfile.mkdtemp(prefix="cluster_costs_", dir=parent))
        prefix = str(directory / "model")

        def restore() -> float:
            start = time.perf_counter()
            saver.restore(self._session, prefix)
            return time.perf_counter() - start

        try:
            saver.save(self._session, prefix, write_meta_graph=False, write_state=False)
            restore()
            return self._measure(way, "restore", [restore] * rounds)
        finally:
            shutil.rmtree(directory)

    def _measure(self, way: str, kind: str, calls: Sequence[Callable[[], float]]) -> Found:
        chief, servers = time.process_time(), self._server_seconds()
        wall = [call() for call in calls]
        count = len(calls)
        return Found(
            self._case,
            way,
            kind,
            statistics.median(wall),
            (time.process_time() - chief) / count,
            (self._server_seconds() - servers) / count,
        )

    def _server_seconds(self) -> float:
        return sum(sum(server.cpu_times()[:2]) for server in self._servers)
