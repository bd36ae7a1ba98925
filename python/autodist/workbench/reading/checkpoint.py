"""A checkpoint: variables, and the pieces of files that hold their values."""

from __future__ import annotations

import math
from typing import NamedTuple

from autodist.workbench.reading import dtypes


class Piece(NamedTuple):
    """Where a file has a value: all of a variable, or one slice of it.

    Attributes:
        file: The number of the file in `Checkpoint.files`.
        offset: Of the first byte in it; -1 in the V1 format, which has no bytes of one piece.
        size: In bytes; in the V1 format what the elements take in memory.
        crc: CRC32C of the bytes, not masked; -1 in the V1 format.
        starts: The first index of each axis.
        shape: Of the piece.
        slice: As TensorFlow spells it, `'0,4:-'`; `''` for all of a variable.
    """

    file: int
    offset: int
    size: int
    crc: int
    starts: tuple[int, ...]
    shape: tuple[int, ...]
    slice: str


class Variable(NamedTuple):
    """A variable of a checkpoint.

    Attributes:
        name: In a checkpoint by objects it is a key such as `w/.ATTRIBUTES/VARIABLE_VALUE`.
        dtype: As `tf.as_dtype` takes it.
        shape: Of all of it.
        pieces: One, or a slice each; in the order in which the index lists them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def is_sliced(self) -> bool:
        """Whether it is stored in slices."""
        return len(self.pieces) != 1 or bool(self.pieces[0].slice)

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of its pieces."""
        return sum(piece.size for piece in self.pieces)


class Checkpoint(NamedTuple):
    """A checkpoint.

    Attributes:
        prefix: What `Saver.restore` takes.
        format: `'V2'` or `'V1'`.
        files: The paths of the files that pieces name by number.
        index_file: The path of the index file; `''` in the V1 format.
        variables: In the order of their names.
        unlisted_slices: Stored slices that belong to no variable.
    """

    prefix: str
    format: str
    files: tuple[str, ...]
    index_file: str
    variables: tuple[Variable, ...]
    unlisted_slices: int = 0

    def find(self, name: str) -> Variable | None:
        """Returns the variable of a name."""
        return next((variable for variable in self.variables if variable.name == name), None)


def slice_text(extents: tuple[tuple[int, int], ...]) -> str:
    """Returns a slice as TensorFlow spells it.

    Args:
        extents: First index and length of each axis; a length of -1 is all of it.
    """
    return ":".join("-" if length < 0 else f"{start},{length}" for start, length in extents)


def place(
    extents: tuple[tuple[int, int], ...], shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the first indices and the shape of a slice of a variable of `shape`."""
    starts = tuple(start for start, _ in extents)
    lengths = (
        dim if length < 0 else length for (_, length), dim in zip(extents, shape, strict=True)
    )
    return starts, tuple(lengths)


def memory_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Returns the bytes of a tensor in memory; 0 for strings and variants."""
    return dtypes.element_bytes(dtype) * math.prod(shape)
