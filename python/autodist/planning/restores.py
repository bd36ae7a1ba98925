"""Plans which bytes of which file a restore reads, and where each of them goes.

    stored (pieces)                             wanted (targets)
    rows [0, 6), bytes [0, 96) of file 0   ---> rows [0, 4)   on device 0
                                           `--> rows [4, 8)   on device 1
    rows [6, 12), bytes [0, 96) of file 1  ---'
                                           `--> rows [8, 12)  on device 2

A piece is what one entry of a checkpoint's index stores: a whole variable or a slice of it. What a
piece and a target share is a *transfer*: one range of bytes where their elements follow each other
in both, else several runs of equal length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autodist import _native
from autodist.layout import Box
from autodist.planning.boxes import Integers, arrays_of, integers


@dataclasses.dataclass(frozen=True)
class StoredVariable:
    """Where a checkpoint holds a logical variable.

    Attributes:
        name: Of the variable.
        item_bytes: Of an element.
        shape: Of the whole variable.
        starts: The first index of each piece, of shape `[pieces, rank]`. Pieces do not overlap.
        extents: Their lengths, of the same shape.
        files: The number of the data file that each piece is in.
        offsets: Of the first byte of each piece in its file.
    """

    name: str
    item_bytes: int
    shape: tuple[int, ...]
    starts: Integers
    extents: Integers
    files: Integers
    offsets: Integers

    @staticmethod
    def of_boxes(  # noqa: PLR0917 as of_arrays
        name: str,
        item_bytes: int,
        shape: Sequence[int],
        boxes: Sequence[Box],
        offsets: Sequence[int],
        files: Sequence[int] | None = None,
    ) -> StoredVariable:
        """A variable that is stored in boxes.

        Args:
            name: Of the variable.
            item_bytes: Of an element.
            shape: Of the whole variable.
            boxes: One for each piece.
            offsets: Of each piece in its data file.
            files: The number of the data file of each; by default all are in file 0.
        """
        starts, extents = arrays_of(boxes, len(shape))
        return StoredVariable.of_arrays(name, item_bytes, shape, starts, extents, offsets, files)

    @staticmethod
    def of_arrays(  # noqa: PLR0917 as of_boxes
        name: str,
        item_bytes: int,
        shape: Sequence[int],
        starts: Any,
        extents: Any,
        offsets: Any,
        files: Any = None,
    ) -> StoredVariable:
        """A variable of very many pieces, as arrays; the arguments are the attributes."""
        count, rank = len(np.asarray(starts)), len(shape)
        if item_bytes <= 0:
            raise ValueError(f"variable {name!r}: elements must have bytes, not {item_bytes}")
        return StoredVariable(
            name,
            item_bytes,
            tuple(shape),
            integers(starts, f"starts of {name!r}", (count, rank)),
            integers(extents, f"extents of {name!r}", (count, rank)),
            integers(
                np.zeros(count, int) if files is None else files, f"files of {name!r}", (count,)
            ),
            integers(offsets, f"offsets of {name!r}", (count,)),
        )


@dataclasses.dataclass(frozen=True)
class WantedVariable:
    """The shards that a logical variable is restored into.

    Attributes:
        name: Of the variable.
        shape: Of the whole variable.
        starts: The first index of each target, of shape `[targets, rank]`. Targets may overlap, as
            replicas do, and need not make up the whole.
        extents: Their lengths, of the same shape.
        devices: The device that each target is on.
    """

    name: str
    shape: tuple[int, ...]
    starts: Integers
    extents: Integers
    devices: Integers

    @staticmethod
    def of_boxes(
        name: str, shape: Sequence[int], boxes: Sequence[Box], devices: Sequence[int]
    ) -> WantedVariable:
        """A variable of which boxes are wanted, for instance those of a `Grid`.

        Args:
            name: Of the variable.
            shape: Of the whole variable.
            boxes: One for each target.
            devices: The device that each target is on.
        """
        return WantedVariable.of_arrays(name, shape, *arrays_of(boxes, len(shape)), devices)

    @staticmethod
    def of_arrays(
        name: str, shape: Sequence[int], starts: Any, extents: Any, devices: Any
    ) -> WantedVariable:
        """A variable of very many targets, as arrays; the arguments are the attributes."""
        count, rank = len(np.asarray(starts)), len(shape)
        return WantedVariable(
            name,
            tuple(shape),
            integers(starts, f"starts of {name!r}", (count, rank)),
            integers(extents, f"extents of {name!r}", (count, rank)),
            integers(devices, f"devices of {name!r}", (count,)),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class RestorePlan:
    """The transfers of a restore as arrays, variable by variable, target by target.

    Attributes:
        variable: The number of the variable among those wanted.
        piece: The number of the piece of the variable that the bytes come from.
        target: The number of the variable's target that they go to.
        device: The device that the target is on.
        file: The number of the data file.
        begin: The first byte, in the file.
        end: Past the last byte, in the file.
        size_bytes: How many bytes of `[begin, end)` go to the target: all, if they are one run.
    """

    variable: npt.NDArray[np.int32]
    piece: npt.NDArray[np.int32]
    target: npt.NDArray[np.int32]
    device: Integers
    file: npt.NDArray[np.int32]
    begin: Integers
    end: Integers
    size_bytes: Integers
    _planner: Any

    def __len__(self) -> int:
        return len(self.begin)

    def runs(self, transfer: int) -> Integers:
        """The runs of a transfer: rows of first byte in the file, first in the target, count."""
        runs: Integers = self._planner.runs(transfer)
        return runs

    def reads(self, devices: Sequence[int] | None = None) -> Integers:
        """What some devices read, as rows of: file, first byte, past the last byte.

        No byte is in two of them.

        Args:
            devices: Those of one machine, for instance: it reads a byte once, whatever the number
                of its shards and replicas. By default, all.
        """
        transfers = np.arange(len(self))
        if devices is not None:
            transfers = np.flatnonzero(np.isin(self.device, np.asarray(devices)))
        reads: Integers = self._planner.reads(transfers)
        return reads


def plan_restore(stored: Sequence[StoredVariable], wanted: Sequence[WantedVariable]) -> RestorePlan:
    """Finds where every wanted element is stored.

    Args:
        stored: What there is, in any layout; more than is wanted does not hurt.
        wanted: What is wanted, in any other layout.

    Raises:
        ValueError: A variable is not stored, or has another shape; all such are named. Or boxes lie
            outside their variable, stored ones overlap, or wanted elements are not stored; the
            first is named, with the missing elements.
    """
    by_name = {variable.name: variable for variable in stored}
    problems = []
    for want in wanted:
        found = by_name.get(want.name)
        if found is None:
            problems.append(f"variable {want.name!r} is not stored")
        elif found.shape != want.shape:
            problems.append(
                f"variable {want.name!r} has the shape {list(found.shape)}, wanted "
                f"{list(want.shape)}"
            )
    if problems:
        raise ValueError("\n".join(problems))
    planner = _native.planning().RestorePlanner()
    for want in wanted:
        found = by_name[want.name]
        planner.add(
            want.name,
            list(want.shape),
            found.item_bytes,
            found.starts,
            found.extents,
            found.files,
            found.offsets,
            want.starts,
            want.extents,
        )
    transfers = planner.transfers()
    firsts = np.cumsum([0, *(len(want.devices) for want in wanted)])
    devices = np.concatenate([np.zeros(0, np.int64), *(want.devices for want in wanted)])
    device = devices[firsts[transfers["variable"]] + transfers["target"]]
    return RestorePlan(**transfers, device=device, _planner=planner)
