"""What came out of a contest, and the ratios that follow from it.

Speeds are compared by the best of all runs, which is what the machine allows when nothing disturbs
it. The limit is measured twice; unless the two agree the contest does not count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from contenders import contender
from contenders.cases import Contest
from contenders.contender import Key
from measuring.contestants import Measurement

# The limit against itself must lie in here for a contest to count.
CONTROL_RANGE = (0.95, 1.05)
# Others may take this part of the processors' time before a contest is called noisy.
QUIET_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Result:
    """A contest's measurements.

    Attributes:
        contest: The contest.
        times: By contestant, where TensorFlow's allocator is as users have it.
        memory: By contestant, where freed memory returns, see `measuring.contestants`; empty if
          that was not asked for.
        others_share: Part of the processors' time that other processes took.
    """

    contest: Contest
    times: Mapping[Key, Measurement]
    memory: Mapping[Key, Measurement]
    others_share: float

    @property
    def control(self) -> float:
        """The limit against itself."""
        first, second = (self.times[Key(way)] for way in (contender.LIMIT, contender.LIMIT_AGAIN))
        return second.best_seconds / first.best_seconds

    @property
    def counts(self) -> bool:
        """Whether the machine was steady enough for the ratios to mean something."""
        low, high = CONTROL_RANGE
        return low <= self.control <= high

    @property
    def rivals(self) -> Sequence[str]:
        """The rivals that take part, as columns."""
        ways = {key.way for key in self.times}
        return [way for way in contender.RIVALS if way in ways]

    def speed_gib(self, key: Key) -> float:
        """GiB of the model per second."""
        return self.contest.model.size_bytes / self.times[key].best_seconds / 2**30

    def to_rival(self, key: Key, way: str) -> float | None:
        """How many times faster than a rival in the same layout and state.

        None if it does not take part.
        """
        rival = dataclasses.replace(key, way=way)
        return self.to(key, rival) if rival in self.times else None

    def to_limit(self, key: Key) -> float:
        """What part of the limit's speed is reached."""
        return self.to(key, Key(contender.LIMIT))

    def to(self, key: Key, other: Key) -> float:
        """How many times faster than another, best time against best time."""
        return self.times[other].best_seconds / self.times[key].best_seconds

    def extra_bytes(self, key: Key) -> int:
        """The most extra memory of any run."""
        measured = (self.times, self.memory) if self.memory else (self.times,)
        return max(of_all[key].extra_bytes for of_all in measured)

    def moved(self, key: Key) -> float:
        """What the kernel counted as read, or written, in sizes of the model."""
        of_key = self.times[key]
        moved = of_key.written_bytes if self.contest.operation == "save" else of_key.read_bytes
        return moved / self.contest.model.size_bytes

    def to_json(self) -> dict:
        """All numbers, one object per contestant."""
        return {
            "operation": self.contest.operation,
            "model": self.contest.model.name,
            "variables": len(self.contest.model.shapes),
            "place": self.contest.place.name,
            "new_memory": self.contest.has_new_memory,
            "moved_bytes": self.contest.model.size_bytes,
            "others_share_of_processors": self.others_share,
            "control": self.control,
            "counts": self.counts,
            "contestants": [
                dataclasses.asdict(key)
                | {
                    "seconds": [run.seconds for run in measurement.runs],
                    "processor_seconds": [run.processor_seconds for run in measurement.runs],
                    "extra_bytes": self.extra_bytes(key),
                    "read_bytes": measurement.read_bytes,
                    "written_bytes": measurement.written_bytes,
                    "speed_to_limit": self.to_limit(key),
                    "speed_to_rivals": {way: self.to_rival(key, way) for way in self.rivals},
                }
                for key, measurement in self.times.items()
            ],
        }
