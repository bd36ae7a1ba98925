"""A training that never pauses, and what a save costs it.

Threads run steps of several kinds on large variables, and note when each began and ended:

| thread    | its steps                                                            |
|-----------|----------------------------------------------------------------------|
| scatter   | `scatter_add` of rows of one table                                   |
| adagrad   | Adagrad of rows of one table, its accumulator another                |
| dense     | `assign_add` of a dense variable of 16 MiB                           |
| counters  | adds one to `first`, then to two tables, then to `last`, 50 per second |

At any instant `last <= each element of the two tables <= first <= last + 1`. A checkpoint that does
not hold one instant breaks that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1

_MIB = 1 << 20
_COLUMNS = 64
_BATCH_ROWS = 1024
_BATCHES = 512
_COUNTER_PAUSE_SECONDS = 0.02
_CHAINED_ROWS = 32 * _MIB // (4 * _COLUMNS)

# When a step began and ended, in seconds.
Steps = list[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the model, in MiB.

    Attributes:
        tables: Of each table that is updated by rows.
        dense: How many dense variables of 16 MiB.
    """

    tables: tuple[int, ...]
    dense: int

    @staticmethod
    def of(gib: float) -> Sizes:
        """Returns sizes that are so many GiB together: three quarters are tables."""
        mib = int(gib * 1024)
        # The counters' tables take 64.
        count = max(2, min(8, mib * 3 // 4 // 128))
        each = max(1, (mib * 3 // 4 - 64) // count)
        return Sizes((each,) * count, max(1, mib // 4 // 16))

    @property
    def bytes(self) -> int:
        """Of all variables."""
        return (sum(self.tables) + 16 * self.dense + 64) * _MIB


def draw_batches(rows: int, updates: str) -> list[np.ndarray]:
    """Returns batches of row numbers: `uniform`, or as frequent as words (`zipf`)."""
    generator = np.random.default_rng(0)
    if updates == "zipf":
        return [generator.zipf(1.2, _BATCH_ROWS) % rows for _ in range(_BATCHES)]
    return [generator.integers(0, rows, _BATCH_ROWS) for _ in range(_BATCHES)]


class GraphModel:
    """The variables in the default graph, and the steps in a session.

    Attributes:
        variables: All of them.
    """

    def __init__(self, sizes: Sizes, updates: str) -> None:
        """Builds the graph."""
        rows = [mib * _MIB // (4 * _COLUMNS) for mib in sizes.tables]
        self._batches = draw_batches(min(rows), updates)
        tables = [_table(f"table_{i}", count) for i, count in enumerate(rows)]
        dense = [_variable(f"dense_{i}", [4 * _MIB]) for i in range(sizes.dense)]
        chained = [_table(f"chained_{i}", _CHAINED_ROWS) for i in range(2)]
        counters = [_variable(name, []) for name in ("first", "last")]
        self.variables = [*tables, *dense, *chained, *counters]
        self._indices = tf1.placeholder(tf.int32, [None])
        update = tf.ones([_BATCH_ROWS, _COLUMNS]) * 1e-3
        self._scatters = [
            tf.raw_ops.ResourceScatterAdd(resource=t.handle, indices=self._indices, updates=update)
            for t in tables
        ]
        self._adagrads = [
            tf.raw_ops.ResourceSparseApplyAdagradV2(
                var=table.handle,
                accum=tables[i].handle,
                lr=0.1,
                epsilon=1e-6,
                grad=update,
                indices=self._indices,
                use_locking=True,
            )
            for i, table in enumerate(tables[1:])
        ]
        self._dense = [v.assign_add(tf.ones([4 * _MIB])).op for v in dense]
        with tf.control_dependencies([counters[0].assign_add(1.0).op]):
            middle = [_add_one(chained[0])]
        with tf.control_dependencies(middle):
            middle = [_add_one(chained[1])]
        with tf.control_dependencies(middle):
            self._count = counters[1].assign_add(1.0).op

    def steps(self, session: Any) -> dict[str, Callable[[int], object]]:
        """Returns a function for each thread, which makes its step of a number; all were run."""
        run = {
            "scatter": self._fed(session, self._scatters),
            "adagrad": self._fed(session, self._adagrads),
            "dense": _in_turn([session.make_callable(op) for op in self._dense]),
            "counters": _in_turn([session.make_callable(self._count)]),
        }
        for name, ops in (("scatter", self._scatters), ("adagrad", self._adagrads)):
            for number in range(len(ops)):
                run[name](number)
        run["counters"](0)
        return run

    def _fed(self, session: Any, ops: Sequence[Any]) -> Callable[[int], object]:
        calls = [session.make_callable(op, [self._indices]) for op in ops]
        batches = self._batches
        return lambda n: calls[n % len(calls)](batches[7 * n % len(batches)])


def holds_one_instant(path: str) -> bool:
    """Tells whether the counters of a checkpoint are as at one instant."""
    reader = tf.train.load_checkpoint(path)
    first, last = (float(reader.get_tensor(name)) for name in ("first", "last"))
    chained = [reader.get_tensor(f"chained_{i}") for i in range(2)]
    bounds = [first, *(bound for c in chained for bound in (c.max(), c.min())), last]
    return bounds == sorted(bounds, reverse=True) and first <= last + 1


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a save cost the training.

    Attributes:
        longest_seconds: The longest step that ran beside it.
        longest_before_seconds: The longest step before it.
        lost_seconds: For how long all threads, on average, would have had to pause for as many steps
            to be missing.
    """

    longest_seconds: float
    longest_before_seconds: float
    lost_seconds: float


class BusyTraining:
    """Threads that train; each notes its steps."""

    def __init__(self, steps: dict[str, Callable[[int], object]]) -> None:
        """Takes the function of each thread."""
        self._steps = steps
        self._notes: dict[str, Steps] = {name: [] for name in steps}
        self._is_over = threading.Event()
        self._errors: list[Exception] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Trains during the block.

        Raises:
            Exception: That of a step.
        """
        threads = [threading.Thread(target=self._train, args=[name]) for name in self._steps]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _train(self, name: str) -> None:
        step, notes = self._steps[name], self._notes[name]
        number = 0
        while not self._is_over.is_set():
            begin = time.monotonic()
            try:
                step(number)
            except Exception as error:  # noqa: BLE001 raised where the block ends
                self._errors.append(error)
                return
            notes.append((begin, time.monotonic()))
            number += 1
            if name == "counters":
                time.sleep(_COUNTER_PAUSE_SECONDS)

    def cost_of(self, work: Callable[[], object], beside_seconds: float) -> Cost:
        """Measures what a piece of work costs.

        Args:
            work: Is called; returns when it is done.
            beside_seconds: How long to look at the training before and afterwards.
        """
        for notes in self._notes.values():
            notes.clear()
        start = time.monotonic()
        time.sleep(beside_seconds)
        begin = time.monotonic()
        work()
        # Steps that the work held up end now.
        time.sleep(beside_seconds / 2)
        end = time.monotonic()
        time.sleep(beside_seconds)
        over = time.monotonic()
        lost, longest, before = [], 0.0, 0.0
        for name, notes in self._notes.items():
            steps = list(notes)
            rate = (_count(steps, start, begin) + _count(steps, end, over)) / (
                begin - start + over - end
            )
            if name != "counters" and rate > 0:
                lost.append(end - begin - _count(steps, begin, end) / rate)
            longest = max([longest, *(e - b for b, e in steps if e > begin and b < end)])
            before = max([before, *(e - b for b, e in steps if e <= begin)])
        return Cost(longest, before, statistics.mean(lost))


def _count(steps: Steps, begin: float, end: float) -> float:
    """How many steps were made between two times; of those at the ends, the part within."""
    return sum(
        max(0.0, min(e, end) - max(b, begin)) / (e - b) for b, e in steps if e > begin and b < end
    )


def _in_turn(calls: Sequence[Callable[[], object]]) -> Callable[[int], object]:
    return lambda number: calls[number % len(calls)]()


def _table(name: str, rows: int) -> Any:
    return _variable(name, [rows, _COLUMNS])


def _variable(name: str, shape: list[int]) -> Any:
    return tf1.get_variable(name, shape, use_resource=True, initializer=tf1.zeros_initializer())


def _add_one(table: Any) -> Any:
    rows = tf.range(_CHAINED_ROWS)
    return tf.raw_ops.ResourceScatterAdd(
        resource=table.handle, indices=rows, updates=tf.ones([_CHAINED_ROWS, _COLUMNS])
    )
