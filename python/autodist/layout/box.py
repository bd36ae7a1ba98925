"""A box: the part of a logical variable that one shard holds."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Box:
    """A half-open box of a tensor: `[start, start + extent)` along each dimension.

    Attributes:
      start: first index per dimension.
      extent: number of indices per dimension; as long as `start`.
    """

    start: tuple[int, ...]
    extent: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.start) != len(self.extent):
            raise ValueError(
                f"a box needs one start and one extent per dimension; got start {self.start} "
                f"and extent {self.extent}"
            )

    @property
    def element_count(self) -> int:
        """Number of elements in the box."""
        return math.prod(self.extent)

    def shifted(self, offset: tuple[int, ...]) -> Box:
        """This box, moved by `offset` (one integer per dimension)."""
        start = tuple(s + o for s, o in zip(self.start, offset, strict=True))
        return Box(start, self.extent)

    def slice_spec(self, shape: tuple[int, ...]) -> str:
        """TensorFlow's `shape_and_slice` text for this box of a tensor of `shape`.

        Example: the second half of the rows of a 4 x 3 tensor is `4 3 2,2:0,3`. The form is the one
        of `tf.Variable.SaveSliceInfo.spec`.
        """
        full = " ".join(str(d) for d in shape)
        slices = ":".join(f"{s},{e}" for s, e in zip(self.start, self.extent, strict=True))
        return f"{full} {slices}"

    @staticmethod
    def parse(spec: str) -> tuple[tuple[int, ...], Box]:
        """Reads a `shape_and_slice` text: the full shape and the box. Inverse of `slice_spec`.

        Raises:
          ValueError: if `spec` is not of the form `4 3 2,2:0,3`; `-` stands for a whole dimension.
        """
        *dims, last = spec.split(" ")
        shape = tuple(int(d) for d in dims)
        starts, extents = [], []
        parts = last.split(":")
        if len(parts) != len(shape):
            raise ValueError(
                f"shape_and_slice {spec!r}: {len(shape)} dimensions, {len(parts)} slices"
            )
        for dim, part in zip(shape, parts, strict=True):
            if part == "-":
                starts.append(0)
                extents.append(dim)
            else:
                start, extent = part.split(",")
                starts.append(int(start))
                extents.append(int(extent))
        return shape, Box(tuple(starts), tuple(extents))
