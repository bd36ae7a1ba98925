"""Values of variables as NumPy arrays, in blocks of bounded memory, compared with their CRCs.

A block is a box of the variable: indices on the first axes, a range on the next, all of the others.
So a block lies together in each piece, and a pass over all blocks reads each piece from front to end:

    shape [4, 10]       slices by columns, 6 and 4      blocks of two rows
    rows 0 and 1        12 elements of one, 8 of the other
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes, other_files, tables, v1
from autodist.workbench.reading.checkpoint import Checkpoint, Piece, Variable, memory_bytes
from autodist.workbench.storage import places

if TYPE_CHECKING:
    from typing_extensions import Self

# How much is read at once where the caller sets no limit.
BLOCK_BYTES = 4 << 20


class Block(NamedTuple):
    """A box of a variable.

    Attributes:
        lead: Indices on the first axes.
        begin: First index on the next axis.
        end: Behind the last. A scalar has one block from 0 to 1.
    """

    lead: tuple[int, ...]
    begin: int
    end: int


def blocks(variable: Variable, most_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Cuts a variable into blocks, in row-major order. A block has at most `most_bytes`."""
    shape = variable.shape
    if not shape:
        yield Block((), 0, 1)
        return
    if 0 in shape:
        return
    row_bytes = memory_bytes(variable.dtype, shape[1:])
    axis = 0
    while axis < len(shape) - 1 and row_bytes > most_bytes:
        axis += 1
        row_bytes //= shape[axis]
    step = max(1, most_bytes // max(1, row_bytes))
    for lead in itertools.product(*map(range, shape[:axis])):
        for begin in range(0, shape[axis], step):
            yield Block(lead, begin, min(begin + step, shape[axis]))


class ValueReader:
    """Reads values of a checkpoint. Thread-safe.

    It notes the CRCs of what it reads of each piece. `check` compares them once all was read.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._files: dict[int, places.ByteFile] = {}
        self._old_value: tuple[Piece, Any] | None = None
        # Of each piece, by where it lies: first byte, bytes and CRC of what was read.
        self._sums: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def read_block(self, variable: Variable, block: Block) -> Any:
        """Returns an array of shape `(end - begin, ...)`; of a scalar `(1,)`.

        Raises:
            DamagedError: The file is too short, or slices leave a hole or overlap.
            UnsupportedError: The dtype has no array, or its elements vary in size.
        """
        import numpy as np

        shape, axis = variable.shape, len(block.lead)
        rest = shape[axis + 1 :]
        count = block.end - block.begin
        if not variable.is_sliced:
            row = math.prod(rest)
            first = 0
            for index, dim in zip((*block.lead, block.begin), shape or (1,), strict=False):
                first = first * dim + index
            elements = self.read_elements(variable, variable.pieces[0], first * row, count * row)
            return elements.reshape((count, *rest))
        values = np.empty((count, *rest), dtypes.numpy_dtype(variable.dtype))
        filled = 0
        for piece in variable.pieces:
            filled += self._fill(variable, piece, block, values)
        if filled != values.size:
            raise errors.DamagedError(
                f"tensor {printable(variable.name)!r}: its slices do not make up all of it"
            )
        return values

    def read_elements(self, variable: Variable, piece: Piece, first: int, count: int) -> Any:
        """Returns elements of a piece in row-major order, an array of shape `(count,)`."""
        import numpy as np

        dtype = dtypes.numpy_dtype(variable.dtype)
        if self.checkpoint.format == "V1":
            return self._whole_old(variable, piece)[first : first + count]
        size = dtypes.element_bytes(variable.dtype)
        self._check_size(variable, piece)
        file = self._file(piece.file)
        if piece.offset < 0 or piece.offset + piece.size > file.size:
            raise errors.DamagedError(
                f"tensor {printable(variable.name)!r}: bytes [{piece.offset}, "
                f"{piece.offset + piece.size}) of {printable(file.path)!r} are missing: the file "
                f"has {file.size}{other_files.known_as(file.path)}"
            )
        buffer = np.empty(count * size, np.uint8)
        file.read_into(piece.offset + first * size, buffer.data)
        crc = tables.module().extend_crc(0, buffer)
        with self._lock:
            sums = self._sums.setdefault((piece.file, piece.offset), [])
            sums.append((first * size, count * size, crc))
        return buffer.view(dtype)

    def check(self, variable: Variable) -> None:
        """Compares the CRCs of a variable of which everything was read, and forgets them.

        Raises:
            DamagedError: The bytes are not those that were written.
        """
        if self.checkpoint.format == "V1":
            return  # A CRC of each block was compared while it was read.
        for piece in variable.pieces:
            if not piece.size:
                continue  # Another may lie at its place.
            with self._lock:
                parts = self._sums.pop((piece.file, piece.offset), [])
            crc = end = 0
            for begin, size, part in sorted(parts):
                assert begin == end, "a variable is checked before all of it was read"
                crc = tables.module().concat_crc(crc, part, size)
                end += size
            assert end == piece.size, "a variable is checked before all of it was read"
            self._compare(variable, piece, crc)

    def read_strings(self, variable: Variable) -> Any:
        """Returns the strings of a variable as an array of bytes objects, of its shape.

        Raises:
            DamagedError: They do not parse, or are not those that were written.
        """
        import numpy as np

        values = np.empty(variable.shape, object)
        filled = 0
        for piece in variable.pieces:
            strings = np.empty(math.prod(piece.shape), object)
            strings[:] = self._strings_of(variable, piece)
            box = tuple(
                slice(start, start + dim)
                for start, dim in zip(piece.starts, piece.shape, strict=True)
            )
            # NumPy would put a scalar array into an object, not the bytes that are in it.
            values[box] = strings.reshape(piece.shape) if box else strings[0]
            filled += len(strings)
        if filled != values.size:
            raise errors.DamagedError(
                f"tensor {printable(variable.name)!r}: its slices do not make up all of it"
            )
        return values

    def _fill(self, variable: Variable, piece: Piece, block: Block, values: Any) -> int:
        """Copies what a block and a piece share; returns the number of elements."""
        axis = len(block.lead)
        first = 0
        for index, start, dim in zip(block.lead, piece.starts, piece.shape, strict=False):
            if not 0 <= index - start < dim:
                return 0
            first = first * dim + index - start
        start, dim = piece.starts[axis], piece.shape[axis]
        begin, end = max(block.begin, start), min(block.end, start + dim)
        rest = piece.shape[axis + 1 :]
        row = math.prod(rest)
        if begin >= end or not row:
            return 0
        count = end - begin
        elements = self.read_elements(
            variable, piece, (first * dim + begin - start) * row, count * row
        )
        box = tuple(
            slice(other, other + length)
            for other, length in zip(piece.starts[axis + 1 :], rest, strict=True)
        )
        part = (slice(begin - block.begin, end - block.begin), *box)
        target = values[part]
        if target.shape != (count, *rest):
            raise errors.DamagedError(
                f"tensor {printable(variable.name)!r}: its slice {piece.slice} does not lie in "
                f"its shape {list(variable.shape)}"
            )
        target[...] = elements.reshape((count, *rest))
        return count * row

    def _check_size(self, variable: Variable, piece: Piece) -> None:
        expected = memory_bytes(variable.dtype, piece.shape)
        if piece.size != expected:
            raise errors.DamagedError(
                f"tensor {printable(variable.name)!r}: {piece.size} bytes, expected {expected} of "
                f"{variable.dtype} {list(piece.shape)}"
            )

    def _compare(self, variable: Variable, piece: Piece, crc: int) -> None:
        if crc != piece.crc:
            raise errors.DamagedError(
                f"tensor {printable(variable.name)!r}: bytes [{piece.offset}, "
                f"{piece.offset + piece.size}) of "
                f"{printable(self.checkpoint.files[piece.file])!r} have the CRC {crc:08x}, "
                f"written with {piece.crc:08x}"
            )

    def _file(self, number: int) -> places.ByteFile:
        if not 0 <= number < len(self.checkpoint.files):
            raise errors.DamagedError(
                f"{printable(self.checkpoint.prefix)!r} has a tensor in data file {number} of "
                f"{len(self.checkpoint.files)}"
            )
        with self._lock:
            if number not in self._files:
                self._files[number] = places.open_file(self.checkpoint.files[number])
            return self._files[number]

    def _whole_old(self, variable: Variable, piece: Piece) -> Any:
        """All elements of a piece of a V1 checkpoint; the last one is kept."""
        import numpy as np

        with self._lock:
            if self._old_value is not None and self._old_value[0] is piece:
                return self._old_value[1]
            data = v1.read_value(self.checkpoint, variable, piece)
            self._old_value = (piece, np.frombuffer(data, dtypes.numpy_dtype(variable.dtype)))
            return self._old_value[1]

    def read_encoded(self, variable: Variable) -> list[tuple[str, bytes]]:
        """Returns the slice and the bytes of each piece, of a dtype without an array, such as variant.

        Raises:
            DamagedError: They are not those that were written.
        """
        return [(piece.slice, self._encoded(variable, piece)) for piece in variable.pieces]

    def _strings_of(self, variable: Variable, piece: Piece) -> list[bytes]:
        if self.checkpoint.format == "V1":
            strings: list[bytes] = v1.read_value(self.checkpoint, variable, piece)
            return strings
        return _split_strings(self._encoded(variable, piece), math.prod(piece.shape))

    def _encoded(self, variable: Variable, piece: Piece) -> bytes:
        """Returns the bytes of a piece whose elements vary in size."""
        count = math.prod(piece.shape)
        data = self._file(piece.file).read(piece.offset, piece.size)
        row = (0, len(data), dtypes.number_of(variable.dtype), count)
        (crc,) = tables.module().sum_ranges(path=None, data=data, rows=[row], threads=1)
        if isinstance(crc, str):
            raise errors.DamagedError(
                f"tensor {printable(variable.name)!r}: its bytes do not hold {count} "
                f"{variable.dtype}s"
            )
        self._compare(variable, piece, crc)
        return data


def read_variable(
    reader: ValueReader, variable: Variable, begin: int = 0, end: int | None = None
) -> Any:
    """Returns the rows `[begin, end)` of a variable as an array, all of it by default.

    All of the variable is read, a block at a time, and its CRC compared.

    Args:
        reader: Of the checkpoint.
        variable: Of any rank; of a scalar everything is returned.
        begin: The first row.
        end: Behind the last row.
    """
    import numpy as np

    if variable.dtype == "string":
        strings = reader.read_strings(variable)
        return strings[begin:end] if variable.shape else strings
    shape = variable.shape
    if not shape:
        value = reader.read_block(variable, Block((), 0, 1)).reshape(())
        reader.check(variable)
        return value
    end = shape[0] if end is None else end
    values = np.empty((max(0, end - begin), *shape[1:]), dtypes.numpy_dtype(variable.dtype))
    for block in blocks(variable):
        data = reader.read_block(variable, block)
        if block.lead:
            if begin <= block.lead[0] < end:
                index: Any = (block.lead[0] - begin, *block.lead[1:], slice(block.begin, block.end))
                values[index] = data
            continue
        first, last = max(begin, block.begin), min(end, block.end)
        if first < last:
            values[first - begin : last - begin] = data[first - block.begin : last - block.begin]
    reader.check(variable)
    return values


def _split_strings(data: bytes, count: int) -> list[bytes]:
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    at += 4  # the CRC of the lengths
    ends = list(itertools.accumulate(lengths, initial=at))
    return [data[begin:end] for begin, end in itertools.pairwise(ends)]
