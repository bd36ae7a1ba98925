"""A parameter-server job of real processes on loopback; this process is its chief.

The servers are those of the tests (`tests/support/clusters/ps_job.py`). Each process tells its
memory: Linux keeps the highest resident size of every process, and a 5 written to its `clear_refs`
sets that mark back (proc(5)).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

# The servers are those of the tests.
sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from support.clusters.ps_job import PsJob, running
from support.ports import free_ports

tf1 = tf.compat.v1

# Have glibc give every large block back at once, so that one contestant's memory does not hide
# another's.
_RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
_FLOAT_BYTES = 4
_COLUMNS = 256


@dataclasses.dataclass(frozen=True)
class Layout:
    """What lies on the servers.

    Attributes:
        servers: How many there are.
        mebibytes: Of the model.
        variables: How many it has, each cut over all servers.
    """

    servers: int
    mebibytes: int
    variables: int

    @property
    def rows(self) -> int:
        """Of a variable, a multiple of the servers."""
        wanted = (self.mebibytes << 20) // (self.variables * _COLUMNS * _FLOAT_BYTES)
        return max(1, wanted // self.servers) * self.servers

    @property
    def size_bytes(self) -> int:
        """Of the model."""
        return self.rows * _COLUMNS * _FLOAT_BYTES * self.variables


class Model:
    """Creates resource variables of random numbers, partitioned over the servers.

    Attributes:
        session: Holds them.
        layout: What lies where.
    """

    def __init__(self, target: str, layout: Layout) -> None:
        """Makes them in the default graph, with their values."""
        self.layout = layout
        shape = [layout.rows, _COLUMNS]
        self._variables: dict[str, list[Any]] = {}
        setter = tf1.train.replica_device_setter(
            ps_tasks=layout.servers, worker_device="/job:worker/task:0"
        )
        with tf1.device(setter):
            for number in range(layout.variables):
                cut = tf1.get_variable(
                    f"v{number:05d}",
                    shape,
                    initializer=tf1.zeros_initializer(),
                    partitioner=tf1.fixed_size_partitioner(layout.servers),
                    use_resource=True,
                )
                self._variables[f"v{number:05d}"] = list(cut)
        fills, clears, same = [], [], []
        for seed, variable in enumerate(v for cut in self._variables.values() for v in cut):
            # Beside the variable: nothing travels.
            with tf1.device(variable.device):
                values = tf.random.stateless_uniform(variable.shape, [seed, 1], -1, 1)
                fills.append(variable.assign(values, read_value=False))
                # Not zeros: these would be a constant of the graph, whose memory the variable shares.
                clears.append(variable.assign(-values, read_value=False))
                same.append(tf.reduce_all(tf.equal(variable, values)))
        self._fill, self._clear, self._same = tf.group(*fills), tf.group(*clears), same
        self.session = tf1.Session(target)

    def fill(self) -> None:
        """Gives the variables their values."""
        self.session.run(self._fill)

    def clear(self) -> None:
        """Gives them other values."""
        self.session.run(self._clear)

    def check(self) -> None:
        """The variables have their values.

        Raises:
            AssertionError: They have not.
        """
        if not all(self.session.run(self._same)):
            raise AssertionError("variables have other values than were saved")

    def values(self) -> dict[str, np.ndarray]:
        """The whole variables by name."""
        return {
            name: np.concatenate([self.session.run(shard) for shard in cut])
            for name, cut in self._variables.items()
        }


@contextlib.contextmanager
def serve(servers: int, *, is_memory_returned: bool) -> Iterator[PsJob]:
    """Runs a job.

    Args:
        servers: How many parameter servers.
        is_memory_returned: Whether the servers give freed memory back, see `measuring.contestants`.
    """
    environment = {**os.environ, **(_RETURN_MEMORY if is_memory_returned else {})}
    with mock.patch.dict(os.environ, environment), running(free_ports(servers + 1)) as job:
        yield job


class MemoryMarks:
    """How much more memory each server of a job takes than it had at a moment."""

    def __init__(self, job: PsJob) -> None:
        """Of all servers there are now."""
        self._processes = {number: server.pid for number, server in job.servers.items()}
        self._before: dict[int, int] = {}

    def reset(self) -> None:
        """This is the moment."""
        for number, pid in self._processes.items():
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
            self._before[number] = _status_bytes(pid, "VmRSS")

    def extra_bytes(self) -> Mapping[int, int]:
        """By server, its highest resident size since, above that of the moment."""
        return {
            number: max(0, _status_bytes(pid, "VmHWM") - self._before[number])
            for number, pid in self._processes.items()
        }


def _status_bytes(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith(field + ":"))
    return int(line.split()[1]) << 10
