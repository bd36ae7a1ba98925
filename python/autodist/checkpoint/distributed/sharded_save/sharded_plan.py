"""Plans which task writes which variables where every task writes a data file of its own.

Runs nothing.

A value of one task is written there. Replicas of several tasks become one value on the task of them
that has least to write, to which the others are sent. Slices of a variable that lie on several
tasks stay slices, as a sharded bundle of stock TensorFlow has them; only where whole variables were
asked for and stock TensorFlow cannot join such slices, they are sent to one task. Values that are
no variables go to the chief.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from autodist import _native, planning

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.variables.sources import PlacedSave, Source


@dataclasses.dataclass(frozen=True)
class DataFile:
    """One data file: the values that one op writes to it.

    Attributes:
        task: Where it runs.
        layout: `'original'`, `'slices'` or `'restorable'`.
        numbers: Of the sources, in the order of the node.
    """

    task: str
    layout: str
    numbers: tuple[int, ...]


def plan(placed: PlacedSave, homes: Sequence[str], chief: str) -> list[DataFile]:
    """Returns the data files, those of the chief first.

    A task has one, or two where some of its partitioned variables must be whole and others cannot.

    Args:
        placed: What is saved.
        homes: The task of each source.
        chief: The task that writes values that are no variables.
    """
    writers = dict(_writers(placed, homes, chief))
    tasks_of: dict[bytes, set[str]] = collections.defaultdict(set)
    for number, writer in writers.items():
        tasks_of[placed.sources[number].name].add(writer)
    with_slices = {
        writer
        for number, writer in writers.items()
        if len(tasks_of[placed.sources[number].name]) > 1
    }
    numbers: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for number in sorted(writers):
        layout = placed.request.layout
        if writers[number] in with_slices and not _must_be_whole(placed, placed.sources[number]):
            layout = "slices"
        numbers[writers[number], layout].append(number)
    return [
        DataFile(task, layout, tuple(numbers[task, layout]))
        for task, layout in sorted(numbers, key=lambda key: (key[0] != chief, key))
    ]


def static_bytes(source: Source) -> int | None:
    """Returns the size of a variable's value in bytes; `None` if the graph does not tell it."""
    if source.variable is None or source.is_encoded:
        return None
    shape = tf.TensorShape(source.variable.get_attr("shape"))
    if not shape.is_fully_defined():
        return None
    return int(math.prod(shape.as_list())) * int(source.dtype.size)


def _writers(placed: PlacedSave, homes: Sequence[str], chief: str) -> dict[int, str]:
    """Returns the task that writes each source, by number.

    Replicas that the aggregation ignores have none.
    """
    writers = {
        number: chief if source.variable is None else homes[number]
        for number, source in enumerate(placed.sources)
    }
    copies: dict[tuple[bytes, ...], list[int]] = collections.defaultdict(list)
    for number, source in enumerate(placed.sources):
        together = _must_be_whole(placed, source)
        copies[(source.name,) if together else (source.name, source.slice_spec)].append(number)
    written: list[list[int]] = []
    several: list[list[int]] = []
    for numbers in copies.values():
        if len({writers[number] for number in numbers}) == 1:
            written.append(numbers)
        elif placed.sources[numbers[0]].aggregation == b"ONLY_FIRST_REPLICA":
            several.append(_first_copies(placed, numbers, writers))
        else:
            several.append(numbers)
    written += several
    tasks = list(dict.fromkeys(writers.values()))
    task_numbers = {task: number for number, task in enumerate(tasks)}
    chosen = planning.choose_writers(
        [_bytes(placed, numbers) for numbers in written],
        [list(dict.fromkeys(task_numbers[writers[i]] for i in numbers)) for numbers in written],
        len(tasks),
    )
    for numbers, writer in zip(written, chosen, strict=True):
        writers.update(dict.fromkeys(numbers, tasks[writer]))
    return writers


def _first_copies(placed: PlacedSave, numbers: list[int], writers: dict[int, str]) -> list[int]:
    """Removes from `writers` the copies of a slice after its first.

    Returns the numbers that are left.
    """
    seen: set[bytes] = set()
    first = []
    for number in numbers:
        spec = placed.sources[number].slice_spec
        if spec in seen:
            del writers[number]
        else:
            first.append(number)
        seen.add(spec)
    return first


def _must_be_whole(placed: PlacedSave, source: Source) -> bool:
    """Tells whether one task must write all slices: stock TensorFlow cannot join them."""
    return bool(source.slice_spec) and _native.bundle().is_written_whole(
        source.dtype.as_datatype_enum, placed.request.layout, own_files=True
    )


def _bytes(placed: PlacedSave, numbers: Sequence[int]) -> int:
    slices = {placed.sources[number].slice_spec: number for number in numbers}
    return sum(static_bytes(placed.sources[number]) or 0 for number in slices.values())
