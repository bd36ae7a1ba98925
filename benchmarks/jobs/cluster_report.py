"""What the benchmark of a parameter-server job tells: tables, targets, JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping

from contests.results import CONTROL_RANGE
from measuring.contestants import Measurement
from measuring.report_files import WrittenReport, markdown_list, markdown_table

_EXTRA_MIB = 300
_LIMIT, _LIMIT_AGAIN, _SOCKETS = "limit", "limit again", "limit of sockets"
_STOCK = ("stock sharded=False", "stock sharded=True")
# By operation: the first shall have at least so many times the speed of the second.
_STREAMS = (
    ("autodist stream", "stock sharded=False", 2.0),
    ("autodist stream", _SOCKETS, 0.8),
)
_SPEEDS = {
    "save": (
        ("autodist shared", "stock sharded=False", 5.0),
        ("autodist shared", "stock sharded=True", 1.0),
        *_STREAMS,
    ),
    "restore": (*_STREAMS, ("autodist stream, swap", _SOCKETS, 0.8)),
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was wanted and what was found."""

    text: str
    wanted: float
    found: float
    is_met: bool


@dataclasses.dataclass(frozen=True)
class Report(WrittenReport):
    """What was measured.

    Attributes:
        question: In one line.
        size_bytes: Of the model.
        times: By operation and way.
        memory: Likewise: extra bytes of the chief, and of the server that took most.
        machine: See `machine.describe`.
        others_share: Part of the processors' time that other processes took.
    """

    question: str
    size_bytes: int
    times: Mapping[str, Mapping[str, Measurement]]
    memory: Mapping[str, Mapping[str, tuple[int, int]]]
    machine: Mapping[str, str]
    others_share: float

    def verdicts(self) -> list[Verdict]:
        """What was to be reached."""
        return list(self._judge())

    def _judge(self) -> Iterator[Verdict]:
        for operation in self.times:
            for way, other, wanted in _SPEEDS[operation]:
                found = self._ratio(operation, way, other)
                text = f"{operation}: speed of {way} beside {other}: at least"
                yield Verdict(text, wanted, found, found >= wanted)
            found = self.memory[operation]["autodist stream"][0] / 2**20
            text = f"{operation}: extra MiB of the chief, autodist stream: at most"
            yield Verdict(text, _EXTRA_MIB, found, found <= _EXTRA_MIB)

    def _ratio(self, operation: str, way: str, other: str) -> float:
        times = self.times[operation]
        return times[other].best_seconds / times[way].best_seconds

    def to_markdown(self) -> str:
        """The report as a Markdown document."""
        rows = [["target", "wanted", "found", ""], ["---", "--:", "--:", "---"]]
        for verdict in self.verdicts():
            mark = "met" if verdict.is_met else "**missed**"
            rows.append([verdict.text, f"{verdict.wanted:g}", f"{verdict.found:.2f}", mark])
        parts = [f"# {self.question}", markdown_table(rows)]
        for operation in self.times:
            parts += [f"## {operation}", self._control(operation), self._table_of(operation)]
        facts = markdown_list(self.machine)
        noise = (
            f"Processes other than the benchmark's own took {self.others_share:.0%} of the "
            "processors."
        )
        return "\n\n".join([*parts, "## Machine", noise, facts]) + "\n"

    def _control(self, operation: str) -> str:
        found = self._ratio(operation, _LIMIT_AGAIN, _LIMIT)
        low, high = CONTROL_RANGE
        return f"The limit beside itself: {found:.2f}, wanted {low} to {high}."

    def _table_of(self, operation: str) -> str:
        head = ["", "min s", "median s", "GiB/s", *(f"x {way}" for way in _STOCK), "x limit"]
        head += ["extra MiB, chief", "extra MiB, a server"]
        rows = [head, ["---", *["--:"] * (len(head) - 1)]]
        for way, measurement in self.times[operation].items():
            chief, server = self.memory[operation][way]
            rows.append(
                [
                    way,
                    f"{measurement.best_seconds:.3f}",
                    f"{measurement.median_seconds:.3f}",
                    f"{self.size_bytes / measurement.best_seconds / 2**30:.2f}",
                    *(f"{self._ratio(operation, way, other):.2f}" for other in (*_STOCK, _LIMIT)),
                    f"{chief / 2**20:.0f}",
                    f"{server / 2**20:.0f}",
                ]
            )
        return markdown_table(rows)

    def to_json(self) -> str:
        """All numbers."""
        operations = {
            operation: {
                way: {
                    "seconds": [run.seconds for run in found.runs],
                    "chief_processor_seconds": [run.processor_seconds for run in found.runs],
                    "chief_extra_bytes": self.memory[operation][way][0],
                    "server_extra_bytes": self.memory[operation][way][1],
                }
                for way, found in of_operation.items()
            }
            for operation, of_operation in self.times.items()
        }
        return json.dumps(
            {
                "question": self.question,
                "machine": dict(self.machine),
                "others_share_of_processors": self.others_share,
                "moved_bytes": self.size_bytes,
                "operations": operations,
                "targets": [dataclasses.asdict(verdict) for verdict in self.verdicts()],
            },
            indent=2,
        )
