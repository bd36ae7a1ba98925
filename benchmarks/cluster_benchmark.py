"""How fast does a parameter-server job save and restore, beside stock TensorFlow and the disk?

| way                   | one iteration of a save                                     | of a restore              |
|-----------------------|-------------------------------------------------------------|---------------------------|
| autodist shared       | `Saver(transport='shared')`: every server writes            | `Saver(...).restore`      |
| autodist stream       | `Saver(transport='stream')`: servers send, the chief writes | the same                  |
| autodist stream, swap |                                                             | with `verify='swap'`      |
| stock sharded=False   | `tf.compat.v1.train.Saver()`: all goes to the chief         | the chief reads and sends |
| stock sharded=True    | the same with `sharded=True`: a file for each server        | every server reads        |
| limit                 | `pwrite` by as many processes as there are servers          | `pread` by them           |
| limit again           | the same; the control                                       | the same                  |
| limit of sockets      | these send over bare sockets, the chief writes              | the chief reads and sends |

Servers are processes of their own on loopback, the chief is the job's worker. All contestants work
on the same variables in turns. Outside the timed part, our files must have the bytes that stock
TensorFlow writes from one machine, and stock's files must be read back as the values. Restored
values must be right bit for bit.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jobs import cluster_report
from measuring import contestants, machine, report_files
from measuring.contestants import Contestant, Measurement

_NAME = "cluster_benchmark"
_MEMORY_ROUNDS = 2
_OPERATIONS = ("save", "restore")

OURS = {
    "autodist shared": {"transport": "shared"},
    "autodist stream": {"transport": "stream"},
    "autodist stream, swap": {"transport": "stream", "verify": "swap"},
}
# These save as others do.
ONLY_RESTORE = ("autodist stream, swap",)
STOCK = {"stock sharded=False": False, "stock sharded=True": True}
LIMIT, LIMIT_AGAIN, SOCKETS = "limit", "limit again", "limit of sockets"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured: see `main`."""

    servers: int
    mebibytes: int
    variables: int
    directory: Path
    is_synced: bool
    operations: tuple[str, ...]


# By operation and way.
Times = Mapping[str, Mapping[str, Measurement]]
# Likewise; the most that any server took more.
Memory = Mapping[str, Mapping[str, int]]


def main() -> None:
    arguments = _parse_arguments()
    setting = Setting(
        arguments.servers,
        arguments.mib,
        arguments.variables,
        arguments.disk or arguments.tmpfs,
        arguments.synced,
        tuple(arguments.operation or _OPERATIONS),
    )
    before = machine.ProcessorUse.now()
    times, server_memory, seconds = _in_new_process(setting, arguments, is_memory=False)
    chief_memory = times
    if arguments.memory_rounds:
        chief_memory, server_memory, more = _in_new_process(setting, arguments, is_memory=True)
        seconds += more
    others = machine.ProcessorUse.now().others_share_since(before, seconds)
    place = "disk" if arguments.disk else "tmpfs"
    report = cluster_report.Report(
        f"{setting.servers} parameter servers, {setting.mebibytes} MiB, {place}"
        f"{', synced' if setting.is_synced else ''}, best of {arguments.rounds}",
        setting.mebibytes << 20,
        times,
        {
            operation: {
                way: (found.extra_bytes, server_memory[operation].get(way, 0))
                for way, found in of_operation.items()
            }
            for operation, of_operation in chief_memory.items()
        },
        machine.describe({place: setting.directory}),
        others,
    )
    report.print()
    name = f"{_NAME}.{place}" + (".synced" if setting.is_synced else "")
    report.write(arguments.results, report_files.name_of(name, arguments))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--servers", type=int, default=2, help="parameter servers")
    parser.add_argument("--mib", type=int, default=1024, help="size of the model")
    parser.add_argument(
        "--variables", type=int, default=8, help="how many, each cut over all servers"
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each")
    parser.add_argument(
        "--memory-rounds",
        type=int,
        default=_MEMORY_ROUNDS,
        help="runs of each for its memory; 0: as the runs for time show it",
    )
    parser.add_argument(
        "--operation", action="append", choices=_OPERATIONS, help="only this; may be repeated"
    )
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="where to write")
    parser.add_argument("--disk", type=Path, help="where to write instead")
    parser.add_argument("--synced", action="store_true", help="sync all that is written")
    report_files.add_arguments(parser)
    return parser.parse_args()


def _in_new_process(
    setting: Setting, arguments: argparse.Namespace, *, is_memory: bool
) -> tuple[Times, Memory, float]:
    rounds = arguments.memory_rounds if is_memory else arguments.rounds
    return contestants.in_new_process(
        _measure, setting, rounds, is_memory, is_memory_returned=is_memory
    )


def _measure(setting: Setting, rounds: int, is_memory: bool) -> tuple[Times, Memory, float]:
    """Also returns the processor time of this process and of the servers."""
    import psutil
    import tensorflow as tf

    from jobs import cluster_job

    tf.compat.v1.disable_eager_execution()
    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    logging.getLogger("autodist").setLevel(logging.ERROR)
    layout = cluster_job.Layout(setting.servers, setting.mebibytes, setting.variables)
    with (
        tempfile.TemporaryDirectory(prefix=f"{_NAME}_", dir=setting.directory) as name,
        cluster_job.serve(setting.servers, is_memory_returned=is_memory) as job,
        tf.Graph().as_default(),
    ):
        contest = _Contest(setting, job, cluster_job.Model(job.target, layout), Path(name))
        times, memory = contest.run(rounds)
        own = psutil.Process()
        helpers = [own, *own.children(recursive=True)]
        return times, memory, sum(sum(each.cpu_times()[:2]) for each in helpers)


