"""Writes planned tensors into data files: copies bytes, or computes values, and sums them.

A piece whose box is stored as it is wanted is copied, another box is gathered from those that are
stored, and everything else is computed block by block. Bytes of a source are compared with their
stored CRC before or while they are taken. So damage never travels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes, tables
from autodist.workbench.writing.stored import (
    Box,
    Extents,
    Limits,
    OpenedFile,
    StoredPiece,
    StoredTensor,
)
from autodist.workbench.writing.values import Values, named, stored_boxes

Progress = Callable[[int, int], None]
"""Called with the bytes done so far, and how many there are in all."""

_Item = TypeVar("_Item")
_Row = tuple[str, str, StoredPiece]
"""The name and the dtype of a tensor, and a piece of it that is compared with its CRC."""

_BATCH_BYTES = 256 << 20
_BATCH_PIECES = 8192


@dataclass(slots=True)
class PlannedPiece:
    """A box of a tensor that is to be written at an offset of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    box: Box
    place: Extents | None  # None: the whole tensor
    source: StoredTensor | Values
    file: int = 0  # the number of the data file
    offset: int = 0
    crc: int = 0  # once it is written
    expected_crc: int = 0  # that it must have, unless `expected_by` is empty
    expected_by: str = ""  # what was done when it had it

    @property
    def size(self) -> int:
        """In bytes."""
        width = dtypes.element_bytes(self.dtype)
        if width:
            return self.box.elements * width
        return self._verbatim().size

    def _verbatim(self) -> StoredPiece:
        assert isinstance(self.source, StoredTensor)
        piece = self.source.piece_of(self.box)
        assert piece is not None, "strings and variants are cut anew before they are planned"
        return piece


