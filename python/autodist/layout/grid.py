"""A grid: how a logical variable is cut into shards.

A grid cuts each dimension into consecutive ranges; a shard is one range per dimension. The shards
are numbered in row-major order of their place in the grid. Example: a 10 x 4 variable with sizes
`((7, 3), (2, 2))` has the shards

    0: [0, 7) x [0, 2)     1: [0, 7) x [2, 4)
    2: [7, 10) x [0, 2)    3: [7, 10) x [2, 4)

Invariant: the boxes of a grid tile the shape: no overlap, no hole. It holds by construction, for
the sizes along each dimension add up to the dimension.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

from autodist.layout.box import Box


def even_sizes(dim: int, count: int) -> tuple[int, ...]:
    """Cuts `dim` into `count` ranges whose sizes differ by at most one, larger ones first."""
    if count < 1:
        raise ValueError(f"a dimension is cut into at least 1 range, not {count}")
    return tuple(dim // count + (i < dim % count) for i in range(count))


def sub_batch_bounds(rows: int, count: int) -> list[tuple[int, int]]:
    """The rows `[start, end)` of a batch of `rows` that each of `count` replicas works on.

    The sub-batches are consecutive, with sizes as in `even_sizes`. A replica whose sub-batch would
    be empty works on the last row as well. `graph.building.values.means` does the same in the
    graph, and gives what such a replica computes no weight.
    """
    bounds, start = [], 0
    for size in even_sizes(rows, count):
        first = max(min(start, rows - 1), 0)
        bounds.append((first, first + max(size, min(rows, 1))))
        start += size
    return bounds


@dataclasses.dataclass(frozen=True)
class Grid:
    """How a logical variable is cut.

    Attributes:
      sizes: per dimension the sizes of the consecutive ranges it is cut into, e.g. `((7, 3),
        (4,))`.
    """

    sizes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for axis, sizes in enumerate(self.sizes):
            if not sizes or min(sizes) < 0:
                raise ValueError(
                    f"axis {axis} must be cut into ranges of 0 or more indices; got {sizes}"
                )

    @staticmethod
    def whole(shape: tuple[int, ...]) -> Grid:
        """The grid of one shard."""
        return Grid(tuple((d,) for d in shape))

    @staticmethod
    def along(shape: tuple[int, ...], axis: int, count: int) -> Grid:
        """`count` shards along `axis`, as even as can be."""
        return Grid(tuple(even_sizes(d, count) if i == axis else (d,) for i, d in enumerate(shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        """The full shape of the variable."""
        return tuple(sum(s) for s in self.sizes)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of ranges per dimension."""
        return tuple(len(s) for s in self.sizes)

    @property
    def shard_count(self) -> int:
        """Number of shards; a scalar has one."""
        return math.prod(self.counts)

    @property
    def is_whole(self) -> bool:
        """Whether the variable is in one piece."""
        return self.shard_count == 1

    @property
    def cut_axes(self) -> tuple[int, ...]:
        """The dimensions that are cut into more than one range."""
        return tuple(i for i, s in enumerate(self.sizes) if len(s) > 1)

    def starts(self, axis: int) -> tuple[int, ...]:
        """The first index of each range along `axis`."""
        return tuple(itertools.accumulate(self.sizes[axis], initial=0))[:-1]

    def boxes(self) -> tuple[Box, ...]:
        """The boxes of the shards, in row-major order of the grid."""
        ranges = [list(zip(self.starts(a), s, strict=True)) for a, s in enumerate(self.sizes)]
        return tuple(
            Box(tuple(start for start, _ in place), tuple(size for _, size in place))
            for place in itertools.product(*ranges)
        )

    def place(self, shard: int) -> tuple[int, ...]:
        """The place of `shard` in the grid: which range along each dimension."""
        place = []
        for count in reversed(self.counts):
            shard, index = divmod(shard, count)
            place.append(index)
        return tuple(reversed(place))