class _Contest:
    """All contestants, on one job."""

    def __init__(self, setting: Setting, job: Any, model: Any, directory: Path) -> None:
        from jobs import cluster_job
        from jobs.process_limits import Processes
        from measuring.checks import DATA

        self._setting = setting
        self._model = model
        self._directory = directory
        self._marks = cluster_job.MemoryMarks(job)
        self._server_bytes: dict[str, dict[str, int]] = {}
        self._savers = _make_savers(setting)
        model.fill()
        # Written by stock TensorFlow from one machine: whole variables.
        self._values = model.values()
        self._reference = directory / "reference"
        self._reference.mkdir()
        _save_by_one_machine(self._values, self._reference)
        self._limits = Processes(setting.servers, self._reference / DATA)

    def run(self, rounds: int) -> tuple[Times, Memory]:
        times = {}
        try:
            for operation in self._setting.operations:
                self._server_bytes[operation] = {}
                make = self._saves if operation == "save" else self._restores
                times[operation] = contestants.measure(make(), rounds, self._directory)
        finally:
            self._limits.close()
        return times, self._server_bytes

    def _saves(self) -> list[Contestant]:
        from contenders.file_system_limits import sync_all
        from measuring.checks import PREFIX, check_bytes, check_data, check_values

        def save(way: str) -> Callable[[Path], None]:
            def run(directory: Path) -> None:
                self._savers[way].save(
                    self._model.session,
                    str(directory / PREFIX),
                    write_meta_graph=False,
                    write_state=False,
                )
                if self._setting.is_synced and way in STOCK:
                    sync_all(directory)

            return run

        def write(by: Callable[[Path], None]) -> Callable[[Path], None]:
            def run(directory: Path) -> None:
                by(directory)
                if self._setting.is_synced:
                    sync_all(directory)

            return run

        def check(way: str) -> Callable[[Path], None]:
            if way in OURS:
                return lambda directory: check_bytes(directory, self._reference)
            return lambda directory: check_values(directory, self._values)

        return [
            *(
                self._contestant("save", way, save(way), check(way))
                for way in self._savers
                if way not in ONLY_RESTORE
            ),
            *(
                Contestant(way, write(by), lambda found: check_data(found, self._reference))
                for way, by in (
                    (LIMIT, self._limits.write),
                    (LIMIT_AGAIN, self._limits.write),
                    (SOCKETS, self._limits.write_through_sockets),
                )
            ),
        ]

    def _restores(self) -> list[Contestant]:
        """All read what stock TensorFlow wrote from one machine."""
        from measuring.checks import PREFIX

        def restore(way: str) -> Callable[[Path], None]:
            prefix = str(self._reference / PREFIX)
            return lambda _: self._savers[way].restore(self._model.session, prefix)

        return [
            *(
                self._contestant(
                    "restore", way, restore(way), lambda _: self._model.check(), self._model.clear
                )
                for way in self._savers
            ),
            *(
                Contestant(way, by, lambda _: None)
                for way, by in (
                    (LIMIT, self._limits.read),
                    (LIMIT_AGAIN, self._limits.read),
                    (SOCKETS, self._limits.read_through_sockets),
                )
            ),
        ]

    def _contestant(
        self,
        operation: str,
        way: str,
        run: Callable[[Path], None],
        check: Callable[[Path], None],
        clear: Callable[[], None] = lambda: None,
    ) -> Contestant:
        """One whose servers' memory is noted too."""
        most = self._server_bytes[operation]

        def prepare() -> None:
            clear()
            self._marks.reset()

        def note_and_check(directory: Path) -> None:
            most[way] = max(most.get(way, 0), *self._marks.extra_bytes().values())
            check(directory)

        return Contestant(way, run, note_and_check, prepare)


def _make_savers(setting: Setting) -> dict[str, Any]:
    import tensorflow as tf

    from autodist.checkpoint.saver import Saver

    ours = {
        way: Saver(**options, durable=setting.is_synced, layout="original")
        for way, options in OURS.items()
    }
    stock = {way: tf.compat.v1.train.Saver(sharded=sharded) for way, sharded in STOCK.items()}
    return {**ours, **stock}


def _save_by_one_machine(values: Mapping[str, Any], directory: Path) -> None:
    import tensorflow as tf

    from measuring.checks import PREFIX

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        feeds, fills = {}, []
        for name, value in values.items():
            given = tf.compat.v1.placeholder(value.dtype, value.shape)
            variable = tf.compat.v1.get_variable(
                name, value.shape, initializer=tf.compat.v1.zeros_initializer(), use_resource=True
            )
            fills.append(variable.assign(given, read_value=False))
            feeds[given] = value
        session.run(fills, feeds)
        tf.compat.v1.train.Saver().save(
            session, str(directory / PREFIX), write_meta_graph=False, write_state=False
        )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
