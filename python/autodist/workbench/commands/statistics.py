"""`autodist stat`: figures of each variable, in one pass by all cores and in bounded memory.

A task of a thread reads some elements of a piece and makes a `Figures` of them; figures of one
variable are then added up (means and squares as Chan, Golub and LeVeque 1979 join them). Histograms
are of a sample of each variable, of some 4096 elements at even distances.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from autodist.workbench.commands import parallel, selection
from autodist.workbench.reading import dtypes, finding
from autodist.workbench.reading.checkpoint import Checkpoint, Piece, Variable
from autodist.workbench.reading.values import ValueReader

DEFAULT_MEMORY_BYTES = 64 << 20
_SAMPLE = 4096
_BINS = 16
# Elements.
_CHUNK = 1 << 15
# What a task needs for each byte that it reads: of elements of one byte, they as float64, a copy of
# the finite ones, deviations.
_BYTES_A_BYTE = 32
_LEAST_BLOCK_BYTES = 16 << 10


@dataclasses.dataclass(slots=True)
class Figures:
    """Figures of elements. Minimum, maximum, mean and deviation are of the finite ones.

    Attributes:
        count: Elements.
        nans: Those that are NaN.
        infinities: Those that are infinite.
        zeros: Those that are 0.
        finite: Those that are neither NaN nor infinite.
        minimum, maximum: Infinite where there are no finite ones; of integers exact.
        mean: 0 where there are none.
        squares: The sum of the squares of the differences from the mean.
        sample: Some elements.
    """

    count: int = 0
    nans: int = 0
    infinities: int = 0
    zeros: int = 0
    finite: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    sample: list[float] = dataclasses.field(default_factory=list)

    @property
    def deviation(self) -> float:
        """The standard deviation of the finite elements, as `numpy.std` has it."""
        return math.sqrt(self.squares / self.finite) if self.finite else 0.0

    def add(self, other: Figures) -> None:
        """Adds the figures of other elements."""
        self.count += other.count
        self.nans += other.nans
        self.infinities += other.infinities
        self.zeros += other.zeros
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.sample += other.sample
        finite = self.finite + other.finite
        if other.finite:
            shift = other.mean - self.mean
            self.mean += shift * (other.finite / finite)
            self.squares += other.squares + shift * shift * (self.finite * other.finite / finite)
        self.finite = finite

    def histogram(self) -> list[int]:
        """Counts of the sample in bins of one width from minimum to maximum."""
        counts = [0] * _BINS
        width = self.maximum - self.minimum
        for value in self.sample:
            share = (value - self.minimum) / width if 0 < width < math.inf else 0.0
            counts[max(0, min(_BINS - 1, int(share * _BINS)))] += 1
        return counts if self.sample else []


class Statistic(NamedTuple):
    """A variable and its figures; `None` where its dtype has none, such as strings."""

    variable: Variable
    figures: Figures | None


class _Task(NamedTuple):
    number: int
    piece: Piece
    first: int
    elements: int
    stride: int


def statistics(
    path: str,
    patterns: Sequence[str] = (),
    *,
    threads: int = 0,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Statistic]:
    """Computes figures of variables.

    Args:
        path: See `reading.finding`.
        patterns: Names or patterns; none: all variables.
        threads: How many compute; 0: one for each processor.
        memory_bytes: What blocks of values may need, of all threads together.
        progress: Told the bytes done so far.

    Raises:
        NotFoundError: There is no such checkpoint or variable.
        DamagedError: The bytes of a variable are not those that were written.
    """
    checkpoint = finding.open_checkpoint(path)
    variables = selection.select(checkpoint.variables, patterns)
    threads = parallel.thread_count(threads)
    block_bytes = max(_LEAST_BLOCK_BYTES, memory_bytes // (threads * _BYTES_A_BYTE))
    results = [Statistic(v, Figures() if _has_figures(v) else None) for v in variables]
    done = 0
    with ValueReader(checkpoint) as reader:
        tasks = _tasks(variables, results, block_bytes)
        work = functools.partial(_figures_of_group, reader, variables)
        for group, parts in parallel.in_order(tasks, work, threads):
            for task, part in zip(group, parts, strict=True):
                figures = results[task.number].figures
                assert figures is not None
                figures.add(part)
                done += task.elements * dtypes.element_bytes(variables[task.number].dtype)
            progress(done)
        for result in results:
            if result.figures is not None:
                reader.check(result.variable)
    return results


def total_bytes(checkpoint: Checkpoint) -> int:
    """Returns the bytes of all variables."""
    return sum(variable.size for variable in checkpoint.variables)


def _has_figures(variable: Variable) -> bool:
    return bool(dtypes.element_bytes(variable.dtype)) and not variable.dtype.startswith("complex")


def _tasks(
    variables: Sequence[Variable], results: Sequence[Statistic], block_bytes: int
) -> Iterator[list[_Task]]:
    """Tasks in groups of about a block: many small variables, or a part of a large one."""
    group: list[_Task] = []
    group_bytes = 0
    for number, variable in enumerate(variables):
        if results[number].figures is None:
            continue
        size = dtypes.element_bytes(variable.dtype)
        most = max(1, block_bytes // size)
        stride = max(1, variable.elements // _SAMPLE)
        for piece in variable.pieces:
            elements = math.prod(piece.shape)
            for first in range(0, elements, most):
                count = min(most, elements - first)
                group.append(_Task(number, piece, first, count, stride))
                group_bytes += count * size
                if group_bytes >= block_bytes:
                    yield group
                    group, group_bytes = [], 0
    if group:
        yield group


def _figures_of_group(
    reader: ValueReader, variables: Sequence[Variable], group: list[_Task]
) -> list[Figures]:
    return [
        figures_of(
            reader.read_elements(variables[task.number], task.piece, task.first, task.elements),
            task.stride,
        )
        for task in group
    ]


def figures_of(elements: Any, stride: int = 1) -> Figures:
    """Returns the figures of an array.

    Args:
        elements: Of one axis and real numbers or booleans.
        stride: Every how many elements one is taken into the sample.
    """
    import numpy as np

    kind, size = elements.dtype.kind, elements.dtype.itemsize
    # NumPy is slow with dtypes of less than four bytes; float32 holds those of ml_dtypes exactly.
    values = (
        elements
        if kind == "f" and size >= 4
        else elements.astype(np.float64 if kind in "iub" else np.float32)
    )
    figures = Figures(count=values.size)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(values.sum(dtype=np.float64))
        # A sum is finite only if all of its elements are.
        finite = values if math.isfinite(total) else values[np.isfinite(values)]
        figures.finite = finite.size
        if finite.size != values.size:
            figures.nans = int(np.isnan(values).sum())
            figures.infinities = values.size - finite.size - figures.nans
            total = float(finite.sum(dtype=np.float64))
        if not finite.size:
            return figures
        figures.zeros = int(finite.size - np.count_nonzero(finite))
        exact = elements if kind in "iu" else finite
        figures.minimum, figures.maximum = exact.min().item(), exact.max().item()
        figures.mean = total / finite.size
        figures.squares = _squares(finite, figures.mean)
    figures.sample = finite[::stride].tolist()
    return figures


def _squares(values: Any, mean: float) -> float:
    """The sum of the squares of the differences from a mean, in pieces that stay in the cache."""
    import numpy as np

    # Not np.dot: its threads would wait for each other beside those that read.
    total = 0.0
    scratch = np.empty(min(_CHUNK, values.size), np.float64)
    for begin in range(0, values.size, _CHUNK):
        part = values[begin : begin + _CHUNK]
        differences = scratch[: part.size]
        np.subtract(part, mean, out=differences, dtype=np.float64)
        np.multiply(differences, differences, out=differences)
        total += float(differences.sum())
    return total
