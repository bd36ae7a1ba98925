"""Plans which device writes which bytes of a data file that several devices write.

    variable   held by             written by
    a          rows on 0, 1        0: its rows     1: its rows
    b          all on 0, on 1      0: one half     1: the other
    c          columns on 0, 1     0: one half, as the bytes lie in the file     1: the other

The file holds the variables in the order given, each whole and in row-major order, as stock
TensorFlow writes them. A shard whose bytes lie together there is written by devices that hold it.
Shards whose bytes alternate in the file, like columns, are planned as a whole: each device that
holds one may write any part. Other devices send it the bytes that it does not hold, as they do to
average replicas. The plan balances bytes: the busiest device writes at most 6 % more than the
layout requires.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autodist import _native
from autodist.layout import Box
from autodist.planning.boxes import Integers, arrays_of, integers


@dataclasses.dataclass(frozen=True)
class HeldVariable:
    """A logical variable and the devices that hold its shards.

    Attributes:
        name: For messages.
        item_bytes: Of an element.
        shape: Of the whole variable.
        starts: The first index of each shard, of shape `[shards, rank]`. Shards tile the variable;
            each stands here once, whatever the number of its replicas.
        extents: Their lengths, of the same shape.
        first_holders: Where the holders of each shard begin in `holders`, and where the last ones
            end.
        holders: The devices that hold each shard, as numbers from 0 on; one for each replica.
    """

    name: str
    item_bytes: int
    shape: tuple[int, ...]
    starts: Integers
    extents: Integers
    first_holders: Integers
    holders: Integers

    @staticmethod
    def of_boxes(
        name: str,
        item_bytes: int,
        shape: Sequence[int],
        boxes: Sequence[Box],
        holders: Sequence[Sequence[int]],
    ) -> HeldVariable:
        """A variable of boxes, for instance those of a `Grid`.

        Args:
            name: For messages.
            item_bytes: Of an element.
            shape: Of the whole variable.
            boxes: One for each shard.
            holders: For each shard the devices that hold it.
        """
        if len(holders) != len(boxes):
            raise ValueError(
                f"variable {name!r}: {len(boxes)} shards, and holders of {len(holders)}"
            )
        firsts = np.cumsum([0, *map(len, holders)])
        flat = [device for of_shard in holders for device in of_shard]
        starts, extents = arrays_of(boxes, len(shape))
        return HeldVariable(
            name, item_bytes, tuple(shape), starts, extents, firsts, np.array(flat, np.int64)
        )

    @staticmethod
    def of_arrays(  # noqa: PLR0917 as of_boxes
        name: str, item_bytes: int, shape: Sequence[int], starts: Any, extents: Any, holders: Any
    ) -> HeldVariable:
        """A variable of very many shards, each with the same number of replicas.

        Args:
            name: For messages.
            item_bytes: Of an element.
            shape: Of the whole variable.
            starts: The first index of each shard, of shape `[shards, rank]`.
            extents: Their lengths, of the same shape.
            holders: For each shard the devices that hold it, of shape `[shards]` or `[shards,
                replicas]`.
        """
        count, rank = len(np.asarray(starts)), len(shape)
        devices = np.asarray(holders)
        if devices.ndim == 1:
            devices = devices[:, np.newaxis]
        devices = integers(devices, f"holders of {name!r}", (count, -1))
        return HeldVariable(
            name,
            item_bytes,
            tuple(shape),
            integers(starts, f"starts of {name!r}", (count, rank)),
            integers(extents, f"extents of {name!r}", (count, rank)),
            np.arange(count + 1) * devices.shape[1],
            devices.reshape(-1),
        )


@dataclasses.dataclass(frozen=True)
class WriteUnit:
    """A range of the data file that one device writes.

    Attributes:
        variable: Its number, in the order given.
        begin: First byte, from the beginning of the file.
        end: Past the last byte. Both lie between elements.
        writer: The device that writes it.
        shards: The numbers of the variable's shards that have elements in it, ascending by their
            first element.
    """

    variable: int
    begin: int
    end: int
    writer: int
    shards: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class SavePlan:
    """The units of a save as arrays, ascending: who writes which bytes. They cover the file.

    Attributes:
        offsets: Where each variable begins in the file, and where the last one ends.
        writer_bytes: What each device writes.
        variable: Of each unit, the number of its variable.
        writer: Of each unit, the device that writes it.
        begin: Of each unit, its first byte, from the beginning of the file.
        end: Of each unit, past its last byte.
        first_shard: Of each unit, where its shards begin in `shards`; units may share them.
        last_shard: Of each unit, where they end.
        shards: Numbers of shards.
    """

    offsets: Integers
    writer_bytes: Integers
    variable: npt.NDArray[np.int32]
    writer: npt.NDArray[np.int32]
    begin: Integers
    end: Integers
    first_shard: Integers
    last_shard: Integers
    shards: npt.NDArray[np.int32]

    @property
    def size_bytes(self) -> int:
        """Of the data file."""
        return int(self.offsets[-1])

    def __len__(self) -> int:
        return len(self.begin)

    def unit(self, number: int) -> WriteUnit:
        """One unit."""
        shards = self.shards[self.first_shard[number] : self.last_shard[number]]
        return WriteUnit(
            int(self.variable[number]),
            int(self.begin[number]),
            int(self.end[number]),
            int(self.writer[number]),
            tuple(shards.tolist()),
        )

    def __iter__(self) -> Iterator[WriteUnit]:
        return map(self.unit, range(len(self)))

    def units_of(self, device: int) -> list[WriteUnit]:
        """What one device writes."""
        return [self.unit(number) for number in np.flatnonzero(self.writer == device).tolist()]


def plan_save(variables: Sequence[HeldVariable], device_count: int) -> SavePlan:
    """Shares out the bytes of a checkpoint among the devices that hold them.

    The plan depends on nothing but the arguments: every process that makes it makes the same.
    Devices that hold the same bytes share a range in the order of their numbers, so few shards are
    cut. None of up to 64 KiB is cut unless there is no balance without; cuts are between elements
    and, where that is possible, between pages of 4 KiB of the file.

    Args:
        variables: In the order of the file. Strings and variants have no place in it before they
            are encoded: give them a file of their own, or as `uint8` of their encoded length.
        device_count: Holders are numbers below it.

    Raises:
        ValueError: Shards do not tile their variable, nobody holds one, or a device has no such
            number. It names the variable and the shard.
    """
    planner = _native.planning().SavePlanner()
    for held in variables:
        planner.add(
            held.name,
            list(held.shape),
            held.item_bytes,
            held.starts,
            held.extents,
            held.first_holders,
            held.holders,
        )
    return SavePlan(**planner.plan(device_count))


def choose_writers(
    sizes: Sequence[int], holders: Sequence[Sequence[int]], device_count: int
) -> list[int]:
    """Returns the device that writes each of some values, where a value cannot be divided.

    In the order of the values each goes to the one of its holders that has least to write so far,
    of equals to the first.

    Args:
        sizes: Of each value, in bytes.
        holders: For each value the devices that hold it.
        device_count: Holders are numbers below it.

    Raises:
        ValueError: A value has no holder, or a device has no such number; names the value.
    """
    writers: list[int] = _native.planning().choose_writers(sizes, holders, device_count)
    return writers
