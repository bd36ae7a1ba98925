"""Reads checkpoints of the V1 format: one file, or several that each hold some slices."""

from __future__ import annotations

import math
import os
import re
from typing import Any

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import dtypes, tables
from autodist.workbench.reading.checkpoint import (
    Checkpoint,
    Piece,
    Variable,
    memory_bytes,
    place,
    slice_text,
)
from autodist.workbench.storage import places

_MOST_REMOTE_BYTES = 4 << 30
# How TensorFlow calls the files of one checkpoint: `model.ckpt-?????-of-00002`.
_PATTERN = re.compile(r"(.*)-\?{5}-of-([0-9]{5})")
_NUMBERED = re.compile(r"-([0-9]{5})-of-([0-9]{5})")
# At the end of every table.
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
# Where the key of a table is that of the list of tensors.
_WHOLE = (0, -1)


def files_of(prefix: str) -> tuple[str, ...]:
    """Returns the files of the V1 checkpoint under a prefix; none if there is none.

    Args:
        prefix: `model.ckpt`, or `model.ckpt-?????-of-00002` as TensorFlow names one of two files.

    Raises:
        DamagedError: Some of its files are missing.
    """
    pattern = _PATTERN.fullmatch(prefix)
    if pattern is None and places.is_file(prefix):
        return (prefix,)
    directory, name = places.split(pattern.group(1) if pattern else prefix)
    if not places.is_directory(directory):
        return ()
    found: dict[str, list[str]] = {}
    for other in places.names_in(directory):
        numbered = _NUMBERED.fullmatch(other[len(name) :]) if other.startswith(name) else None
        if numbered and (pattern is None or numbered.group(2) == pattern.group(2)):
            found.setdefault(numbered.group(2), []).append(directory + other)
    if not found:
        return ()
    if len(found) > 1:
        raise errors.DamagedError(
            f"{printable(prefix)!r} has files of several numbers of shards: "
            f"{', '.join(f'of-{count}' for count in sorted(found))}. "
            f"Name one: '{printable(name)}-?????-of-{max(found)}'"
        )
    count, paths = next(iter(found.items()))
    if len(paths) != int(count):
        raise errors.DamagedError(
            f"{printable(prefix)!r} has {len(paths)} of its {int(count)} files: the others are "
            "missing"
        )
    return tuple(paths)


def read(prefix: str, files: tuple[str, ...]) -> Checkpoint:
    """Reads what the files of a checkpoint list.

    Args:
        prefix: Its prefix.
        files: Its files, of `files_of`.

    Raises:
        DamagedError: A file is not one of a V1 checkpoint, or they contradict each other.
    """
    merged: dict[str, tuple[int, tuple[int, ...], list[Piece]]] = {}
    for number, path in enumerate(files):
        for name, dtype, shape, slices in _read_tensors(path):
            first_dtype, first_shape, pieces = merged.setdefault(name, (dtype, shape, []))
            if (first_dtype, first_shape) != (dtype, shape):
                raise errors.DamagedError(
                    f"{printable(path)!r} and another file of the checkpoint differ in dtype or "
                    f"shape of tensor {printable(name)!r}"
                )
            pieces.extend(
                _piece(number, dtypes.name_of(dtype), shape, extents) for extents in slices
            )
    return Checkpoint(
        prefix=prefix,
        format="V1",
        files=files,
        index_file="",
        variables=tuple(
            Variable(name, dtypes.name_of(dtype), shape, tuple(pieces))
            for name, (dtype, shape, pieces) in sorted(merged.items())
        ),
    )


def is_table(path: str) -> bool:
    """Tells whether a file ends as one of a V1 checkpoint, sound or not."""
    with places.open_file(path) as file:
        return file.size > len(_MAGIC) and file.read(file.size - len(_MAGIC), len(_MAGIC)) == _MAGIC


def read_value(checkpoint: Checkpoint, variable: Variable, piece: Piece) -> Any:
    """Returns the elements of a piece: bytes, or a list of bytes of a tensor of strings.

    Raises:
        DamagedError: The file does not hold as many.
    """
    path = checkpoint.files[piece.file]
    arguments = {
        "name": variable.name.encode("utf-8", "surrogateescape"),
        "dtype": dtypes.number_of(variable.dtype),
        "shape": list(variable.shape),
        "slice": _extents(piece, variable.shape),
        **_source(path),
    }
    with tables.translated(path):
        return tables.module().read_saved_slice(**arguments)


def _piece(
    file: int, dtype: str, shape: tuple[int, ...], extents: tuple[tuple[int, int], ...]
) -> Piece:
    if len(extents) != len(shape):
        raise errors.DamagedError(f"a slice of {len(extents)} axes of a tensor of shape {shape}")
    starts, lengths = place(extents, shape)
    is_whole = all(extent == _WHOLE for extent in extents)
    return Piece(
        file=file,
        offset=-1,
        size=memory_bytes(dtype, lengths) if math.prod(lengths) >= 0 else 0,
        crc=-1,
        starts=starts,
        shape=lengths,
        slice="" if is_whole else slice_text(extents),
    )


def _extents(piece: Piece, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    if not piece.slice:
        return [_WHOLE] * len(shape)
    texts = piece.slice.split(":")
    return [
        _WHOLE if text == "-" else (start, length)
        for text, start, length in zip(texts, piece.starts, piece.shape, strict=True)
    ]


def _read_tensors(path: str) -> Any:
    source = _source(path)
    with tables.translated(path):
        return tables.module().read_saved_tensors(**source)


def _source(path: str) -> dict[str, bytes | None]:
    if places.is_remote(path):
        return {"path": None, "data": places.read_whole(path, _MOST_REMOTE_BYTES)}
    return {"path": os.fsencode(places.local(path)), "data": None}
