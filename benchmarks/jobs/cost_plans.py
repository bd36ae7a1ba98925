"""Measures the time and memory of the planner of cluster saves, without servers."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Iterator

import numpy as np

from jobs.cost_model import KEPT_SHARE, MEMORY_BYTES, ROUND_SHARE
from measuring import contestants

_COLUMNS = 256
_FLOAT, _FLOAT_BYTES = 1, 4  # tf.float32's number


@dataclasses.dataclass(frozen=True)
class Planned:
    """What was found.

    Attributes:
        plan_seconds: Processor time of the entries and the plan,
        tell_seconds: of what the tasks are told,
        index_seconds: of the index.
        peak_bytes: Of the process, Python included.
        rounds: Of parts that are sent.
        senders: How many different sets of tasks send in a round: each has ops of its own in the
          graph.
    """

    plan_seconds: float
    tell_seconds: float
    index_seconds: float
    peak_bytes: int
    rounds: int
    senders: int

    @property
    def seconds(self) -> float:
        """In all."""
        return self.plan_seconds + self.tell_seconds + self.index_seconds


def run(way: str, servers: int, shards: int, size_bytes: int) -> Planned:
    """Plans a save whose shards lie on the servers in turn.

    Args:
        way: `'shared'` or `'stream'`.
        servers: How many; the chief holds nothing.
        shards: How many, of variables with one shard on each server.
        size_bytes: Of all.
    """
    return contestants.in_new_process(
        _plan, way, servers, shards, size_bytes, is_memory_returned=False
    )


def _plan(way: str, servers: int, shards: int, size_bytes: int) -> Planned:
    from autodist import _native

    cluster_plan = _native.bundle().ClusterPlan
    start = time.process_time()
    plan = cluster_plan(
        _entries(servers, shards, size_bytes),
        "original",
        chief=0,
        writers=[True, *([way == "shared"] * servers)],
        part_bytes=int(MEMORY_BYTES * ROUND_SHARE),
        group_bytes=int(MEMORY_BYTES * KEPT_SHARE),
        block_bytes=4096,
    )
    planned = time.process_time()
    for _ in plan.direct(int(MEMORY_BYTES * ROUND_SHARE)):
        pass
    plan.given()
    senders, rounds = set(), 0
    for group in range(plan.group_count):
        plan.group_sources(group)
        for one in plan.rounds(group, int(MEMORY_BYTES * ROUND_SHARE)):
            rounds += 1
            senders.update((writer, tuple(sorted(told[3]))) for writer, told in one.items())
    told = time.process_time()
    plan.index(np.zeros((plan.part_count, 1), np.int64))
    ended = time.process_time()
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return Planned(planned - start, told - planned, ended - told, peak_bytes, rounds, len(senders))


def _entries(servers: int, shards: int, size_bytes: int) -> Iterator[tuple[object, ...]]:
    rows = max(1, size_bytes // (shards * _COLUMNS * _FLOAT_BYTES))
    whole = min(servers, shards)
    for first in range(0, shards, whole):
        name = b"v%07d" % (first // whole)
        count = min(whole, shards - first)
        for place in range(count):
            spec = b"%d %d %d,%d:-" % (rows * count, _COLUMNS, place * rows, rows)
            slice_spec = spec if count > 1 else b""
            yield name, slice_spec, b"MEAN", _FLOAT, (rows, _COLUMNS), place + 1, 0
