"""How fast is a save of one large variable in shards or replicas, beside stock TensorFlow and the disk?

| name              | one iteration                                              | moved | rival         |
|-------------------|------------------------------------------------------------|-------|---------------|
| shards            | `Saver` on a `PartitionedVariable`, layout `original`      | size  | concat, stock |
| session shards    | `Saver` in a session of `PartitionedPS`                    | size  | concat, stock |
| session replicas  | `Saver` in a session of `AllReduce`, mean of two copies    | size  | mean          |
| concat + SaveV2   | `tf.concat` of the shards, then stock `SaveV2`             | size  |               |
| stock Saver       | stock `Saver` on the same `PartitionedVariable`, as slices | size  |               |
| mean + SaveV2     | `(a + b) / 2`, then stock `SaveV2`                         | size  |               |
| limit             | the bytes by `pwrite` from as many threads, nothing else   | size  |               |
| limit again       | the same; the control                                      | size  | limit         |

The size is 512 MiB of float32 in 8 shards along axis 0, on tmpfs, 2 threads. After each iteration, outside the
timed part, data and index are compared byte by byte with a stock save of the single-node graph, whose values
stock TensorFlow has read back and found right; the files of `stock Saver`, whose layout is another, are
compared by values.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import machine
import models
import rivals
from autodist import _native
from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce, PartitionedPS
from checks import PREFIX, check_bytes, check_data, check_values
from measuring import Contestant, Measurement, measure, where_memory_returns
from reporting import Report, Target

_NAME = "save_sharded"
_OURS = ("shards", "session shards", "session replicas")
_LIMIT = ("limit", "limit again")
_RIVALS = ("concat + SaveV2", "stock Saver", "mean + SaveV2", "limit")
_TARGETS = (
    Target("shards", "concat + SaveV2", 2.3),
    Target("shards", "stock Saver", 1.4),
    Target("session shards", "concat + SaveV2", 2.3),
    Target("session shards", "stock Saver", 1.4),
    Target("session replicas", "mean + SaveV2", 2.5),
)
_EXTRA_BYTES_LIMIT = 32 << 20

_COLUMNS = 1024
_SHARDS = 8
_REPLICAS = 2
# Peaks do not vary as times do.
_MEMORY_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class _Setting:
    size_bytes: int
    threads: int
    directory: Path

    def make_values(self) -> np.ndarray:
        rows = self.size_bytes // (4 * _COLUMNS)
        return np.random.default_rng(seed=1).random((rows, _COLUMNS), dtype=np.float32)


def main() -> None:
    arguments = _parse_arguments()
    size_bytes = arguments.mib << 20
    with tempfile.TemporaryDirectory(prefix="save_sharded_", dir=arguments.directory) as directory:
        setting = _Setting(size_bytes, arguments.threads, Path(directory))
        before = machine.ProcessorUse.now()
        memory, own_seconds = where_memory_returns(_measure_memory, setting)
        times = _measure(setting, arguments.rounds)
        others = machine.ProcessorUse.now().others_share_since(before, own_seconds)
        described = machine.describe(setting.directory)
    report = Report(
        question=(
            f"Save {arguments.mib} MiB of float32 in {_SHARDS} shards or {_REPLICAS} replicas, "
            f"{arguments.threads} threads, best of {arguments.rounds}"
        ),
        moved_bytes=size_bytes,
        times=times,
        memory=memory,
        ours=_OURS,
        rivals=_RIVALS,
        limit=_LIMIT,
        targets=_TARGETS,
        extra_bytes_limit=_EXTRA_BYTES_LIMIT,
        machine=described,
        others_share=others,
    )
    report.print()
    report.write(arguments.results, _NAME if arguments.keep else f"{_NAME}.local")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="where to write")
    parser.add_argument("--mib", type=int, default=512, help="size of the variable")
    parser.add_argument("--threads", type=int, default=2, help="writers")
    parser.add_argument("--rounds", type=int, default=10, help="counted runs of each")
    parser.add_argument("--results", type=Path, default=here / "results", help="of the report")
    parser.add_argument("--keep", action="store_true", help="as the results to be committed")
    return parser.parse_args()


def _measure_memory(setting: _Setting) -> tuple[dict[str, Measurement], float]:
    """Also returns the processor time it took."""
    return _measure(setting, _MEMORY_ROUNDS), machine.ProcessorUse.now().own_seconds


def _measure(setting: _Setting, rounds: int) -> dict[str, Measurement]:
    tf.compat.v1.disable_eager_execution()
    logging.getLogger("autodist").setLevel(logging.ERROR)
    values = setting.make_values()
    reference = setting.directory / "reference"
    reference.mkdir(exist_ok=True)
    _save_reference(values, reference)
    return measure(_contestants(setting, values, reference), rounds, setting.directory)


def _save_reference(values: np.ndarray, reference: Path) -> None:
    session, variable = models.single_node(values)
    with session, session.graph.as_default():
        rivals.stock_saver(session, [variable])(reference)
    check_values(reference, models.NAME, values)


def _contestants(setting: _Setting, values: np.ndarray, reference: Path) -> list[Contestant]:
    def check_whole(directory: Path) -> None:
        check_bytes(directory, reference)

    def check_slices(directory: Path) -> None:
        check_values(directory, models.NAME, values)

    def check_limit(directory: Path) -> None:
        check_data(directory, reference)

    user_session, partitioned = models.partitioned(values, _SHARDS)
    copies_session, copies = models.copies(values, _REPLICAS)
    cpus = range(_REPLICAS)
    ps_session, _ = models.distributed(values, PartitionedPS(num_shards=_SHARDS), cpus)
    all_reduce_session, _ = models.distributed(values, AllReduce(), cpus)
    threads = setting.threads
    with user_session.graph.as_default():
        concat = rivals.concat_and_save(user_session, models.NAME, list(partitioned))
        stock = rivals.stock_saver(user_session, [partitioned])
    with copies_session.graph.as_default():
        mean = rivals.mean_and_save(copies_session, models.NAME, copies)
    limit = rivals.bare_writes(values, threads)
    return [
        Contestant("shards", _ours(user_session, threads, _SHARDS), check_whole),
        Contestant("session shards", _ours(ps_session, threads, _SHARDS), check_whole),
        Contestant("session replicas", _ours(all_reduce_session, threads, _REPLICAS), check_whole),
        Contestant("concat + SaveV2", concat, check_whole),
        Contestant("stock Saver", stock, check_slices),
        Contestant("mean + SaveV2", mean, check_whole),
        Contestant("limit", limit, check_limit),
        Contestant("limit again", limit, check_limit),
    ]


def _ours(session: Any, threads: int, replica_count: int) -> Callable[[Path], None]:
    """A save by our `Saver`; it must be by our op, from as many replicas, counted over all shards."""
    with session.graph.as_default():
        saver = Saver(threads=threads, layout="original")

    def save(directory: Path) -> None:
        prefix = saver.save(
            session, str(directory / PREFIX), write_meta_graph=False, write_state=False
        )
        report = _native.last_save(prefix)
        if report is None or report.replica_count != replica_count:
            raise AssertionError(f"expected a save of {replica_count} replicas, found {report}")

    return save


if __name__ == "__main__":
    main()
