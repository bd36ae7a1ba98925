"""Values that cannot be copied from where they are stored, in files without a name.

The V1 format stores numbers as protocol buffers do, an archive may compress them, and strings that
are cut anew get new lengths in front. Such values are decoded once, into a file beside the target
that vanishes with the process. Then they are copied like all others.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import tables
from autodist.workbench.writing.copying import write_all
from autodist.workbench.writing.stored import (
    Box,
    Extents,
    Limits,
    OpenedFile,
    StoredPiece,
    StoredTensor,
    memory_option,
)

if TYPE_CHECKING:
    import numpy as np


def existing(directory: str) -> Path:
    """Returns the directory, or the deepest one above it that is there."""
    path = Path(directory).absolute()
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


class Scratch:
    """A file without a name, to which pieces are appended."""

    def __init__(self, directory: str, held: contextlib.ExitStack) -> None:
        """Prepares; the file is made when the first piece comes.

        Args:
            directory: where there is space for it, or will be once it is made.
            held: closes it.
        """
        self._directory = directory
        self._held = held
        self._opened: OpenedFile | None = None
        self._size = 0

    @property
    def _file(self) -> OpenedFile:
        if self._opened is None:
            there = existing(self._directory)
            file = tempfile.TemporaryFile(dir=there)  # noqa: SIM115 - `held` closes it
            self._held.enter_context(file)
            self._opened = OpenedFile(file.fileno(), f"a temporary file in {there}")
        return self._opened

    def append(
        self, data: bytes | memoryview, box: Box, place: Extents | None, crc: int | None = None
    ) -> StoredPiece:
        """Stores the bytes of a piece; returns where they are.

        Args:
            data: the bytes, as a data file has them.
            box: of its tensor.
            place: as an index spells it; None for all of a tensor.
            crc: as an index holds it, where that is not the CRC of the bytes.
        """
        if crc is None:
            crc = tables.module().extend_crc(0, data)
        piece = StoredPiece(self._file, self._size, len(data), crc, box, place)
        write_all(self._file, self._size, memoryview(data))
        self._size += len(data)
        return piece

    def joined(self, pieces: Sequence[StoredPiece], box: Box) -> StoredPiece:
        """Returns one piece of what was appended as several, one right after the other."""
        concat = tables.module().concat_crc
        crc = size = 0
        for piece in pieces:
            assert piece.crc is not None
            crc = concat(crc, piece.crc, piece.size)
            size += piece.size
        offset = pieces[0].offset if pieces else self._size
        return StoredPiece(self._file, offset, size, crc, box)


def encode_strings(strings: Sequence[bytes]) -> tuple[bytes, int]:
    """Returns the bytes of a tensor of strings in a data file, and the CRC that its entry holds.

    cc/tables/sums/stored_bytes.h has the format.
    """
    module = tables.module()
    lengths = bytearray()
    crc = 0
    for string in strings:
        size = len(string)
        crc = module.extend_crc(crc, size.to_bytes(4 if size < 1 << 32 else 8, "little"))
        while size >= 0x80:
            lengths.append(size & 0x7F | 0x80)
            size >>= 7
        lengths.append(size)
    lengths += module.mask_crc(crc).to_bytes(4, "little")
    crc = module.extend_crc(crc, bytes(lengths[-4:]))
    for string in strings:
        crc = module.extend_crc(crc, string)
    return bytes(lengths) + b"".join(strings), crc


def decode_strings(data: bytes, count: int) -> list[bytes]:
    """Returns the strings that a data file holds as these bytes, whose CRC is right.

    Raises:
        ValueError: there are not so many.
    """
    sizes = []
    at = 0
    for _ in range(count):
        size = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("the lengths of strings end early")
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        sizes.append(size)
    at += 4
    if at + sum(sizes) != len(data):
        raise ValueError("the lengths of strings do not add up to their bytes")
    strings = []
    for size in sizes:
        strings.append(data[at : at + size])
        at += size
    return strings


def _checked_strings(data: bytes, piece: StoredPiece) -> list[bytes]:
    if len(data) != piece.size:
        raise ValueError("they end early")
    strings = decode_strings(data, piece.box.elements)
    if piece.crc is not None and encode_strings(strings)[1] != piece.crc:
        raise ValueError("they are not those that were written")
    return strings


def load_strings(tensor: StoredTensor, limits: Limits) -> np.ndarray[Any, Any]:
    """Returns a tensor of strings as an array of bytes objects.

    Raises:
        UnsupportedError: it does not fit the memory.
        DamagedError: its bytes are not those that were written.
    """
    import numpy as np

    if tensor.size > limits.memory_bytes:
        raise errors.UnsupportedError(
            f"the strings of tensor {printable(tensor.name)!r} take {tensor.size} bytes, and all "
            f"must be in memory: give {memory_option(tensor.size)} or more"
        )
    values = np.empty(tensor.shape, object)
    for piece in tensor.pieces:
        data = os.pread(piece.file.descriptor, piece.size, piece.offset)
        try:
            strings = _checked_strings(data, piece)
        except ValueError as error:
            raise errors.DamagedError(
                f"tensor {printable(tensor.name)!r}: its strings in "
                f"{printable(piece.file.path)!r} are damaged: {error}"
            ) from error
        array = np.empty(len(strings), object)
        array[:] = strings
        # NumPy would put a scalar array into an object, not the bytes that are in it.
        values[_region(piece.box)] = array.reshape(piece.box.extent) if tensor.shape else array[0]
    return values


def cut_strings(
    tensor: StoredTensor, boxes: Sequence[Box], scratch: Scratch, limits: Limits
) -> StoredTensor:
    """Returns a tensor of strings that is stored as these boxes; see `load_strings` for errors."""
    values = load_strings(tensor, limits)
    cut = StoredTensor(tensor.name, tensor.dtype, tensor.shape)
    for box in boxes:
        data, crc = encode_strings(values[_region(box)].reshape(-1).tolist())
        place = None if box == Box.whole(tensor.shape) else box.place
        cut.pieces.append(scratch.append(data, box, place, crc))
    return cut


def _region(box: Box) -> tuple[slice, ...]:
    return tuple(
        slice(start, start + length) for start, length in zip(box.start, box.extent, strict=True)
    )
