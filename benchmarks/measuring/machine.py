"""Where and on what a benchmark ran: machine, versions, commit, and how quiet it was."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import psutil

_REPOSITORY = Path(__file__).resolve().parents[2]


def describe(directories: Mapping[str, Path]) -> dict[str, str]:
    """What a reader needs to place the numbers.

    Args:
        directories: Where files are written, by what that is called.
    """
    files = [f"{name}: {_file_system(directory)}" for name, directory in directories.items()]
    facts = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "tensorflow": metadata.version("tensorflow"),
        "numpy": metadata.version("numpy"),
        "commit": _commit(),
    }
    return {**facts, "files on": ", ".join(files)} if files else facts


@dataclasses.dataclass(frozen=True)
class ProcessorUse:
    """Seconds of processor time since boot: of everything, and of this process."""

    all_seconds: float
    own_seconds: float
    capacity_seconds: float

    @staticmethod
    def now() -> ProcessorUse:
        """The counts of this moment."""
        times = psutil.cpu_times()
        idle = times.idle + times.iowait
        # Guests are counted within user and nice.
        total = sum(times) - times.guest - times.guest_nice
        own = sum(psutil.Process().cpu_times()[:2])
        return ProcessorUse(total - idle, own, total)

    def others_share_since(self, earlier: ProcessorUse, helpers_seconds: float = 0.0) -> float:
        """The part of the machine's processor time that others took, from 0 to 1.

        Args:
            earlier: The counts at the beginning.
            helpers_seconds: Processor time of this process's own helpers.
        """
        own = self.own_seconds - earlier.own_seconds + helpers_seconds
        others = self.all_seconds - earlier.all_seconds - own
        return max(0.0, others) / max(self.capacity_seconds - earlier.capacity_seconds, 1e-9)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    values = {key.strip(): value.strip() for key, value in fields.items()}
    name = values.get("model name", platform.machine())
    if "cpu family" in values:
        return f"{name}, family {values['cpu family']} model {values.get('model', '?')}"
    return name


def _file_system(directory: Path) -> str:
    path = directory.resolve()
    mounts = [p for p in psutil.disk_partitions(all=True) if path.is_relative_to(p.mountpoint)]
    return max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else "unknown"


def _commit() -> str:
    """The commit checked out, and whether what is measured differs from it."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", "cc", "python", "CMakeLists.txt")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with local changes" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(_REPOSITORY), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
