"""Which boxes a tensor is written as, and which data file holds them.

A rule says how the tensors of a glob are cut, along one or several axes:

    emb*=0:4            along axis 0 into 4, as TensorFlow's partitioners do
    emb*=0:[3,3,4]      along axis 0 into 3, 3 and 4 rows
    w=0:2x1:4           a grid of 2 by 4, in row-major order
    *=whole             not cut

The first rule whose glob takes a name counts. A tensor of too low a rank stays whole.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from autodist import _log
from autodist.workbench.errors import ArgumentError
from autodist.workbench.writing.stored import Box, Dims

_CUT = re.compile(r"(\d+):(?:(\d+)|\[(\d+(?:,\d+)*)\])")
_MOST_PIECES = 1 << 20


@dataclass(frozen=True)
class PartitionRule:
    """How the tensors whose names a glob takes are cut."""

    glob: str
    cuts: dict[int, int | tuple[int, ...]]  # by axis: into how many, or into which lengths

    @classmethod
    def parse(cls, text: str) -> PartitionRule:
        """Reads a rule.

        Raises:
            ArgumentError: it is none.
        """
        glob, equals, layout = text.rpartition("=")
        if not equals or not glob:
            raise ArgumentError(
                f"{text!r} is no partition rule: expected GLOB=AXIS:PIECES, as in 'emb*=0:4', or "
                "GLOB=whole"
            )
        cuts: dict[int, int | tuple[int, ...]] = {}
        for cut in layout.split("x") if layout != "whole" else ():
            match = _CUT.fullmatch(cut)
            if match is None:
                raise ArgumentError(
                    f"{text!r}: {cut!r} is no cut: expected AXIS:PIECES, as in '0:4', or "
                    "AXIS:[LENGTH,...]"
                )
            axis, count, lengths = match.groups()
            if int(axis) in cuts:
                raise ArgumentError(f"{text!r} cuts axis {axis} twice")
            cut_to = int(count) if count else tuple(int(length) for length in lengths.split(","))
            if cut_to == 0 or (isinstance(cut_to, tuple) and 0 in cut_to):
                raise ArgumentError(f"{text!r}: there are no pieces without elements")
            cuts[int(axis)] = cut_to
        return cls(glob, cuts)

    def takes(self, name: str) -> bool:
        """Whether the rule is one for this name."""
        return fnmatch.fnmatchcase(name, self.glob)

    def boxes(self, name: str, shape: Dims) -> list[Box]:
        """The boxes of a tensor of `shape`, in row-major order.

        Raises:
            ArgumentError: given lengths do not make up the axis.
        """
        if not self.cuts or max(self.cuts) >= len(shape) or 0 in shape:
            return [Box.whole(shape)]
        intervals = [
            _intervals(name, axis, size, self.cuts.get(axis, 1)) for axis, size in enumerate(shape)
        ]
        count = 1
        for axis_intervals in intervals:
            count *= len(axis_intervals)
        if count > _MOST_PIECES:
            raise ArgumentError(f"tensor {name!r} would be cut into {count} pieces")
        return [
            Box(tuple(start for start, _ in cell), tuple(length for _, length in cell))
            for cell in itertools.product(*intervals)
        ]


def _intervals(
    name: str, axis: int, size: int, cut: int | tuple[int, ...]
) -> list[tuple[int, int]]:
    """(start, length) of the pieces of an axis; the first ones have the odd rows."""
    if isinstance(cut, tuple):
        if sum(cut) != size:
            raise ArgumentError(
                f"tensor {name!r}: the pieces of axis {axis} add up to {sum(cut)}, expected {size}"
            )
        lengths: Sequence[int] = cut
    else:
        count = min(cut, size)
        lengths = [size // count + (number < size % count) for number in range(count)]
    return list(zip(itertools.accumulate(lengths, initial=0), lengths, strict=False))


def spread(sizes: Sequence[int], file_count: int) -> list[int]:
    """Chooses a data file for each piece: each goes to the one with the fewest bytes so far.

    Args:
        sizes: Bytes of the pieces, in the order of the checkpoint.
        file_count: How many data files there are to be.

    Returns:
        The number of the file of each piece. Each file gets one.

    Raises:
        ArgumentError: there are fewer pieces than files.
    """
    if len(sizes) < file_count:
        raise ArgumentError(
            f"{_log.count(len(sizes), 'piece')} cannot be spread over {file_count} data files: each must "
            "hold one"
        )
    held = [0] * file_count
    counts = [0] * file_count
    files = []
    for size in sizes:
        file = min(range(file_count), key=lambda number: (counts[number] > 0, held[number], number))
        held[file] += size
        counts[file] += 1
        files.append(file)
    return files
