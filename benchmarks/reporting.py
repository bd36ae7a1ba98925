"""The report of a benchmark: one table for people, on the console and as Markdown, and JSON for programs.

Speeds are compared by the best of all runs, which is what the machine allows when nothing disturbs it. The
limit is measured twice; unless the two agree the run does not count, and the report says so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from measuring import Measurement

# The limit against itself must lie in here for a run to count.
_CONTROL_RANGE = (0.95, 1.05)
# Others may take this part of the processors' time before a run is called noisy.
_QUIET_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Target:
    """How much faster than a rival, by best time, ours shall be at least."""

    ours: str
    rival: str
    ratio: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        question: What the benchmark asks, in one sentence.
        moved_bytes: Bytes that one iteration writes.
        times: By contestant, where TensorFlow's allocator is as users have it.
        memory: By contestant, where freed memory returns; see `measuring`.
        ours: Names of the contestants that are ours.
        rivals: Names of the columns that compare, each with the contestant's.
        limit: Names of the limit and of its second measurement.
        targets: What shall be reached.
        extra_bytes_limit: How much extra memory ours may take.
        machine: See `machine.describe`.
        others_share: Part of the processors' time that other processes took.
    """

    question: str
    moved_bytes: int
    times: Mapping[str, Measurement]
    memory: Mapping[str, Measurement]
    ours: Sequence[str]
    rivals: Sequence[str]
    limit: tuple[str, str]
    targets: Sequence[Target]
    extra_bytes_limit: int
    machine: Mapping[str, str]
    others_share: float

    def ratio(self, name: str, rival: str) -> float:
        """How many times faster than the rival, best time against best time."""
        return self.times[rival].best_seconds / self.times[name].best_seconds

    def extra_bytes(self, name: str) -> int:
        """The most extra memory of any run."""
        return max(self.times[name].extra_bytes, self.memory[name].extra_bytes)

    @property
    def control(self) -> float:
        """The limit against itself."""
        return self.ratio(*self.limit)

    @property
    def counts(self) -> bool:
        """Whether the machine was steady enough for the ratios to mean something."""
        low, high = _CONTROL_RANGE
        return low <= self.control <= high

    def to_markdown(self) -> str:
        """The report as a Markdown document."""
        parts = [f"# {self.question}", self._verdict(), self._table(), self._targets()]
        parts.append("\n".join(f"- {key}: {value}" for key, value in self.machine.items()))
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """All numbers, one object per contestant."""
        return json.dumps(
            {
                "question": self.question,
                "moved_bytes": self.moved_bytes,
                "machine": dict(self.machine),
                "others_share_of_processors": self.others_share,
                "control": self.control,
                "counts": self.counts,
                "contestants": {
                    name: {
                        "seconds": [run.seconds for run in measurement.runs],
                        "processor_seconds": [run.processor_seconds for run in measurement.runs],
                        "extra_bytes": self.extra_bytes(name),
                        "speed_to_rivals": {
                            rival: self.ratio(name, rival) for rival in self.rivals
                        },
                    }
                    for name, measurement in self.times.items()
                },
                "targets": [
                    dataclasses.asdict(target) | {"reached": self.ratio(target.ours, target.rival)}
                    for target in self.targets
                ],
                "extra_bytes_limit": self.extra_bytes_limit,
            },
            indent=2,
        )

    def write(self, directory: Path, name: str) -> None:
        """Writes `<name>.md` and `<name>.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.md").write_text(self.to_markdown(), encoding="utf-8")
        (directory / f"{name}.json").write_text(self.to_json() + "\n", encoding="utf-8")

    def print(self) -> None:
        """Shows the report on the console."""
        Console().print(Markdown(self.to_markdown()))

    def _verdict(self) -> str:
        low, high = _CONTROL_RANGE
        said = "This run counts" if self.counts else "**This run does not count**"
        noise = "" if self.others_share <= _QUIET_SHARE else " The machine was **not quiet**."
        return (
            f"{said}: the limit against itself is {self.control:.2f}, wanted {low} to {high}. Other "
            f"processes took {self.others_share:.0%} of the processors.{noise}"
        )

    def _table(self) -> str:
        head = [
            "",
            "min s",
            "median s",
            "max s",
            "cpu s",
            "GiB/s",
            *(f"x {r}" for r in self.rivals),
        ]
        rows = [[*head, "extra MiB"], ["---", *["--:"] * (len(head))]]
        for name, measurement in self.times.items():
            seconds = measurement.best_seconds
            rows.append(
                [
                    f"**{name}**" if name in self.ours else name,
                    f"{seconds:.3f}",
                    f"{measurement.median_seconds:.3f}",
                    f"{measurement.worst_seconds:.3f}",
                    f"{measurement.processor_seconds:.3f}",
                    f"{self.moved_bytes / seconds / 2**30:.2f}",
                    *(f"{self.ratio(name, rival):.2f}" for rival in self.rivals),
                    f"{self.extra_bytes(name) / 2**20:.1f}",
                ]
            )
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def _targets(self) -> str:
        lines = []
        for target in self.targets:
            reached = self.ratio(target.ours, target.rival)
            lines.append(
                f"- {_mark(is_met=reached >= target.ratio)} {target.ours}: {reached:.3f} times the "
                f"speed of {target.rival}, wanted {target.ratio}"
            )
        most = max(self.extra_bytes(name) for name in self.ours)
        lines.append(
            f"- {_mark(is_met=most <= self.extra_bytes_limit)} extra memory of ours: at most "
            f"{most / 2**20:.1f} MiB, wanted {self.extra_bytes_limit / 2**20:.0f}"
        )
        return "\n".join(lines)


def _mark(*, is_met: bool) -> str:
    return "met:" if is_met else "**missed:**"
