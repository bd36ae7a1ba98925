"""Where the bytes of tensors lie: what the workbench reads from, and what it plans to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes
from autodist.workbench.reading.checkpoint import Variable

Dims = tuple[int, ...]
Extents = tuple[tuple[int, int], ...]
"""(start, length) on each axis; a length of -1 is all of the axis."""


class Limits(NamedTuple):
    """What a command may use."""

    threads: int = 2
    memory_bytes: int = 256 << 20  # for blocks of values, over all threads

    @property
    def block_bytes(self) -> int:
        """Bytes of one block, of which a thread holds at most four."""
        return min(8 << 20, max(64 << 10, self.memory_bytes // (4 * max(1, self.threads))))


def memory_option(size: int) -> str:
    """The option that allows so many bytes, for messages."""
    return f"--memory {-(-size // (1 << 20))}"


class OpenedFile(NamedTuple):
    """A file that is open for the life of a command."""

    descriptor: int
    path: str  # for messages


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a tensor, as cc/core/boxes/box.h has it."""

    start: Dims
    extent: Dims

    @classmethod
    def whole(cls, shape: Dims) -> Box:
        """The box that is all of a tensor."""
        return cls((0,) * len(shape), shape)

    @classmethod
    def of(cls, place: Extents, shape: Dims) -> Box:
        """The box of a slice, as an index spells it, of a tensor of `shape`."""
        return cls(
            tuple(start for start, _ in place),
            tuple(
                size if length < 0 else length
                for (_, length), size in zip(place, shape, strict=True)
            ),
        )

    @property
    def elements(self) -> int:
        """How many there are."""
        count = 1
        for size in self.extent:
            count *= size
        return count

    @property
    def place(self) -> Extents:
        """As stock spells the slice of a partitioned variable: every axis with start and length."""
        return tuple(zip(self.start, self.extent, strict=True))


@dataclass(frozen=True, slots=True)
class StoredPiece:
    """A box of a tensor, dense in row-major order in a file; or strings or variants, encoded."""

    file: OpenedFile
    offset: int
    size: int  # bytes
    crc: int | None  # as an index holds it, unmasked; None if the source has none
    box: Box
    place: Extents | None = None  # as its index spells it; None of a whole tensor
    file_number: int = 0  # among the data files of its checkpoint


@dataclass(slots=True)
class StoredTensor:
    """A tensor with all the pieces that it is stored as."""

    name: str  # what is not UTF-8 is escaped as os.fsdecode does
    dtype: str  # as tf.as_dtype takes it
    shape: Dims
    pieces: list[StoredPiece] = field(default_factory=list)
    _by_box: dict[Box, StoredPiece] = field(default_factory=dict, init=False, repr=False)

    @property
    def is_sliced(self) -> bool:
        """Whether it is stored as slices."""
        return any(piece.place is not None for piece in self.pieces)

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return sum(piece.size for piece in self.pieces)

    def piece_of(self, box: Box) -> StoredPiece | None:
        """The piece that is exactly this box; None if there is none."""
        if len(self.pieces) == 1:
            return self.pieces[0] if self.pieces[0].box == box else None
        if len(self._by_box) != len(self.pieces):
            self._by_box = {piece.box: piece for piece in self.pieces}
        return self._by_box.get(box)


def stored_tensor(variable: Variable, files: Mapping[int, OpenedFile]) -> StoredTensor:
    """Returns where the bytes of a variable of a checkpoint lie.

    Args:
        variable: of a checkpoint of the V2 format.
        files: the data files of the checkpoint by number, open.

    Raises:
        DamagedError: what the index says of the variable contradicts itself.
    """
    tensor = StoredTensor(variable.name, variable.dtype, variable.shape)
    width = dtypes.element_bytes(variable.dtype)
    for piece in variable.pieces:
        box = Box(piece.starts, piece.shape)
        if piece.offset < 0 or piece.size < 0 or piece.file not in files:
            raise _contradiction(variable, f"it lies at byte {piece.offset} of file {piece.file}")
        if width and piece.size != box.elements * width:
            raise _contradiction(
                variable, f"{piece.size} bytes are stored, expected {box.elements * width}"
            )
        place = place_of(piece.slice) if piece.slice else None
        tensor.pieces.append(
            StoredPiece(
                files[piece.file], piece.offset, piece.size, piece.crc, box, place, piece.file
            )
        )
    if width == 0 and variable.dtype not in dtypes.VARYING:
        raise _contradiction(variable, f"the dtype {variable.dtype} cannot be stored")
    return tensor


def place_of(text: str) -> Extents:
    """The extents that a slice spells, as in '0,4:-'."""
    extents = []
    for axis in text.split(":"):
        start, _, length = axis.partition(",")
        extents.append((0, -1) if axis == "-" else (int(start), int(length)))
    return tuple(extents)


def _contradiction(variable: Variable, problem: str) -> errors.DamagedError:
    return errors.DamagedError(
        f"tensor {printable(variable.name)!r} of dtype {variable.dtype} and shape "
        f"{list(variable.shape)}: {problem}. The index is damaged."
    )
