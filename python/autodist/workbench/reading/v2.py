"""Reads checkpoints of the V2 format: `prefix.index` and its data files."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes, tables
from autodist.workbench.reading.checkpoint import Checkpoint, Piece, Variable, place, slice_text
from autodist.workbench.storage import places

# An index that is not read from a local file is loaded whole.
_MOST_REMOTE_BYTES = 4 << 30
# TensorFlow's names have five digits, and a hostile index may claim any number of files.
_MOST_FILES = 100_000


def data_file(prefix: str, number: int, count: int) -> str:
    """Returns the path of a data file."""
    return f"{prefix}.data-{number:05d}-of-{count:05d}"


def read(prefix: str) -> Checkpoint:
    """Reads the index of a checkpoint.

    Args:
        prefix: What `Saver.restore` takes.

    Raises:
        NotFoundError: There is no `prefix.index`.
        DamagedError: It is not an index, or contradicts itself.
        UnreadableError: It cannot be read.
    """
    return from_index(prefix, read_index(prefix))


def read_index(prefix: str) -> Any:
    """Returns the `Index` of `_tables`; see `read` for errors."""
    path = prefix + ".index"
    if places.is_remote(path):
        data = places.read_whole(path, _MOST_REMOTE_BYTES)
        with tables.translated(path):
            return tables.module().read_index(data=data)
    with tables.translated(path):
        return tables.module().read_index(path=os.fsencode(places.local(path)))


def from_index(prefix: str, index: Any) -> Checkpoint:
    """Returns the checkpoint that an index describes; see `read`."""
    if index.file_count > _MOST_FILES:
        raise errors.DamagedError(
            f"{printable(prefix)!r}.index is damaged: it claims {index.file_count} data files"
        )
    return Checkpoint(
        prefix=prefix,
        format="V2",
        files=tuple(data_file(prefix, i, index.file_count) for i in range(index.file_count)),
        index_file=prefix + ".index",
        variables=_without_collection(lambda: tuple(_variables(prefix, index))),
        unlisted_slices=index.unlisted_slices,
    )


def _without_collection(make: Callable[[], tuple[Variable, ...]]) -> tuple[Variable, ...]:
    """Makes many objects that hold no circles, which Python would search for again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return make()
    finally:
        if was_enabled:
            gc.enable()


def _variables(prefix: str, index: Any) -> Iterator[Variable]:
    names, shapes = index.names(), index.shapes()
    slices, listed = index.slices(), index.slice_entries()
    zeros = functools.cache(lambda rank: (0,) * rank)
    rows = zip(
        names, shapes, map(dtypes.name_of, index.dtypes()), index.files(), index.offsets(),
        index.sizes(), index.crcs(), strict=True,
    )  # fmt: skip
    if not slices:
        for name, shape, dtype, file, offset, size, crc in rows:
            piece = Piece(file, offset, size, crc, zeros(len(shape)), shape, "")
            yield Variable(name, dtype, shape, (piece,))
        return
    stored = list(rows)
    for number, (name, shape, dtype, file, offset, size, crc) in enumerate(stored):
        if number in slices:
            continue
        if number not in listed:
            piece = Piece(file, offset, size, crc, zeros(len(shape)), shape, "")
            yield Variable(name, dtype, shape, (piece,))
            continue
        try:
            pieces = tuple(_slice_piece(slices[i], shape, stored[i]) for i in listed[number])
        except ValueError as error:
            raise errors.DamagedError(
                f"'{printable(prefix)}.index' is damaged: tensor {printable(name)!r} of shape "
                f"{list(shape)} has slices of another rank"
            ) from error
        yield Variable(name, dtype, shape, pieces)


def _slice_piece(
    extents: tuple[tuple[int, int], ...], shape: tuple[int, ...], row: tuple[Any, ...]
) -> Piece:
    _, _, _, file, offset, size, crc = row
    return Piece(file, offset, size, crc, *place(extents, shape), slice_text(extents))
