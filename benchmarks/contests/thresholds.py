"""What shall be reached.

Each target is looked at where the contest that it speaks of took place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from contenders import contender
from contenders.cases import LAYOUTS
from contenders.contender import NEW, OURS, TRAINED, Key
from contests.results import Result

_EXTRA_MIB = 32
_READ_PER_PASS = 1.02

_DURING = f"{OURS}, verify=during"
_SWAP = f"{OURS}, verify=swap"
_ONE, _EIGHT, _THIRTY_TWO, _COLUMNS, _GRID, _REPLICAS = (
    LAYOUTS[name].title for name in ("whole", "axis0", "axis0x32", "axis1", "grid", "replicas2")
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was wanted and what was found."""

    text: str
    found: float
    wanted: float
    is_met: bool
    counts: bool


@dataclasses.dataclass(frozen=True)
class _Speed:
    """A contestant shall have at least a part, or a multiple, of another's speed."""

    operation: str
    place: str
    key: Key
    other: Key
    at_least: float
    in_new_memory: bool = False


def _restore_speeds(layout: str, at_least: float) -> list[_Speed]:
    ways = ((OURS, NEW), (OURS, TRAINED), (_DURING, TRAINED))
    return [
        _Speed(
            "restore",
            "tmpfs",
            Key(way, layout, state),
            Key(contender.STOCK, layout, state),
            at_least,
        )
        for way, state in ways
    ]


def _new_memory_speeds(layout: str) -> list[_Speed]:
    limit = Key(contender.LIMIT_NEW_HUGE)
    return [_Speed("restore", "tmpfs", Key(OURS, layout, NEW), limit, 0.9, in_new_memory=True)]


def _swap_speeds(layout: str, at_least: float) -> list[_Speed]:
    stock = Key(contender.STOCK, layout, TRAINED)
    return [_Speed("restore", "tmpfs", Key(_SWAP, layout, TRAINED), stock, at_least)]


_SPEEDS = (
    *_new_memory_speeds(_ONE),
    *_new_memory_speeds(_EIGHT),
    *_new_memory_speeds(_THIRTY_TWO),
    *_swap_speeds(_ONE, 2.5),
    *_swap_speeds(_EIGHT, 12.0),
    *_swap_speeds(_THIRTY_TWO, 45.0),
    *_restore_speeds(_ONE, 1.5),
    *_restore_speeds(_EIGHT, 6.0),
    *_restore_speeds(_THIRTY_TWO, 15.0),
    _Speed("save", "tmpfs", Key(OURS, _EIGHT), Key(contender.LIMIT), 0.85),
    _Speed("save", "tmpfs", Key(OURS, _EIGHT), Key(contender.GATHER, _EIGHT), 2.7),
    _Speed("save", "tmpfs", Key(OURS, _EIGHT), Key(contender.STOCK, _EIGHT), 1.7),
    _Speed("save", "tmpfs", Key(OURS, _COLUMNS), Key(OURS, _EIGHT), 0.8),
    _Speed("save", "tmpfs", Key(OURS, _GRID), Key(OURS, _EIGHT), 0.8),
    _Speed("save", "tmpfs", Key(OURS, _REPLICAS), Key(OURS, _ONE), 0.7),
    *(
        _Speed("save", "disk-synced", Key(OURS, _EIGHT), Key(way), 0.95)
        for way in (contender.LIMIT, contender.LIMIT_PREALLOCATED, contender.LIMIT_DIRECT)
    ),
)


def judge(results: Sequence[Result]) -> list[Verdict]:
    """All targets that the results speak of; those of speed, for one large variable."""
    return [verdict for result in results for verdict in _judge(result)]


def _judge(result: Result) -> Iterator[Verdict]:
    contest = result.contest
    if contest.model.name == "one":
        for speed in _SPEEDS:
            case = (contest.operation, contest.place.name, contest.has_new_memory)
            wanted = (speed.operation, speed.place, speed.in_new_memory)
            if case == wanted and {speed.key, speed.other} <= set(result.times):
                found = result.to(speed.key, speed.other)
                text = (
                    f"{contest.operation} on {contest.place.title}"
                    f"{', new memory' * contest.has_new_memory}, speed of {speed.key.name}, "
                    f"beside {speed.other.name}: at least"
                )
                is_met = found >= speed.at_least
                yield Verdict(text, found, speed.at_least, is_met, result.counts)
    yield _judge_memory(result)
    if contest.operation == "restore" and contest.model.size_bytes >= 64 << 20:
        yield _judge_reads(result)


def _judge_memory(result: Result) -> Verdict:
    """A swap needs as much again as the variables that have values."""
    copies = {layout.title: layout.replica_count for layout in result.contest.layouts}
    size_bytes = result.contest.model.size_bytes
    most = max(
        result.extra_bytes(key) - (size_bytes * copies[key.layout] if key.way == _SWAP else 0)
        for key in result.times
        if key.is_ours
    )
    most /= 2**20
    text = f"{result.contest.title}: extra MiB of ours, at most"
    return Verdict(text, most, _EXTRA_MIB, most <= _EXTRA_MIB, counts=True)


def _judge_reads(result: Result) -> Verdict:
    """Two passes where variables have values that must not be lost, else one."""
    most = max(
        result.moved(key) / (2 if (key.way, key.state) == (OURS, TRAINED) else 1)
        for key in result.times
        if key.is_ours
    )
    text = f"{result.contest.title}: sizes of the model that ours reads in a pass, at most"
    return Verdict(text, most, _READ_PER_PASS, most <= _READ_PER_PASS, counts=True)
