"""`autodist diff`: how two checkpoints differ in names, dtypes, shapes and values.

Values are compared in blocks of the variable, whatever slices either checkpoint has. Two NaNs are
equal. The relative change of an element is the change by the larger of the two magnitudes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from autodist.workbench.commands import parallel, selection
from autodist.workbench.reading import dtypes, finding, values
from autodist.workbench.reading.checkpoint import Variable
from autodist.workbench.reading.values import Block, ValueReader

DEFAULT_MEMORY_BYTES = 64 << 20
# What a task needs for each byte of an element, at most: both values as complex128 or float64,
# changes, magnitudes.
_BYTES_A_BYTE = 64
_LEAST_BLOCK_BYTES = 16 << 10
_MOST_ROWS = 10


@dataclasses.dataclass(slots=True)
class Change:
    """How the values of a variable differ.

    Attributes:
        elements: How many differ by more than is allowed.
        absolute: The largest absolute change; infinite where one of two is NaN or infinite.
        relative: The largest relative change.
        place: Where the largest absolute change is; `None` if nothing differs.
        row_count: Rows with an element that differs; a scalar has one row.
        rows: The first of them.
        last_row: The last of them.
    """

    elements: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    place: tuple[int, ...] | None = None
    row_count: int = 0
    rows: list[int] = dataclasses.field(default_factory=list)
    last_row: int = -1

    def add(self, other: Change) -> None:
        """Adds the change of a later block of the variable."""
        if other.absolute > self.absolute or self.place is None:
            self.absolute, self.place = other.absolute, other.place
        self.relative = max(self.relative, other.relative)
        self.elements += other.elements
        # Two blocks may be parts of one row.
        repeats = other.rows[0] == self.last_row
        self.row_count += other.row_count - repeats
        self.rows += other.rows[repeats : repeats + _MOST_ROWS]
        del self.rows[_MOST_ROWS:]
        self.last_row = other.last_row


class Difference(NamedTuple):
    """How one variable differs.

    Attributes:
        name: Of the variable.
        kind: `'only in A'`, `'only in B'`, `'shape'`, `'dtype'`, `'values'`, or `'same'`.
        first: In A; `None` if it is not there.
        second: In B.
        change: Of the values, where they were compared.
    """

    name: str
    kind: str
    first: Variable | None
    second: Variable | None
    change: Change | None = None


class Tolerance(NamedTuple):
    """What may differ: by `absolute`, or by `relative` of the larger magnitude."""

    absolute: float = 0.0
    relative: float = 0.0


class _Task(NamedTuple):
    number: int
    block: Block


def compare(
    path: str,
    other_path: str,
    patterns: Sequence[str] = (),
    *,
    tolerance: Tolerance | None = None,
    trust_crcs: bool = False,
    threads: int = 0,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Difference]:
    """Compares two checkpoints, variable by variable.

    Args:
        path: A; see `reading.finding`.
        other_path: B.
        patterns: Names or patterns; none: all variables. A name that one of both has is enough.
        tolerance: What may differ; by default nothing.
        trust_crcs: Whether pieces with the same place, size and CRC are not read.
        threads: How many compare; 0: one for each processor.
        memory_bytes: What blocks of values may need, of all threads together.
        progress: Told the bytes of A done so far.

    Returns:
        All variables of both, by name, those without a difference too.

    Raises:
        NotFoundError: There is no such checkpoint, or a pattern matches in neither.
        DamagedError: The bytes of a variable are not those that were written.
    """
    a, b = finding.open_checkpoint(path), finding.open_checkpoint(other_path)
    in_a, in_b = ({v.name: v for v in checkpoint.variables} for checkpoint in (a, b))
    every = [in_a.get(name) or in_b[name] for name in sorted({*in_a, *in_b})]
    names = [variable.name for variable in selection.select(every, patterns)]
    results = [_beside_values(name, in_a.get(name), in_b.get(name)) for name in names]
    allowed = tolerance or Tolerance()
    threads = parallel.thread_count(threads)
    block_bytes = max(_LEAST_BLOCK_BYTES, memory_bytes // (threads * _BYTES_A_BYTE))
    done = 0
    with ValueReader(a) as reader_a, ValueReader(b) as reader_b:

        def work(group: list[_Task]) -> list[Change]:
            return [_compare_task(reader_a, reader_b, results[t.number], t, allowed) for t in group]

        for group, changes in parallel.in_order(
            _groups(results, block_bytes, trust_crcs=trust_crcs), work, threads
        ):
            for task, change in zip(group, changes, strict=True):
                total = results[task.number].change
                assert total is not None
                if change.elements:
                    total.add(change)
                variable = results[task.number].first
                assert variable is not None
                done += (task.block.end - task.block.begin) * _row_bytes(variable, task.block)
            progress(done)
        for result in results:
            if result.change is not None and not _is_trusted(result, trust=trust_crcs):
                assert result.first is not None
                assert result.second is not None
                if result.first.dtype != "string":
                    reader_a.check(result.first)
                    reader_b.check(result.second)
        results = [_with_bytes(result, reader_a, reader_b, trust=trust_crcs) for result in results]
    return [_judged(result) for result in results]


def _beside_values(name: str, first: Variable | None, second: Variable | None) -> Difference:
    if first is None or second is None:
        return Difference(name, "only in A" if first else "only in B", first, second)
    if first.shape != second.shape:
        return Difference(name, "shape", first, second)
    kind = "dtype" if first.dtype != second.dtype else "same"
    is_comparable = all(
        v.dtype == "string" or dtypes.element_bytes(v.dtype) for v in (first, second)
    ) and (first.dtype == "string") == (second.dtype == "string")
    return Difference(name, kind, first, second, Change() if is_comparable else None)


def _with_bytes(
    result: Difference, reader_a: ValueReader, reader_b: ValueReader, *, trust: bool
) -> Difference:
    """Compares the bytes of what has no values to compare, such as variants."""
    first, second = result.first, result.second
    if result.kind != "same" or result.change is not None or first is None or second is None:
        return result
    if _is_trusted(result, trust=trust):
        return result
    same = reader_a.read_encoded(first) == reader_b.read_encoded(second)
    return result if same else result._replace(kind="values")


def _judged(result: Difference) -> Difference:
    has_changed = result.kind == "same" and result.change is not None and result.change.elements
    return result._replace(kind="values") if has_changed else result


def _is_trusted(result: Difference, *, trust: bool) -> bool:
    first, second = result.first, result.second
    if not trust or first is None or second is None or first.dtype != second.dtype:
        return False
    keys = [[(p.slice, p.size, p.crc) for p in v.pieces] for v in (first, second)]
    return keys[0] == keys[1] and all(piece.crc >= 0 for piece in first.pieces)


def _groups(
    results: Sequence[Difference], block_bytes: int, *, trust_crcs: bool
) -> Iterator[list[_Task]]:
    group: list[_Task] = []
    size = 0
    for number, result in enumerate(results):
        if result.change is None or _is_trusted(result, trust=trust_crcs):
            continue
        assert result.first is not None
        is_text = result.first.dtype == "string"
        blocks = [Block((), 0, 0)] if is_text else values.blocks(result.first, block_bytes)
        for block in blocks:
            group.append(_Task(number, block))
            size += (block.end - block.begin) * _row_bytes(result.first, block)
            if size >= block_bytes or is_text:
                yield group
                group, size = [], 0
    if group:
        yield group


def _row_bytes(variable: Variable, block: Block) -> int:
    rest = variable.shape[len(block.lead) + 1 :]
    return math.prod(rest) * dtypes.element_bytes(variable.dtype)


def _compare_task(
    reader_a: ValueReader,
    reader_b: ValueReader,
    result: Difference,
    task: _Task,
    tolerance: Tolerance,
) -> Change:
    first, second = result.first, result.second
    assert first is not None
    assert second is not None
    if first.dtype == "string":
        return _compare_strings(reader_a.read_strings(first), reader_b.read_strings(second))
    a, b = reader_a.read_block(first, task.block), reader_b.read_block(second, task.block)
    return _compare_arrays(a, b, task.block, tolerance, is_scalar=not first.shape)


def _compare_strings(a: Any, b: Any) -> Change:
    import numpy as np

    differs = np.asarray(a != b, bool)
    return _change_of(differs, np.where(differs, math.inf, 0.0), differs * 1.0, Block((), 0, 0))


def _compare_arrays(
    a: Any, b: Any, block: Block, tolerance: Tolerance, *, is_scalar: bool
) -> Change:
    import numpy as np

    if a.dtype == b.dtype and np.array_equal(a.view(np.uint8), b.view(np.uint8)):
        return Change()
    if a.dtype == b.dtype and a.dtype.kind in "iu":
        change = _integer_change(a, b).astype(np.float64)
        a, b = a.astype(np.float64), b.astype(np.float64)
    else:
        wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
        a, b = a.astype(wide), b.astype(wide)
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.abs(b - a)
        change[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        change[np.isnan(change)] = math.inf
    magnitude = np.maximum(np.abs(a), np.abs(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(np.isfinite(magnitude), change / magnitude, math.inf)
        relative[change == 0] = 0.0
        differs = (change > tolerance.absolute) & (relative > tolerance.relative)
    if is_scalar:
        differs, change, relative = (array.reshape(()) for array in (differs, change, relative))
    return _change_of(differs, change, relative, block)


def _integer_change(a: Any, b: Any) -> Any:
    """The absolute change of integers, exactly, as unsigned ones."""
    import numpy as np

    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    wide_a, wide_b = a.astype(unsigned), b.astype(unsigned)
    return np.where(a > b, wide_a - wide_b, wide_b - wide_a)


def _change_of(differs: Any, change: Any, relative: Any, block: Block) -> Change:
    import numpy as np

    count = int(np.count_nonzero(differs))
    if not count:
        return Change()
    masked = np.where(differs, change, -1.0)
    local = np.unravel_index(int(masked.argmax()), masked.shape)
    place: tuple[int, ...] = tuple(int(index) for index in local)
    if place:
        place = (*block.lead, place[0] + block.begin, *place[1:])
    if block.lead or not differs.shape:
        rows = [block.lead[0]] if block.lead else [0]
        row_count, last_row = 1, rows[0]
    else:
        by_row = differs.reshape(differs.shape[0], -1).any(axis=1)
        row_count = int(by_row.sum())
        found = np.flatnonzero(by_row) + block.begin
        rows, last_row = found[:_MOST_ROWS].tolist(), int(found[-1])
    return Change(
        elements=count,
        absolute=float(masked.max()),
        relative=float(relative[differs].max()),
        place=place,
        row_count=row_count,
        rows=rows,
        last_row=last_row,
    )