class PieceWriter:
    """Writes pieces into files that are open, in any order."""

    def __init__(
        self, files: Sequence[OpenedFile], limits: Limits, progress: Progress | None = None
    ) -> None:
        self._files = files
        self._limits = limits
        self._progress = progress
        self._done_bytes = self._total_bytes = 0
        self._checked: set[tuple[int, int, int]] = set()
        self._batch: list[tuple[PlannedPiece, StoredPiece]] = []
        self._batch_bytes = 0

    def write(self, pieces: Iterable[PlannedPiece]) -> None:
        """Writes all of them, each at its offset, and sets their `crc`.

        Raises:
            DamagedError: bytes of a source are not those that were written.
            OSError: a file cannot be read or written.
        """
        pieces = list(pieces)
        self._total_bytes += sum(piece.size for piece in pieces)
        made = []
        for piece in pieces:
            source = piece.source
            stored = source.piece_of(piece.box) if isinstance(source, StoredTensor) else None
            if stored is not None:
                self._add(piece, stored)
            else:
                made.append(piece)
        self._copy_batch()
        for batch in batches(made, lambda piece: piece.size):
            # Many small tensors are summed at once, by all threads.
            self._check([row for piece in batch for row in _rows_of(piece)])
            for piece in batch:
                if isinstance(piece.source, StoredTensor):
                    self._gather(piece, piece.source)
                else:
                    self._compute(piece, piece.source)
        for piece in pieces:
            if piece.expected_by and piece.expected_crc != piece.crc:
                raise errors.DamagedError(
                    f"the values of tensor {printable(piece.name)!r} have changed since "
                    f"{piece.expected_by}. If that is meant, give --accept-changes"
                )

    def _add(self, piece: PlannedPiece, stored: StoredPiece) -> None:
        if self._batch and (
            self._batch[0][1].file != stored.file or self._batch[0][0].file != piece.file
        ):
            self._copy_batch()
        self._batch.append((piece, stored))
        self._batch_bytes += stored.size
        if self._batch_bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_PIECES:
            self._copy_batch()

    def _copy_batch(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if not batch:
            return
        encoded = [
            (piece, stored)
            for piece, stored in batch
            if dtypes.element_bytes(piece.dtype) == 0 and stored.crc is not None
        ]
        self._check([(_source_name(piece), piece.dtype, stored) for piece, stored in encoded])
        parts = [(stored.offset, piece.offset, stored.size) for piece, stored in batch]
        crcs = tables.module().copy_parts(
            tuple(batch[0][1].file),
            tuple(self._files[batch[0][0].file]),
            parts,
            self._limits.threads,
            self._limits.block_bytes,
        )
        for (piece, stored), crc in zip(batch, crcs, strict=True):
            if dtypes.element_bytes(piece.dtype) == 0:
                piece.crc = stored.crc if stored.crc is not None else crc
                continue
            if stored.crc is not None and stored.crc != crc:
                raise damaged(_source_name(piece), stored)
            piece.crc = crc
        self._advance(sum(size for _, _, size in parts))

    def _gather(self, piece: PlannedPiece, tensor: StoredTensor) -> None:
        with named(tensor):
            piece.crc = tables.module().gather_box(
                stored_boxes(tensor),
                (tuple(self._files[piece.file]), piece.offset, piece.box.start, piece.box.extent),
                dtypes.element_bytes(piece.dtype),
                self._limits.threads,
                self._limits.block_bytes,
            )
        self._advance(piece.size)

    def _compute(self, piece: PlannedPiece, values: Values) -> None:
        import numpy as np

        width = dtypes.element_bytes(piece.dtype)
        # A block is held in the wide type of a sum, as a term of it, and as the result.
        at_once = max(1, self._limits.memory_bytes // 64)
        crc = 0
        file = self._files[piece.file]
        for begin in range(0, piece.box.elements, at_once):
            end = min(piece.box.elements, begin + at_once)
            block = values.read(piece.box, begin, end).view(np.uint8).data
            crc = tables.module().extend_crc(crc, block)
            write_all(file, piece.offset + begin * width, block)
            self._advance(len(block))
        piece.crc = crc

    def _check(self, rows: Iterable[_Row]) -> None:
        """Compares stored pieces with their CRCs, once."""
        new = []
        for row in rows:
            key = (row[2].file.descriptor, row[2].offset, row[2].size)
            if key not in self._checked:
                self._checked.add(key)
                new.append(row)
        _check(new, self._limits)

    def _advance(self, size: int) -> None:
        self._done_bytes += size
        if self._progress is not None:
            self._progress(self._done_bytes, self._total_bytes)


def check_pieces(tensors: Iterable[StoredTensor], limits: Limits) -> None:
    """Compares the bytes of tensors with their CRCs.

    Raises:
        DamagedError: they are not those that were written.
    """
    _check([(t.name, t.dtype, piece) for t in tensors for piece in t.pieces], limits)


def _check(rows: Iterable[_Row], limits: Limits) -> None:
    by_file: dict[OpenedFile, list[_Row]] = {}
    for row in rows:
        if row[2].crc is not None:
            by_file.setdefault(row[2].file, []).append(row)
    for file, group in by_file.items():
        ranges = [
            (piece.offset, piece.size, dtypes.number_of(dtype), piece.box.elements)
            for _, dtype, piece in group
        ]
        path = f"/proc/self/fd/{file.descriptor}".encode()
        sums = tables.module().sum_ranges(path, None, ranges, limits.threads)
        for (name, _, piece), found in zip(group, sums, strict=True):
            if found != piece.crc:
                raise damaged(name, piece)


def batches(items: Iterable[_Item], size_of: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Cuts tensors or pieces into lists that are so small that their bytes stay in the cache.

    Args:
        items: In their order.
        size_of: The bytes of one.
    """
    batch: list[_Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += size_of(item)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_PIECES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _rows_of(piece: PlannedPiece) -> Iterator[_Row]:
    """What a piece is made of."""
    source = piece.source
    for tensor in [source] if isinstance(source, StoredTensor) else source.sources:
        for stored in tensor.pieces:
            yield tensor.name, tensor.dtype, stored


def _source_name(piece: PlannedPiece) -> str:
    return piece.source.name if isinstance(piece.source, StoredTensor) else piece.name


def damaged(name: str, piece: StoredPiece) -> errors.DamagedError:
    """The error of a piece whose bytes are not those that were written."""
    return errors.DamagedError(
        f"tensor {printable(name)!r}: the bytes [{piece.offset}, {piece.offset + piece.size}) of "
        f"{printable(piece.file.path)!r} are not those that were written. Nothing was made of them; "
        "`autodist verify` shows what is sound, and `--drop` leaves a tensor out."
    )


def write_all(file: OpenedFile, offset: int, block: memoryview) -> None:
    """Writes all bytes of a block at an offset."""
    while block:
        count = os.pwrite(file.descriptor, block, offset)
        block = block[count:]
        offset += count
