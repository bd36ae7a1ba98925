"""Is a `Saver` of many small variables as fast as stock TensorFlow's?

| name             | one iteration                                               | rival | at most |
|------------------|-------------------------------------------------------------|-------|---------|
| build            | `Saver(variables)`: the nodes of one more saver             | stock | 1.2     |
| first save       | the first save of a saver, in a session that runs           | stock | 1.0     |
| save             | a later save, of data and index                             | stock | 1.0     |
| save with graph  | a later save, with `.meta` and the `checkpoint` file        | stock | 1.0     |
| restore          | a later restore                                             | stock | 1.0     |

20,000 resource variables of 4 KiB each in one session on tmpfs, nothing partitioned. Ours and stock
take turns on the same variables. Outside the timed part, each save is compared byte by byte with a
reference by stock. Each restore brings back values that the variables did not have; the bytes of a
later save show that. Each build must have added the nodes that stock adds. Builds come last: every
saver makes the graph, and with it every first run, larger.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist.checkpoint.saver import Saver
from measuring import machine, report_files
from measuring.checks import PREFIX, check_bytes
from measuring.contestants import Contestant, Measurement, measure

tf1 = tf.compat.v1

_NAME = "many_variables"
_CLASSES = {"ours": Saver, "stock": tf1.train.Saver}
# The most that ours may take of stock's time, best against best.
_LIMITS = {
    "build": 1.2,
    "first save": 1.0,
    "save": 1.0,
    "save with graph": 1.0,
    "restore": 1.0,
}
# Each first save needs a saver of its own, and each saver makes all of them slower.
_FIRST_ROUNDS = 2
_BUILD_ROUNDS = 2


def main() -> None:
    arguments = _parse_arguments()
    tf1.disable_eager_execution()
    logging.getLogger("autodist").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix=f"{_NAME}_", dir=arguments.directory) as name:
        directory = Path(name)
        before = machine.ProcessorUse.now()
        times = _measure(_Model.make(arguments.variables, arguments.kib), directory, arguments)
        others = machine.ProcessorUse.now().others_share_since(before)
        described = machine.describe({"files": directory})
    question = (
        f"Save and restore {arguments.variables} variables of {arguments.kib} KiB, "
        f"best of {arguments.rounds}"
    )
    report = _Report(question, times, described, others)
    report.print()
    report.write(arguments.results, report_files.name_of(_NAME, arguments))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="where to write")
    parser.add_argument("--variables", type=int, default=20000, help="how many")
    parser.add_argument("--kib", type=int, default=4, help="size of each")
    parser.add_argument("--rounds", type=int, default=10, help="counted saves and restores of each")
    report_files.add_arguments(parser)
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class _Model:
    """A session that holds the variables at zero, and a run that makes them something else."""

    session: Any
    variables: list[Any]
    train: Any
    savers: dict[str, list[Any]]

    @staticmethod
    def make(count: int, kib: int) -> _Model:
        with tf.Graph().as_default():
            shape = [kib * 256]
            variables = [
                tf1.get_variable(
                    f"v{number}", shape, tf.float32, tf1.zeros_initializer(), use_resource=True
                )
                for number in range(count)
            ]
            # Each variable its own values, in a buffer of its own.
            train = tf.group(
                *[v.assign_add(tf.fill(shape, float(n))) for n, v in enumerate(variables)]
            )
            savers = {
                name: [made(variables, max_to_keep=None) for _ in range(_FIRST_ROUNDS)]
                for name, made in _CLASSES.items()
            }
            init = tf1.global_variables_initializer()
            session = tf1.Session()
            session.run(init)
        return _Model(session, variables, train, savers)


def _measure(
    model: _Model, directory: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, Measurement]]:
    """Returns the measurements by what was done, then by class."""
    zeros, trained = directory / "zeros", directory / "trained"
    with model.session, model.session.graph.as_default():
        reference = tf1.train.Saver(model.variables)
        for state in (zeros, trained):
            state.mkdir()
            reference.save(model.session, str(state / PREFIX))
            model.session.run(model.train)
        reference.restore(model.session, str(trained / PREFIX))

        def compete(make: Callable[[str], Contestant], rounds: int, **options: Any) -> Any:
            return measure([make(name) for name in _CLASSES], rounds, directory, **options)

        def check(found: Path) -> None:
            check_bytes(found, trained)

        def first_save(name: str) -> Contestant:
            savers = iter(model.savers[name])
            return Contestant(
                name, lambda target: _save(next(savers), model, target, is_bare=True), check
            )

        def later_save(name: str, *, is_bare: bool) -> Contestant:
            saver = model.savers[name][0]
            return Contestant(
                name, lambda target: _save(saver, model, target, is_bare=is_bare), check
            )

        def restore(name: str) -> Contestant:
            saver = model.savers[name][0]

            def check_restored(target: Path) -> None:
                _save(reference, model, target, is_bare=True)
                check(target)
                reference.restore(model.session, str(zeros / PREFIX))

            return Contestant(
                name,
                lambda _: saver.restore(model.session, str(trained / PREFIX)),
                check_restored,
            )

        times = {
            "first save": compete(first_save, _FIRST_ROUNDS, is_warmed_up=False),
            "save": compete(lambda name: later_save(name, is_bare=True), arguments.rounds),
            "save with graph": compete(
                lambda name: later_save(name, is_bare=False), arguments.rounds
            ),
        }
        reference.restore(model.session, str(zeros / PREFIX))
        times["restore"] = compete(restore, arguments.rounds)
        times["build"] = compete(
            lambda name: _build(name, model), _BUILD_ROUNDS, is_warmed_up=False
        )
    return {name: times[name] for name in _LIMITS}


def _save(saver: Any, model: _Model, directory: Path, *, is_bare: bool) -> None:
    saver.save(
        model.session,
        str(directory / PREFIX),
        write_meta_graph=not is_bare,
        write_state=not is_bare,
    )


def _build(name: str, model: _Model) -> Contestant:
    graph = model.session.graph
    expected = _nodes_of(graph, model.savers["stock"][0].saver_def)
    built: Iterator[Any] = iter(())

    def run(_: Path) -> None:
        nonlocal built
        built = iter([_CLASSES[name](model.variables)])

    def check(_: Path) -> None:
        if _nodes_of(graph, next(built).saver_def) != expected:
            raise AssertionError("a Saver of ours and one of TensorFlow's made different nodes")

    return Contestant(name, run, check)


def _nodes_of(graph: Any, saver_def: Any) -> Counter[str]:
    """How many nodes of each type a saver has."""
    scope = saver_def.save_tensor_name.split("/")[0] + "/"
    return Counter(op.type for op in graph.get_operations() if op.name.startswith(scope))


@dataclasses.dataclass(frozen=True)
class _Report(report_files.WrittenReport):
    """What was measured: by what was done, then by class."""

    question: str
    times: Mapping[str, Mapping[str, Measurement]]
    machine: Mapping[str, str]
    others_share: float

    def ratio(self, name: str) -> float:
        """What part of stock's time ours takes, best against best."""
        of_name = self.times[name]
        return of_name["ours"].best_seconds / of_name["stock"].best_seconds

    def to_markdown(self) -> str:
        head = ["", "ours s", "stock s", "ours cpu s", "stock cpu s", "ours / stock", "at most", ""]
        rows = [head, ["---", *["--:"] * 6, "---"]]
        for name, of_name in self.times.items():
            ours, stock = of_name["ours"], of_name["stock"]
            times = [
                ours.best_seconds,
                stock.best_seconds,
                ours.processor_seconds,
                stock.processor_seconds,
            ]
            verdict = "met" if self.ratio(name) <= _LIMITS[name] else "**missed**"
            cells = [*(f"{seconds:.3f}" for seconds in times), f"{self.ratio(name):.2f}"]
            rows.append([name, *cells, f"{_LIMITS[name]:.1f}", verdict])
        table = report_files.markdown_table(rows)
        noise = f"Other processes took {self.others_share:.0%} of the processors."
        facts = report_files.markdown_list(self.machine)
        return f"# {self.question}\n\n{noise}\n\n{table}\n\n{facts}\n"

    def to_json(self) -> str:
        done = {
            name: {
                "ours_of_stock": self.ratio(name),
                "at_most": _LIMITS[name],
                **{
                    who: {
                        "seconds": [run.seconds for run in measurement.runs],
                        "processor_seconds": [run.processor_seconds for run in measurement.runs],
                    }
                    for who, measurement in of_name.items()
                },
            }
            for name, of_name in self.times.items()
        }
        return json.dumps(
            {
                "question": self.question,
                "machine": dict(self.machine),
                "others_share_of_processors": self.others_share,
                "done": done,
            },
            indent=2,
        )


if __name__ == "__main__":
    main()
