"""Writes planned pieces as a checkpoint: data files, then the index."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes, tables
from autodist.workbench.writing.copying import PieceWriter, PlannedPiece, Progress
from autodist.workbench.writing.staged_bundle import StagedBundle
from autodist.workbench.writing.stored import Limits, OpenedFile


def place_pieces(pieces: Iterable[PlannedPiece]) -> int:
    """Sets the offset of each piece: the pieces of a file follow each other without a gap.

    Returns:
        The bytes of all files.
    """
    ends: dict[int, int] = {}
    for piece in pieces:
        piece.offset = ends.get(piece.file, 0)
        ends[piece.file] = piece.offset + piece.size
    return sum(ends.values())


def write_bundle(
    prefix: str,
    pieces: Sequence[PlannedPiece],
    file_count: int,
    *,
    overwrite: bool,
    limits: Limits,
    progress: Progress | None = None,
) -> None:
    """Writes a checkpoint, which appears under its prefix at one instant.

    Args:
        prefix: where it goes, on this machine.
        pieces: all of it, in the order of their data files; placed.
        file_count: how many data files there are.
        overwrite: whether a checkpoint that is there is replaced.
        limits: threads and memory.
        progress: called with the bytes written so far, and all.

    Raises:
        DamagedError: bytes of a source are not those that were written.
        TargetInUseError: there is a checkpoint, or another process writes one.
        OSError: a file cannot be read or written.
    """
    with StagedBundle(prefix, file_count, overwrite=overwrite) as bundle:
        files = [OpenedFile(descriptor, prefix) for descriptor in bundle.descriptors]
        PieceWriter(files, limits, progress).write(pieces)
        entries = index_entries(pieces)
        _refuse_contradictions(entries, file_count)
        bundle.commit(lambda count: tables.module().build_index(count, entries))


def _refuse_contradictions(entries: Sequence[tuple[Any, ...]], file_count: int) -> None:
    """Refuses slices that do not make up their tensors, and names that stand twice."""
    try:
        index = tables.module().read_index(data=tables.module().build_index(file_count, entries))
    except (tables.module().UnsupportedError, tables.module().DamagedError) as error:
        raise errors.DamagedError(f"the source has {error}") from error
    for number, problem in index.problems():
        name = printable(index.names()[number])
        raise errors.DamagedError(f"tensor {name!r} cannot be written: {problem}")


def index_entries(pieces: Iterable[PlannedPiece]) -> list[tuple[Any, ...]]:
    """The entries of an index of written pieces, as `_tables.build_index` takes them.

    The slices of a tensor are listed in the order of the data files, as MergeV2Checkpoints does.
    """
    entries: list[tuple[Any, ...]] = []
    sliced: dict[str, list[PlannedPiece]] = {}
    for piece in pieces:
        if piece.place is not None:
            sliced.setdefault(piece.name, []).append(piece)
        entries.append(
            (
                os.fsencode(piece.name),
                dtypes.number_of(piece.dtype),
                piece.shape if piece.place is None else piece.box.extent,
                piece.place,
                [],
                piece.file,
                piece.offset,
                piece.size,
                piece.crc,
            )
        )
    for name, parts in sliced.items():
        parts.sort(key=lambda piece: piece.file)
        places = [piece.place for piece in parts]
        number = dtypes.number_of(parts[0].dtype)
        entries.append((os.fsencode(name), number, parts[0].shape, None, places, 0, 0, 0, 0))
    return entries
