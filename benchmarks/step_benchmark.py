"""What does a distributed training step cost, beside TensorFlow's own ways to replicate?

| name            | one iteration                                            | rival    |
|-----------------|----------------------------------------------------------|----------|
| AllReduce       | steps in a session of ours, a copy of all per replica    | mirrored |
| PS              | steps in a session of ours, shared variables             | by hand  |
| PartitionedPS   | steps in a session of ours, shared variables in shards   | by hand  |
| mirrored        | steps of `tf.distribute.MirroredStrategy` in a session   |          |
| by hand         | steps of one graph with a copy of the model per device   |          |
| rival again     | the same as `mirrored`; the control                      | mirrored |

The devices are CPUs 0 and 1 of one process, the optimizer is Adam, the batch is fed. Nothing is
moved to or from disk. All contestants start from the same values: after the warm-up the losses of
the first steps are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from autodist.strategy import PS, AllReduce, PartitionedPS
from measuring import machine, report_files
from measuring.contestants import Contestant, Measurement, measure
from training import step_rivals
from training.step_models import MODELS, Model
from training.step_rivals import Step

_NAME = "step_benchmark"
_LIMIT = 1.15
# Ours, and whose time it is compared with; the control last.
_RIVALS = {
    "AllReduce": "mirrored",
    "PS": "by hand",
    "PartitionedPS": "by hand",
    "rival again": "mirrored",
}
_CONTROL = "rival again"
_REPLICAS = 2
_COMPARED_STEPS = 4
# As many steps make one iteration as take this long.
_ITERATION_SECONDS = 0.1

Times = Mapping[str, Mapping[str, Measurement]]


def main() -> None:
    arguments = _parse_arguments()
    tf.compat.v1.disable_eager_execution()
    tf.get_logger().setLevel(logging.ERROR)
    logging.getLogger("autodist").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="step_") as directory:
        before = machine.ProcessorUse.now()
        times = {
            name: _measure(MODELS[name], arguments.rounds, Path(directory))
            for name in arguments.models
        }
        others = machine.ProcessorUse.now().others_share_since(before)
        described = machine.describe({})
    report = _Report(
        f"A training step on {_REPLICAS} CPU replicas beside TensorFlow's own, best of "
        f"{arguments.rounds}",
        times,
        described,
        others,
    )
    report.print()
    report.write(arguments.results, report_files.name_of(_NAME, arguments))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=20, help="counted runs of each")
    report_files.add_arguments(parser)
    return parser.parse_args()


def _measure(model: Model, rounds: int, directory: Path) -> dict[str, Measurement]:
    """Seconds of one step, by contestant."""
    steps = {
        "AllReduce": step_rivals.distributed(model, AllReduce(), _REPLICAS),
        "PS": step_rivals.distributed(model, PS(), _REPLICAS),
        "PartitionedPS": step_rivals.distributed(model, PartitionedPS(), _REPLICAS),
        "mirrored": step_rivals.mirrored(model, _REPLICAS),
        "by hand": step_rivals.by_hand(model, _REPLICAS),
    }
    _check_losses(steps)
    count = _steps_per_iteration(steps["mirrored"])
    steps["rival again"] = steps["mirrored"]
    contestants = [
        Contestant(name, _repeat(step, count), lambda _: None) for name, step in steps.items()
    ]
    return {
        name: _of_one_step(measurement, count)
        for name, measurement in measure(contestants, rounds, directory).items()
    }


def _check_losses(steps: Mapping[str, Step]) -> None:
    """All contestants train the same model from the same values.

    Raises:
        AssertionError: One computes other losses.
    """
    losses = {name: [step() for _ in range(_COMPARED_STEPS)] for name, step in steps.items()}
    expected = losses["by hand"]
    for name, found in losses.items():
        if not np.allclose(found, expected, rtol=1e-3):
            raise AssertionError(f"{name} computes the losses {found}, expected {expected}")


def _steps_per_iteration(step: Step) -> int:
    start = time.perf_counter()
    for _ in range(_COMPARED_STEPS):
        step()
    return max(1, round(_ITERATION_SECONDS * _COMPARED_STEPS / (time.perf_counter() - start)))


def _repeat(step: Step, count: int) -> Callable[[Path], None]:
    def run(_: Path) -> None:
        for _ in range(count):
            step()

    return run


def _of_one_step(measurement: Measurement, count: int) -> Measurement:
    return Measurement(
        tuple(
            dataclasses.replace(
                run,
                seconds=run.seconds / count,
                processor_seconds=run.processor_seconds / count,
            )
            for run in measurement.runs
        )
    )


@dataclasses.dataclass(frozen=True)
class _Report(report_files.WrittenReport):
    """What was measured, by model and contestant."""

    question: str
    times: Times
    machine: Mapping[str, str]
    others_share: float

    def ratio(self, model: str, name: str) -> float:
        """What part of the rival's time a step takes, best against best."""
        of_model = self.times[model]
        return of_model[name].best_seconds / of_model[_RIVALS[name]].best_seconds

    def processor_ratio(self, model: str, name: str) -> float:
        """The same of the processor time."""
        of_model = self.times[model]
        return of_model[name].processor_seconds / of_model[_RIVALS[name]].processor_seconds

    def to_markdown(self) -> str:
        head = [
            "model",
            "",
            "ms",
            "cpu ms",
            "rival ms",
            "rival cpu ms",
            "ms / rival",
            "cpu / rival",
            "",
        ]
        rows = [head, ["---", "---", *["--:"] * 6, "---"]]
        for model, of_model in self.times.items():
            for name, rival in _RIVALS.items():
                cells = [
                    1e3 * seconds
                    for who in (name, rival)
                    for seconds in (of_model[who].best_seconds, of_model[who].processor_seconds)
                ]
                ratios = [self.ratio(model, name), self.processor_ratio(model, name)]
                verdict = "met" if ratios[1] <= _LIMIT else "**missed**"
                if name == _CONTROL:
                    verdict = "control"
                numbers = [f"{number:.2f}" for number in (*cells, *ratios)]
                rows.append([model, f"{name} / {rival}", *numbers, verdict])
        table = report_files.markdown_table(rows)
        said = (
            f"Wanted: at most {_LIMIT} times the rival's processor time. Other processes took "
            f"{self.others_share:.0%} of the processors; how far the control is from 1 says how "
            "much the times are worth. Processor time suffers less from others than wall time."
        )
        facts = report_files.markdown_list(self.machine)
        return f"# {self.question}\n\n{said}\n\n{table}\n\n{facts}\n"

    def to_json(self) -> str:
        models = {
            model: {
                name: {
                    "seconds": [run.seconds for run in measurement.runs],
                    "processor_seconds": [run.processor_seconds for run in measurement.runs],
                }
                for name, measurement in of_model.items()
            }
            for model, of_model in self.times.items()
        }
        ratios = {
            model: {
                name: {
                    "rival": rival,
                    "seconds": self.ratio(model, name),
                    "processor_seconds": self.processor_ratio(model, name),
                }
                for name, rival in _RIVALS.items()
            }
            for model in self.times
        }
        return json.dumps(
            {
                "question": self.question,
                "machine": dict(self.machine),
                "others_share_of_processors": self.others_share,
                "at_most": _LIMIT,
                "ratios": ratios,
                "models": models,
            },
            indent=2,
        )


if __name__ == "__main__":
    main()
