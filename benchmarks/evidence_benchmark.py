"""What does `SaveOptions(check=True)` add to a save?

| name     | one iteration                                        | rival                  | at most |
|----------|------------------------------------------------------|------------------------|---------|
| float32  | a save of 8 variables                                | the same without check | 1.03    |
| ...      | the same with another dtype                          | the same               | 1.03    |
| replicas | a save of 8 means of two copies that are equal       | the same               | 1.03    |

The savers with and without figures take turns on the same variables, in one session on tmpfs, with
`write_meta_graph=False`; a third one, without figures, is the control. Compared is the processor
time of all threads, in the kernel too, in each round, of which the middle ratio counts: a processor
changes its speed from one second to the next. Outside the timed part each save is compared byte by
byte with one of stock, and the evidence with what NumPy says of the values. With `check` the evidence
file is written, too, and it is in the time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

from autodist.checkpoint.options import SaveOptions
from autodist.checkpoint.saver import Saver
from autodist.evidence import text
from measuring import machine, report_files
from measuring.checks import PREFIX, check_bytes
from measuring.contestants import Contestant, Measurement, measure

tf1 = tf.compat.v1

_NAME = "evidence_benchmark"
_LIMIT = 1.03
_COUNT = 8
_WAYS = {"plain": False, "check": True, "plain again": False}
_DTYPES: dict[str, Any] = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int32": np.int32,
    "replicas": np.float32,
}


def main() -> None:
    arguments = _parse_arguments()
    tf1.disable_eager_execution()
    logging.getLogger("autodist").setLevel(logging.ERROR)
    before = machine.ProcessorUse.now()
    times = {}
    with tempfile.TemporaryDirectory(prefix=f"{_NAME}_", dir=arguments.directory) as name:
        for case in arguments.cases:
            directory = Path(name) / case
            directory.mkdir()
            times[case] = _measure(case, directory, arguments)
        described = machine.describe({"files": Path(name)})
    others = machine.ProcessorUse.now().others_share_since(before)
    question = (
        f"Save {arguments.mib} MiB in {_COUNT} variables with and without figures, "
        f"{arguments.rounds} rounds"
    )
    report = _Report(question, times, described, others)
    report.print()
    report.write(arguments.results, report_files.name_of(_NAME, arguments))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"), help="where to write")
    parser.add_argument("--mib", type=int, default=256, help="size of the model")
    parser.add_argument("--rounds", type=int, default=10, help="counted saves of each")
    parser.add_argument("--threads", type=int, default=0, help="as in SaveOptions")
    parser.add_argument("--cases", nargs="+", choices=list(_DTYPES), default=list(_DTYPES))
    report_files.add_arguments(parser)
    return parser.parse_args()


def _measure(case: str, directory: Path, arguments: argparse.Namespace) -> dict[str, Measurement]:
    """Returns the measurements by way of saving."""
    dtype = np.dtype(_DTYPES[case])
    size = (arguments.mib << 20) // _COUNT // dtype.itemsize
    draws = np.random.default_rng(0)
    # Beyond the range of small integers these are cut off to them.
    values = {
        f"v{number}": (draws.normal(size=size) * 100).astype(dtype) for number in range(_COUNT)
    }
    expected = {name: _Expected.of(value) for name, value in values.items()}
    reference = directory / "stock"
    _save_by_stock(values, reference)
    with tf.Graph().as_default(), tf1.Session() as session:
        copies = 2 if case == "replicas" else 1
        variables = [
            _variable(name, copy, value, copies)
            for name, value in values.items()
            for copy in range(copies)
        ]
        savers = {
            name: Saver(
                variables,
                max_to_keep=None,
                options=SaveOptions(check=check, threads=arguments.threads),
            )
            for name, check in _WAYS.items()
        }
        for variable in variables:
            variable.load(values[variable.op.name.split("_copy")[0]], session)

        def contestant(name: str) -> Contestant:
            def run(target: Path) -> None:
                savers[name].save(
                    session, str(target / PREFIX), write_meta_graph=False, write_state=False
                )

            def check(target: Path) -> None:
                check_bytes(target, reference)
                if _WAYS[name]:
                    _check_evidence(target, expected, copies)

            return Contestant(name, run, check)

        return measure([contestant(name) for name in _WAYS], arguments.rounds, directory)


def _variable(name: str, copy: int, value: np.ndarray, copies: int) -> Any:
    """A variable without a value; several copies are replicas of one."""
    variable = tf1.get_variable(
        name if copies == 1 else f"{name}_copy{copy}",
        value.shape,
        tf.dtypes.as_dtype(value.dtype),
        tf1.zeros_initializer(),
        use_resource=True,
    )
    if copies > 1:
        shape = list(value.shape)
        variable._set_save_slice_info(  # noqa: SLF001 TensorFlow has no other way
            tf1.Variable.SaveSliceInfo(name, shape, [0], shape)
        )
    return variable


def _save_by_stock(values: Mapping[str, np.ndarray], directory: Path) -> None:
    directory.mkdir()
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = [_variable(name, 0, value, 1) for name, value in values.items()]
        for variable in variables:
            variable.load(values[variable.op.name], session)
        tf1.train.Saver(variables).save(session, str(directory / PREFIX))


@dataclasses.dataclass(frozen=True)
class _Expected:
    """What NumPy says of a value."""

    norm: float
    minimum: float
    maximum: float

    @staticmethod
    def of(value: np.ndarray) -> _Expected:
        wide = value.astype(np.float64)
        return _Expected(float(np.linalg.norm(wide)), float(wide.min()), float(wide.max()))


def _check_evidence(directory: Path, expected: Mapping[str, _Expected], copies: int) -> None:
    """Compares evidence with what NumPy says.

    Raises:
        AssertionError: It is of other values.
    """
    found = text.parse((directory / (PREFIX + text.SUFFIX)).read_bytes()).variables
    if set(found) != set(expected):
        raise AssertionError("the evidence is of other variables")
    for name, wanted in expected.items():
        figures = found[name]
        is_near = abs(figures.norm - wanted.norm) <= 2e-6 * wanted.norm
        extremes = figures.minimum, figures.maximum
        is_same = extremes == (wanted.minimum, wanted.maximum) and not figures.nonfinite
        if not (is_near and is_same):
            raise AssertionError(f"{name}: the figures are {figures}, expected {wanted}")
        if copies > 1 and figures.deviation != 0:
            raise AssertionError(f"{name}: equal copies deviate by {figures.deviation}")


@dataclasses.dataclass(frozen=True)
class _Report(report_files.WrittenReport):
    """What was measured: by case, then by way of saving."""

    question: str
    times: Mapping[str, Mapping[str, Measurement]]
    machine: Mapping[str, str]
    others_share: float

    def ratio(self, case: str, way: str) -> float:
        """What part of the processor time of a plain save a way takes: the middle of all rounds."""
        rounds = zip(self.times[case][way].runs, self.times[case]["plain"].runs, strict=True)
        return statistics.median(
            run.processor_seconds / plain.processor_seconds for run, plain in rounds
        )

    def to_markdown(self) -> str:
        head = ["", "plain cpu s", "check cpu s", "check / plain", "control", "at most", ""]
        rows = [head, ["---", *["--:"] * 5, "---"]]
        for case, of_case in self.times.items():
            ratio = self.ratio(case, "check")
            cells = [
                f"{of_case['plain'].processor_seconds:.3f}",
                f"{of_case['check'].processor_seconds:.3f}",
                f"{ratio:.3f}",
                f"{self.ratio(case, 'plain again'):.3f}",
                f"{_LIMIT:.2f}",
            ]
            rows.append([case, *cells, "met" if ratio <= _LIMIT else "**missed**"])
        table = report_files.markdown_table(rows)
        noise = f"Other processes took {self.others_share:.0%} of the processors."
        facts = report_files.markdown_list(self.machine)
        return f"# {self.question}\n\n{noise}\n\n{table}\n\n{facts}\n"

    def to_json(self) -> str:
        cases = {
            case: {
                "check_of_plain": self.ratio(case, "check"),
                "control": self.ratio(case, "plain again"),
                "at_most": _LIMIT,
                **{
                    way: {
                        "seconds": [run.seconds for run in measurement.runs],
                        "processor_seconds": [run.processor_seconds for run in measurement.runs],
                    }
                    for way, measurement in of_case.items()
                },
            }
            for case, of_case in self.times.items()
        }
        return json.dumps(
            {
                "question": self.question,
                "machine": dict(self.machine),
                "others_share_of_processors": self.others_share,
                "cases": cases,
            },
            indent=2,
        )


if __name__ == "__main__":
    main()
