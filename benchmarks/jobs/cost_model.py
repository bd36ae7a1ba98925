"""A cost model of cluster saves: its terms are fitted to measured saves, and predict others.

    T = fixed + shards * v + servers * t + bytes * b + rounds * r

is fitted for what a save takes: wall time, processor time of the chief's process, processor time of
all servers. On other clusters the chief's part stays serial, the servers' is divided among them,
and bytes travel and are written at stated speeds. `docs/design/costs.md` has it in words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

# As in `autodist.checkpoint.distributed.shared_save.save_steps`: the memory that a save may need,
# and the shares of it that are sent and kept.
MEMORY_BYTES = 256 << 20
ROUND_SHARE, KEPT_SHARE = 1 / 16, 1 / 2
ROUNDS_UNDER_WAY = 4
# The steps of a save, in order: open, look up, write, finish and commit. If several tasks write,
# they also share the blocks of the file, hand over bytes, and compare.
STEPS = {"stream": 4, "shared": 7}

TERMS = ("fixed", "shard", "server", "byte", "round")
WHOSE = ("wall", "chief", "servers")


@dataclasses.dataclass(frozen=True)
class Size:
    """What one save is about."""

    servers: int
    shards: int
    size_bytes: int
    rounds: int

    def features(self) -> list[float]:
        """In the order of `TERMS`."""
        return [1, self.shards, self.servers, self.size_bytes, self.rounds]


@dataclasses.dataclass(frozen=True)
class Fit:
    """Seconds for each of `TERMS`.

    Attributes:
        terms: By name.
        residual: Root of the mean square of the relative errors.
    """

    terms: Mapping[str, float]
    residual: float

    @staticmethod
    def of(sizes: Sequence[Size], seconds: Sequence[float]) -> Fit:
        """Least squares of the relative errors; a term that would be negative is left out.

        Args:
            sizes: What was saved.
            seconds: What each took.
        """
        rows = np.array([size.features() for size in sizes], float)
        wanted = np.array(seconds)
        used = [column for column in range(len(TERMS)) if rows[:, column].any()]
        while True:
            # Scaled, because bytes are many.
            scale = rows[:, used].max(axis=0)
            found, *_ = np.linalg.lstsq(
                rows[:, used] / scale / wanted[:, np.newaxis], np.ones(len(rows)), rcond=None
            )
            if (found >= 0).all():
                break
            del used[int(np.argmin(found))]
        errors = (rows[:, used] / scale) @ found / wanted - 1
        terms = dict.fromkeys(TERMS, 0.0)
        terms.update({TERMS[c]: float(s) for c, s in zip(used, found / scale, strict=True)})
        return Fit(terms, float(np.sqrt(np.mean(errors**2))))


@dataclasses.dataclass(frozen=True)
class Commit:
    """What a durable save takes more."""

    fixed: float
    byte: float


@dataclasses.dataclass(frozen=True)
class Machines:
    """What is assumed of a cluster.

    Attributes:
        nic_bytes: Per second, of each machine.
        disk_bytes: Per second, that one machine writes to the file system.
        file_system_bytes: Per second, that all can.
        round_trip_seconds: Between two machines.
        cores: Of each that work for a save.
    """

    nic_bytes: float
    disk_bytes: float
    file_system_bytes: float
    round_trip_seconds: float
    cores: int


def predict(
    way: str,
    size: Size,
    fits: Mapping[str, Fit],
    commit: Commit,
    *,
    plan_seconds: float,
    machines: Machines,
) -> dict[str, float]:
    """Returns the seconds of each part of a save; those of the bytes overlap, see `total`.

    Args:
        way: `'shared'` or `'stream'`.
        size: What is saved.
        fits: By whose time.
        commit: What durability takes.
        plan_seconds: What the planner takes.
        machines: The cluster.
    """
    chief, servers = fits["chief"].terms, fits["servers"].terms
    is_shared = way == "shared"
    round_trips = STEPS[way] + size.rounds / ROUNDS_UNDER_WAY
    writers = size.servers if is_shared else 1
    on_servers = servers["byte"] * size.size_bytes / size.servers / machines.cores
    on_chief = chief["byte"] * size.size_bytes / min(ROUNDS_UNDER_WAY, machines.cores)
    speed = min(writers * machines.disk_bytes, machines.file_system_bytes)
    nic = machines.nic_bytes
    return {
        "fixed": fits["wall"].terms["fixed"],
        "client, shards": chief["shard"] * size.shards,
        "client, plan": plan_seconds,
        "client, servers": chief["server"] * size.servers,
        "round trips": round_trips * machines.round_trip_seconds,
        "ops of a server": servers["shard"] * size.shards / size.servers + servers["server"],
        "bytes, servers' cores": on_servers,
        "bytes, chief's cores": 0.0 if is_shared else on_chief,
        "bytes, client's rounds": chief["round"] * size.rounds,
        "bytes, chief's network": 0.0 if is_shared else size.size_bytes / nic,
        "bytes, file system": size.size_bytes / speed,
        "commit": commit.fixed,
    }


def total(parts: Mapping[str, float]) -> float:
    """Returns what a save takes in all."""
    overlapping = [seconds for name, seconds in parts.items() if name.startswith("bytes")]
    return max(overlapping) + sum(
        seconds for name, seconds in parts.items() if not name.startswith("bytes")
    )
