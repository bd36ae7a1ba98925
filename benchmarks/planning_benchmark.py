"""How long does it take to plan saves and restores of very many shards, and how much memory?

| name             | one iteration                                                    | at most    |
|------------------|------------------------------------------------------------------|------------|
| restore: A -> B  | `plan_restore` of a matrix stored as A and wanted as B           | 5 s, 1 GB  |
| save: ...        | `plan_save` of shards, some replicated, on a thousand devices    | 5 s, 1 GB  |

It plans a million shards, and a tenth and a hundredth of that, to show how time grows. Each plan
runs in a process of its own. Its peak of memory includes Python and the arguments. Seconds are the
processor's. It checks that a restore's transfers hold every element, and a save's units every byte.
The busiest device of a save must have at most 1.1 times the mean.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from autodist.planning import HeldVariable, StoredVariable, WantedVariable, plan_restore, plan_save

_DEVICES = 1000
_COUNTS = (10_000, 100_000, 1_000_000)
_SECONDS, _BYTES, _BALANCE = 5.0, 1e9, 1.1

# A shape, and the starts and extents of its shards.
_Boxes = tuple[tuple[int, int], np.ndarray, np.ndarray]


def _rows(count: int) -> _Boxes:
    starts = np.stack([np.arange(count) * 4, np.zeros(count, int)], 1)
    return (4 * count, 8), starts, np.tile([4, 8], (count, 1))


def _other_rows(count: int) -> _Boxes:
    """Of the same matrix, with other borders."""
    shape, starts, extents = _rows(count)
    starts[1:, 0] += 1
    extents[0, 0] += 1
    extents[-1, 0] -= 1
    return shape, starts, extents


def _grid(count: int) -> _Boxes:
    side = round(count**0.5)
    row, column = np.divmod(np.arange(side * side), side)
    return (4 * side, 4 * side), np.stack([row, column], 1) * 4, np.full((side * side, 2), 4)


def _columns(count: int) -> _Boxes:
    side = round(count**0.5)
    starts = np.stack([np.zeros(side, int), np.arange(side) * 4], 1)
    return (4 * side, 4 * side), starts, np.tile([4 * side, 4], (side, 1))


def _whole(boxes: _Boxes) -> _Boxes:
    return boxes[0], np.zeros((1, 2), int), np.array([boxes[0]])


def _restore(stored: _Boxes, wanted: _Boxes) -> Callable[[], Any]:
    shape, starts, extents = stored
    sizes = np.prod(extents, axis=1) * 4
    held = StoredVariable.of_arrays("v", 4, shape, starts, extents, np.cumsum(sizes) - sizes)
    shards = WantedVariable.of_arrays("v", shape, *wanted[1:], np.arange(len(wanted[1])) % _DEVICES)

    def run() -> Callable[[], float | None]:
        plan = plan_restore([held], [shards])

        def check() -> None:
            assert plan.size_bytes.sum() == np.prod(shape) * 4

        return check

    return run


def _save(variables: list[HeldVariable]) -> Callable[[], Any]:
    def run() -> Callable[[], float | None]:
        plan = plan_save(variables, _DEVICES)

        def check() -> float:
            assert (plan.begin[1:] == plan.end[:-1]).all()
            assert plan.end[-1] == plan.size_bytes
            return float(plan.writer_bytes.max() / plan.writer_bytes.mean())

        return check

    return run


def _held(name: str, boxes: _Boxes, replicas: int = 1, first: int = 0) -> HeldVariable:
    """Shards on one device after another, and their replicas on those that follow."""
    number = first + np.arange(len(boxes[1]))
    # In a grid, shards below each other are on different devices.
    devices = (number + number // _DEVICES)[:, np.newaxis] + np.arange(replicas) * 37
    return HeldVariable.of_arrays(name, 4, *boxes, devices % _DEVICES)


def _uneven_replicas(count: int) -> list[HeldVariable]:
    """Variables of very different sizes, each on three devices found at random."""
    random = np.random.default_rng(1)
    found = []
    for number in range(count // 10):
        shape = (int(random.integers(1, 2000)), 8)
        devices = random.choice(_DEVICES, (1, 3), replace=False)
        found.append(HeldVariable.of_arrays(f"v{number}", 4, shape, [[0, 0]], [shape], devices))
    return found


_CASES: dict[str, Callable[[int], Callable[[], Any]]] = {
    "restore: rows -> the same rows": lambda n: _restore(_rows(n), _rows(n)),
    "restore: rows -> other rows": lambda n: _restore(_rows(n), _other_rows(n)),
    "restore: whole -> rows": lambda n: _restore(_whole(_rows(n)), _rows(n)),
    "restore: rows -> whole": lambda n: _restore(_rows(n), _whole(_rows(n))),
    "restore: grid -> columns": lambda n: _restore(_grid(n), _columns(n)),
    "restore: columns -> grid": lambda n: _restore(_columns(n), _grid(n)),
    "save: rows": lambda n: _save([_held("v", _rows(n))]),
    "save: rows, 3 replicas": lambda n: _save([_held("v", _rows(n), 3)]),
    "save: grid": lambda n: _save([_held("v", _grid(n))]),
    "save: 1000 variables in rows": lambda n: _save(
        [_held(f"v{i}", _rows(n // 1000), first=i * n // 1000) for i in range(1000)]
    ),
    "save: uneven variables, 3 replicas": lambda n: _save(_uneven_replicas(n)),
}


def _measure(name: str, count: int) -> tuple[float, int, float | None]:
    run = _CASES[name](count)
    start = time.process_time()
    check = run()
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return seconds, peak, check()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=_COUNTS[-1], help="of the largest plans")
    counts = [parser.parse_args().shards * count // _COUNTS[-1] for count in _COUNTS]
    table = Table("", *(f"s, {count:,} shards" for count in counts), "MB", "busiest / mean", "")
    missed = False
    for name in _CASES:
        found = []
        for count in counts:
            context = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(1, context) as process:
                found.append(process.submit(_measure, name, count).result())
        seconds, peak, balance = found[-1]
        is_met = seconds <= _SECONDS and peak <= _BYTES and (balance or 1) <= _BALANCE
        missed = missed or not is_met
        cells = [*(f"{one[0]:.3f}" for one in found), f"{peak / 1e6:.0f}"]
        cells.append("" if balance is None else f"{balance:.3f}")
        table.add_row(name, *cells, "met" if is_met else "missed")
    Console(width=None if Console().is_terminal else 140).print(table)
    if missed:
        sys.exit("a plan took more than is allowed")


if __name__ == "__main__":
    main()
