"""What does a save cost a training that goes on meanwhile?

| contestant               | what it does                                                          |
|--------------------------|-----------------------------------------------------------------------|
| no save                  | nothing for a second: how much the figures scatter                    |
| save, block; save, copy  | `Saver(lock=...).save` of a thread, which reads shard by shard        |
| save, instant            | `Saver.save(consistency="instant")` of a thread                       |
| pages, fork, copy        | `Saver.save_async` of one instant, by each `snapshot_method`          |
| pages, small pool        | the same with memory for a sixteenth of the model beside it           |
| stock, sharded           | `tf.compat.v1.train.Saver(sharded=True).save` of a thread             |
| eager async              | `tf.train.Checkpoint` with `experimental_enable_async_checkpoint`     |
| Orbax async              | `AsyncCheckpointer` on arrays that `sess.run` gave; if it is installed |

Each is measured in a process of its own, beside four threads that train without pause
(`training/busy_training.py`): what one leaves of the memory's pages is not the next one's. Its
first save is told apart, because it prepares memory for later ones, which begin when that is done.
Of these the table gives medians. Extra memory is measured in further rounds, because looking takes
time.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import logging
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console
from rich.markdown import Markdown

from autodist.checkpoint.saver import SaveOptions, Saver
from measuring import machine, report_files
from measuring.memory import ExtraMemory, await_huge_pages
from training import eager_training, save_plots
from training.busy_training import BusyTraining, Cost, GraphModel, Sizes, holds_one_instant

tf1 = tf.compat.v1

_NAME = "async_benchmark"
_NO_SAVE = "no save"
_EAGER = "eager async"
_ORBAX = "Orbax async"
_CONTESTANTS = [
    _NO_SAVE,
    "save, block",
    "save, copy",
    "save, instant",
    "pages",
    "pages, small pool",
    "fork",
    "copy",
    "stock, sharded",
    _ORBAX,
    _EAGER,
]
_HELP_OF_BARS = (
    "Wanted: locks of pages at most 10 ms for 4 GiB; the longest step of pages at most 150 ms per "
    "GiB and a third of that of `save, block`; lost by pages at most what copy loses."
)


@dataclasses.dataclass(frozen=True)
class Found:
    """One save of a contestant.

    Attributes:
        call_seconds: How long the call took that the program waits for.
        save_seconds: From the call until the checkpoint was committed.
        lock_seconds: The longest time that variables were locked; `None` if it is not told.
        cost: What it cost the training.
        extra_bytes: Memory beside that of before; `None` if it was not measured.
        is_instant: Whether the checkpoint holds one instant; `None` if it has no counters.
    """

    call_seconds: float
    save_seconds: float
    lock_seconds: float | None
    cost: Cost
    extra_bytes: int | None
    is_instant: bool | None


def main() -> None:
    arguments = _parse_arguments()
    if arguments.child is not None:
        arguments.child.write_text(json.dumps(_measure(arguments)))
        return
    logging.getLogger("autodist").setLevel(logging.ERROR)
    tf.get_logger().setLevel(logging.ERROR)
    before = machine.ProcessorUse.now()
    rows = [
        {
            "gib": gib,
            "updates": updates,
            "contestant": who,
            **_measure_in_child(arguments, gib, updates, who),
        }
        for gib in arguments.gib
        for updates in arguments.updates
        for who in arguments.contestants
        if who != _ORBAX or importlib.util.find_spec("orbax") is not None
    ]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = machine.ProcessorUse.now().others_share_since(
        before, children.ru_utime + children.ru_stime
    )
    described = machine.describe({"checkpoints": arguments.directory})
    name = report_files.name_of(_NAME, arguments)
    plots = save_plots.draw(rows, arguments.results, name)
    text = _to_markdown(rows, others, described, arguments.rounds, plots)
    Console(width=None if Console().is_terminal else 180).print(Markdown(text))
    content = {
        "machine": described,
        "others_share_of_processors": others,
        "load_average": os.getloadavg(),
        "rounds": arguments.rounds,
        "rows": rows,
    }
    report_files.write_report(arguments.results, name, text, json.dumps(content, indent=2))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", nargs="+", type=float, default=[1.0], help="of the variables")
    parser.add_argument(
        "--updates", nargs="+", choices=["uniform", "zipf"], default=["uniform"], help="of rows"
    )
    parser.add_argument("--contestants", nargs="+", choices=_CONTESTANTS, default=_CONTESTANTS)
    parser.add_argument("--rounds", type=int, default=3, help="each saves once")
    parser.add_argument("--memory-rounds", type=int, default=1, help="for the extra memory")
    parser.add_argument("--beside", type=float, default=1.5, help="seconds of training looked at")
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="of checkpoints")
    report_files.add_arguments(parser)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure_in_child(
    arguments: argparse.Namespace, gib: float, updates: str, who: str
) -> dict[str, Any]:
    """Measures a contestant in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        told = Path(directory, "told.json")
        subprocess.run(
            [sys.executable, __file__, "--child", told, "--gib", str(gib), "--updates", updates,
             "--contestants", who, "--rounds", str(arguments.rounds),
             "--memory-rounds", str(arguments.memory_rounds), "--beside", str(arguments.beside),
             "--directory", arguments.directory],
            check=True,
        )  # fmt: skip
        summary: dict[str, Any] = json.loads(told.read_text())
        return summary


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures the one contestant of a child."""
    logging.getLogger("autodist").setLevel(logging.ERROR)
    tf.get_logger().setLevel(logging.ERROR)
    (who,), (gib,), (updates,) = arguments.contestants, arguments.gib, arguments.updates
    sizes = Sizes.of(gib)
    if who == _EAGER:
        return eager_training.measure(
            sizes, updates, arguments.rounds, arguments.directory, arguments.beside
        )
    found = []
    with tf.Graph().as_default():
        model = GraphModel(sizes, updates)
        save = _saver(who, model, sizes)
        with tf1.Session(config=_config()) as session:
            session.run(tf1.global_variables_initializer())
            training = BusyTraining(model.steps(session))
            with training.running():
                first = _save_once(save, session, training, arguments, measures_memory=False)
                await_huge_pages()
                for number in range(arguments.rounds + arguments.memory_rounds):
                    is_for_memory = number >= arguments.rounds
                    found.append(
                        _save_once(
                            save, session, training, arguments, measures_memory=is_for_memory
                        )
                    )
                    await_huge_pages()
    return {"first": dataclasses.asdict(first), **_summary(found)}


def _config() -> Any:
    config = tf1.ConfigProto()
    # No constants of the size of a table.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return config


# Saves under a path; returns how long the caller waited, and the locks in seconds.
_Save = Callable[[Any, str], tuple[float, float | None]]


def _saver(who: str, model: GraphModel, sizes: Sizes) -> _Save | None:
    """How a contestant saves; `None`: not at all."""
    if who == _NO_SAVE:
        return None
    variables = model.variables
    if who == "stock, sharded":
        return _synchronous(tf1.train.Saver(variables, sharded=True))
    if who == _ORBAX:
        return _orbax(variables)
    if who == "save, instant":
        options = SaveOptions(
            consistency="instant", snapshot_memory_bytes=sizes.bytes, durable=False
        )
        return _synchronous(Saver(variables, options=options))
    if who.startswith("save, "):
        options = SaveOptions(lock=who.removeprefix("save, "), durable=False)
        return _synchronous(Saver(variables, options=options))
    method = who.split(",", maxsplit=1)[0]
    memory = sizes.bytes // 16 if "small" in who else sizes.bytes
    saver = Saver(
        variables,
        options=SaveOptions(snapshot_method=method, snapshot_memory_bytes=memory, durable=False),
    )

    def save(session: Any, path: str) -> tuple[float, float | None]:
        start = time.monotonic()
        handle = saver.save_async(session, path, write_meta_graph=False)
        called = time.monotonic() - start
        handle.result()
        assert handle.report is not None
        return called, handle.report.ops.max_lock_seconds

    return save


def _synchronous(saver: Any) -> _Save:
    def save(session: Any, path: str) -> tuple[float, float | None]:
        start = time.monotonic()
        saver.save(session, path, write_meta_graph=False)
        return time.monotonic() - start, None

    return save


def _orbax(variables: list[Any]) -> _Save:
    import orbax.checkpoint

    checkpointer = orbax.checkpoint.AsyncCheckpointer(orbax.checkpoint.PyTreeCheckpointHandler())

    def save(session: Any, path: str) -> tuple[float, float | None]:
        start = time.monotonic()
        arrays = session.run({v.op.name: v for v in variables})
        checkpointer.save(Path(path).resolve(), arrays)
        called = time.monotonic() - start
        checkpointer.wait_until_finished()
        return called, None

    return save


def _save_once(
    save: _Save | None,
    session: Any,
    training: BusyTraining,
    arguments: argparse.Namespace,
    *,
    measures_memory: bool,
) -> Found:
    directory = Path(tempfile.mkdtemp(dir=arguments.directory))
    path, told = str(directory / "m"), (0.0, None)
    seconds = 0.0

    def work() -> None:
        nonlocal told, seconds
        start = time.monotonic()
        if save is None:
            time.sleep(1.0)
        else:
            told = save(session, path)
        seconds = time.monotonic() - start

    try:
        memory = ExtraMemory()
        with memory.measured() if measures_memory else contextlib.nullcontext():
            cost = training.cost_of(work, arguments.beside)
        has_index = Path(f"{path}.index").exists()
        is_instant = holds_one_instant(path) if has_index else None
    finally:
        shutil.rmtree(directory)
    return Found(told[0], seconds, told[1], cost, memory.bytes, is_instant)


def _summary(found: list[Found]) -> dict[str, Any]:
    timed = [each for each in found if each.extra_bytes is None] or found
    locks = [each.lock_seconds for each in timed if each.lock_seconds is not None]
    extra = [each.extra_bytes for each in found if each.extra_bytes is not None]
    instants = [each.is_instant for each in found if each.is_instant is not None]
    return {
        "call_seconds": statistics.median(each.call_seconds for each in timed),
        "save_seconds": statistics.median(each.save_seconds for each in timed),
        "lock_seconds": max(locks) if locks else None,
        "longest_seconds": statistics.median(each.cost.longest_seconds for each in timed),
        "longest_before_seconds": statistics.median(
            each.cost.longest_before_seconds for each in timed
        ),
        "lost_seconds": statistics.median(each.cost.lost_seconds for each in timed),
        "extra_bytes": max(extra) if extra else None,
        "instants": f"{sum(instants)} of {len(instants)}" if instants else None,
        "rounds": [dataclasses.asdict(each) for each in found],
    }


def _milliseconds(seconds: float | None, digits: int) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.{digits}f}"


def _to_markdown(
    rows: list[dict[str, Any]], others: float, facts: dict[str, str], rounds: int, plots: list[str]
) -> str:
    head = ["GiB", "updates", "contestant", "call, ms", "save, s", "locks, ms", "longest step, ms"]
    head += ["before, ms", "training lost, s", "extra MiB", "one instant"]
    head += ["first: locks, ms", "first: longest step, ms"]
    lines = [head, ["--:", "---", "---", *["--:"] * (len(head) - 6), "---", "--:", "--:"]]
    for row in rows:
        extra, first = row["extra_bytes"], row["first"]
        lines.append([
            f"{row['gib']:g}",
            row["updates"],
            row["contestant"],
            f"{1e3 * row['call_seconds']:.0f}",
            f"{row['save_seconds']:.2f}",
            _milliseconds(row["lock_seconds"], 2),
            f"{1e3 * row['longest_seconds']:.0f}",
            f"{1e3 * row['longest_before_seconds']:.0f}",
            f"{row['lost_seconds']:.2f}",
            "" if extra is None else f"{extra / 2**20:.0f}",
            row["instants"] or "",
            _milliseconds(first and first["lock_seconds"], 2),
            _milliseconds(first and first["cost"]["longest_seconds"], 0),
        ])  # fmt: skip
    table = report_files.markdown_table(lines)
    said = (
        f"Medians of {rounds} rounds; locks are the worst. {_HELP_OF_BARS} Other processes took "
        f"{others:.0%} of the processors."
    )
    pictures = "\n".join(f"![]({plot})" for plot in plots)
    machine_facts = report_files.markdown_list(facts)
    return (
        f"# A save beside a training that goes on\n\n{said}\n\n{table}\n\n{pictures}\n\n"
        f"{machine_facts}\n"
    )


if __name__ == "__main__":
    main()
