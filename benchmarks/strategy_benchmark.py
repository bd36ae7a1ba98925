"""What does each strategy cost a large graph, beside one node?

| what    | processor seconds of                                                                              |
|---------|---------------------------------------------------------------------------------------------------|
| create  | `create_distributed_session`; of one node, a session and a run of the initializers                |
| first   | the first training step, in which TensorFlow optimizes the graph                                  |
| step    | a later step, the median of many                                                                  |
| save    | the first save of one variable of 67 KB, by a saver that was there before the session; and a later |

All contestants are made and measured in turns, in one process; the table gives medians of the
rounds. What is compared is the processor time of all threads: wall time says more about other
processes. The losses must be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.markdown import Markdown

from autodist import AutoDist, strategy
from autodist.checkpoint.saver import Saver
from measuring import machine, report_files
from training.strategy_models import Built, Sizes, build, draw_batch

tf1 = tf.compat.v1

_NAME = "strategy_benchmark"
_ONE_NODE = "one node"
_STRATEGIES = [
    "PS",
    "PSLoadBalancing",
    "PartitionedPS",
    "AllReduce",
    "PartitionedAR",
    "Parallax",
]
_SAVED = "layer_0/wide/kernel"
_WHATS = ["create", "first", "step", "save", "save again"]
_CREATE_LIMIT, _STEP_LIMIT = 2.0, 1.3

# Per contestant and replicas: per what, the seconds of the rounds; wall and processor.
Times = dict[tuple[str, int], dict[str, list[tuple[float, float]]]]


def main() -> None:
    arguments = _parse_arguments()
    tf.compat.v1.disable_eager_execution()
    tf.get_logger().setLevel(logging.ERROR)
    logging.getLogger("autodist").setLevel(logging.ERROR)
    before = machine.ProcessorUse.now()
    sizes = Sizes(layers=arguments.layers, width=arguments.width)
    times, ops = _measure(arguments, sizes)
    others = machine.ProcessorUse.now().others_share_since(before)
    described = machine.describe({})
    text = _to_markdown(times, ops, others, described, arguments.rounds)
    Console().print(Markdown(text))
    name = report_files.name_of(_NAME, arguments)
    content = {
        "machine": described,
        "others_share_of_processors": others,
        "load_average": os.getloadavg(),
        "rows": [
            {"contestant": who, "replicas": replicas, "ops": ops[who, replicas], "seconds": found}
            for (who, replicas), found in times.items()
        ],
    }
    report_files.write_report(arguments.results, name, text, json.dumps(content, indent=2))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategies", nargs="+", choices=_STRATEGIES, default=_STRATEGIES)
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--layers", type=int, default=8, help="of the encoder")
    parser.add_argument("--width", type=int, default=64, help="of its layers, a multiple of 4")
    parser.add_argument("--rounds", type=int, default=3, help="each makes every session once")
    parser.add_argument("--steps", type=int, default=20, help="in each round")
    report_files.add_arguments(parser)
    return parser.parse_args()


def _measure(
    arguments: argparse.Namespace, sizes: Sizes
) -> tuple[Times, dict[tuple[str, int], int]]:
    times: Times = defaultdict(lambda: {what: [] for what in _WHATS})
    ops: dict[tuple[str, int], int] = {}
    contestants = [(_ONE_NODE, 1)]
    contestants += [(who, n) for n in arguments.replicas for who in arguments.strategies]
    # Not counted: what a process does once.
    _run(("PS", 2), sizes, 1, {what: [] for what in _WHATS})
    for _ in range(arguments.rounds):
        losses = {}
        for contestant in contestants:
            ops[contestant], losses[contestant] = _run(
                contestant, sizes, arguments.steps, times[contestant]
            )
        expected = losses[_ONE_NODE, 1]
        for contestant, loss in losses.items():
            if not np.isclose(loss, expected, rtol=1e-3):
                raise AssertionError(f"{contestant} computes the loss {loss}, expected {expected}")
    return times, ops


def _run(
    contestant: tuple[str, int], sizes: Sizes, steps: int, found: dict[str, list[Any]]
) -> tuple[int, float]:
    """One session from its making to its end.

    Returns the number of ops of the graph that ran, and the first loss.
    """
    who, replicas = contestant
    with tempfile.TemporaryDirectory() as directory, tf.Graph().as_default() as graph:
        if who == _ONE_NODE:
            made, saver = build(sizes), tf1.train.Saver(_saved())
            with _timed(found["create"]):
                session = tf1.Session()
                session.run(tf1.global_variables_initializer())
        else:
            spec = Path(directory, "spec.yml")
            spec.write_text(f"nodes: [{{address: localhost, cpus: {list(range(replicas))}}}]")
            autodist = AutoDist(str(spec), getattr(strategy, who)())
            with autodist.scope():
                made, saver = build(sizes), Saver(_saved())
                with _timed(found["create"]):
                    session = autodist.create_distributed_session()
        with session:
            loss = _train(session, made, sizes, steps, found)
            for what in ("save", "save again"):
                with _timed(found[what]):
                    path = str(Path(directory, what.replace(" ", "_")))
                    saver.save(session, path, write_meta_graph=False)
            ran = graph if who == _ONE_NODE else session.transformed_graph
            return len(ran.get_operations()), loss


def _saved() -> list[Any]:
    return [v for v in tf1.global_variables() if v.op.name == _SAVED]


def _train(session: Any, made: Built, sizes: Sizes, steps: int, found: dict[str, Any]) -> float:
    batch = draw_batch(sizes)
    feeds = {made.fed[name]: array for name, array in batch.items()}
    with _timed(found["first"]):
        loss = session.run([made.loss, made.train], feeds)[0]
    of_steps: list[tuple[float, float]] = []
    for _ in range(steps):
        with _timed(of_steps):
            session.run([made.loss, made.train], feeds)
    found["step"].append(tuple(map(statistics.median, zip(*of_steps, strict=True))))
    return float(loss)


@contextlib.contextmanager
def _timed(seconds: list[tuple[float, float]]) -> Iterator[None]:
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    yield
    seconds.append((time.perf_counter() - wall, time.process_time() - processor))


def _to_markdown(
    times: Times,
    ops: Mapping[tuple[str, int], int],
    others: float,
    facts: Mapping[str, str],
    rounds: int,
) -> str:
    processor = {
        contestant: {what: statistics.median(p for _, p in found[what]) for what in _WHATS}
        for contestant, found in times.items()
    }
    head = ["replicas", "strategy", "ops", *(f"{what}, ms" for what in _WHATS)]
    head += ["create / PS", "step / best"]
    lines = [head, ["--:", "---", *["--:"] * (len(head) - 2)]]
    for (who, replicas), found in processor.items():
        of_same = [f for (_, n), f in processor.items() if n == replicas]
        ps = processor.get(("PS", replicas), found)
        ratios = [found["create"] / ps["create"], found["step"] / min(f["step"] for f in of_same)]
        numbers = [f"{1e3 * found[what]:.0f}" for what in _WHATS]
        cells = [str(replicas), who, str(ops[who, replicas]), *numbers]
        lines.append([*cells, *(f"{ratio:.2f}" for ratio in ratios)])
    table = report_files.markdown_table(lines)
    said = (
        f"Medians of {rounds} rounds. Wanted: create at most {_CREATE_LIMIT} times that of PS, a "
        f"step at most {_STEP_LIMIT} times the best of as many replicas. Other processes took "
        f"{others:.0%} of the processors."
    )
    machine_facts = report_files.markdown_list(facts)
    return (
        f"# A large graph under each strategy, processor milliseconds\n\n{said}\n\n{table}\n\n"
        f"{machine_facts}\n"
    )


if __name__ == "__main__":
    main()
