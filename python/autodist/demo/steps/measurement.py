"""Times a save beside TensorFlow's own save of the same values, and compares the files.

All save in turns, each to files that do not exist, and the best time of each counts. TensorFlow's
own is a `tf.compat.v1.train.Saver` on the single-node model, which has nothing to gather or to
average. From shards and replicas TensorFlow has to gather and average first; that is timed too
where it matters, with a large model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from autodist.demo.interface.errors import DemoError

Save = Callable[[str], None]
"""Saves under a prefix."""

_SUFFIXES = (".data-00000-of-00001", ".index")
_MEMORY_FILE_SYSTEM = Path("/dev/shm")  # noqa: S108 - the file system, not a file of a fixed name


@dataclasses.dataclass(frozen=True)
class Saves:
    """Ways to save the same values.

    Attributes:
        ours: the distributed session with our `Saver`.
        stock: the single-node model with TensorFlow's own `Saver`.
        gathered: TensorFlow's own ops on shards and replicas; None: not to be timed.
        session: the distributed session that `ours` saves.
    """

    ours: Save
    stock: Save
    gathered: Save | None = None
    session: Any = None


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """What a checkpoint holds, and what it was made of.

    Attributes:
        written_bytes: size of the data file.
        variable_count: variables of the original graph.
        shard_count: shards of all variables; a variable in one piece counts one.
        replica_count: the replicas of all shards.
    """

    written_bytes: int
    variable_count: int
    shard_count: int
    replica_count: int


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a save wrote and how long it took.

    Attributes:
        title: the model and the strategy.
        report: what was saved.
        ours_seconds: best wall time of our save.
        stock_seconds: best wall time of TensorFlow's own on the single-node model.
        gathered_seconds: best wall time of TensorFlow's own from shards and replicas; None: not
          timed.
    """

    title: str
    report: SavedModel
    ours_seconds: float
    stock_seconds: float
    gathered_seconds: float | None

    def speed(self, seconds: float) -> float:
        """GiB/s, where 1 GiB is 2^30 bytes."""
        return self.report.written_bytes / seconds / 2**30


def save_with(saver: Any, session: Any) -> Save:
    """Saving with a `Saver`, without the graph and the state file."""

    def save(prefix: str) -> None:
        with session.graph.as_default():
            saver.save(session, prefix, write_meta_graph=False, write_state=False)

    return save


def measure(
    title: str,
    saves: Saves,
    directory: Path,
    rounds: Iterable[int],
) -> Measurement:
    """Times ways to save the same values in turns, and checks that they write the same bytes.

    Args:
        title: the model and the strategy.
        saves: the ways.
        directory: an empty directory to write to.
        rounds: one item per turn.

    Raises:
        DemoError: the files differ.
    """
    ways = {"ours": saves.ours, "stock": saves.stock, "gathered": saves.gathered}
    present = {name: save for name, save in ways.items() if save is not None}
    best = dict.fromkeys(present, float("inf"))
    for _ in rounds:
        for name, save in present.items():
            _remove(directory / name)
            begin = time.perf_counter()
            save(str(directory / name))
            best[name] = min(best[name], time.perf_counter() - begin)
    ours = str(directory / "ours")
    for name in present:
        check_same_files(ours, str(directory / name), title)
    report = describe(saves.session, ours)
    for name in present:
        _remove(directory / name)
    return Measurement(title, report, best["ours"], best["stock"], best.get("gathered"))


def check_same_files(ours: str, stock: str, what: str) -> None:
    """Checks that two checkpoints are byte-identical.

    Raises:
        DemoError: data or index differ.
    """
    for suffix in _SUFFIXES:
        if not _same_bytes(Path(ours + suffix), Path(stock + suffix)):
            raise DemoError(
                f"{what}: {ours + suffix} is not byte-identical to {stock + suffix}, which "
                "TensorFlow wrote"
            )


@contextlib.contextmanager
def scratch_directory(fallback: Path, needed_bytes: int) -> Iterator[Path]:
    """Makes an empty directory in memory, to measure no disk; without tmpfs, below `fallback`.

    Args:
        fallback: where to make it if there is no file system in memory with enough room.
        needed_bytes: how much room is enough.
    """
    memory = _MEMORY_FILE_SYSTEM
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    if not usable or shutil.disk_usage(memory).free < needed_bytes:
        memory = fallback
    with tempfile.TemporaryDirectory(prefix="autodist-demo-", dir=memory) as directory:
        yield Path(directory)


def _same_bytes(first: Path, second: Path, block_bytes: int = 1 << 20) -> bool:
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb") as a, second.open("rb") as b:
        while block := a.read(block_bytes):
            if block != b.read(block_bytes):
                return False
    return True


def _remove(prefix: Path) -> None:
    for suffix in _SUFFIXES:
        prefix.with_name(prefix.name + suffix).unlink(missing_ok=True)


def describe(session: Any, prefix: str) -> SavedModel:
    """Describes a checkpoint of a distributed session.

    Args:
        session: the distributed session.
        prefix: of the checkpoint.
    """
    saves = [op for op in session.graph.get_operations() if op.type == "SaveV2"]
    parts = {part for op in saves for part in session.stored_parts(op)}
    return SavedModel(
        written_bytes=Path(f"{prefix}.data-00000-of-00001").stat().st_size,
        variable_count=len({part.tensor_name for part in parts}),
        shard_count=len({(part.tensor_name, part.slice) for part in parts}),
        replica_count=len(parts),
    )
