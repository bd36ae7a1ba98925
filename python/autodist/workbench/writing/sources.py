"""Opens a checkpoint as tensors that can be copied."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.reading import finding, v1
from autodist.workbench.reading.checkpoint import Checkpoint
from autodist.workbench.storage import places
from autodist.workbench.writing.scratch import Scratch, encode_strings
from autodist.workbench.writing.stored import (
    Box,
    Limits,
    OpenedFile,
    StoredTensor,
    memory_option,
    place_of,
    stored_tensor,
)


@dataclass(frozen=True)
class Source:
    """A checkpoint that is open.

    Attributes:
        tensors: in the order of their bytes.
        is_by_name: whether that is the order of their names in each file, as `Saver` saves them.
        file_count: how many data files it has.
    """

    tensors: list[StoredTensor]
    is_by_name: bool
    file_count: int

    def file_of(self, tensor: StoredTensor, box: Box) -> int:
        """The number of the data file that has a box, or the first piece of it."""
        exact = tensor.piece_of(box)
        if exact is not None:
            return exact.file_number
        return next(
            (piece.file_number for piece in tensor.pieces if _overlap(piece.box, box)),
            tensor.pieces[0].file_number,
        )


def open_source(
    prefix: str, held: contextlib.ExitStack, limits: Limits, *, scratch_directory: str
) -> Source:
    """Opens a checkpoint of the V1 or V2 format.

    Args:
        prefix: what `Saver.restore` takes, or another path of the checkpoint, on this machine.
        held: closes its files.
        limits: memory for one slice of the V1 format.
        scratch_directory: where there is space for the values of a checkpoint of the V1 format.

    Raises:
        NotFoundError: there is none.
        DamagedError: its index is damaged.
        UnsupportedError: it is not on this machine, or does not fit the memory.
    """
    checkpoint = finding.open_checkpoint(on_this_machine(prefix))
    if checkpoint.format == "V1":
        return _decode_v1(checkpoint, Scratch(scratch_directory, held), limits)
    if checkpoint.unlisted_slices:
        raise errors.DamagedError(
            f"'{printable(checkpoint.prefix)}.index' is damaged: {checkpoint.unlisted_slices} slices belong "
            "to no variable. `autodist repair` makes an index without them."
        )
    files: dict[int, OpenedFile] = {}
    for variable in checkpoint.variables:
        for piece in variable.pieces:
            if piece.file not in files and 0 <= piece.file < len(checkpoint.files):
                files[piece.file] = open_regular(checkpoint.files[piece.file], held)
    tensors = [stored_tensor(variable, files) for variable in checkpoint.variables]
    _refuse_bad_ranges(tensors)
    return source_of(tensors, len(files))


def _refuse_bad_ranges(tensors: Sequence[StoredTensor]) -> None:
    """Refuses ranges beyond the end of a file, and those that share bytes.

    Otherwise a small file could stand for any amount of memory or of space.
    """
    by_file: dict[OpenedFile, list[tuple[int, int, str]]] = {}
    for tensor in tensors:
        for piece in tensor.pieces:
            by_file.setdefault(piece.file, []).append((piece.offset, piece.size, tensor.name))
    for file, ranges in by_file.items():
        size = os.fstat(file.descriptor).st_size
        end = 0
        for offset, length, name in sorted(ranges):
            if length and offset < end:
                raise errors.DamagedError(
                    f"tensor {printable(name)!r} has bytes of {printable(file.path)!r} that another "
                    "one has too. The index is damaged."
                )
            end = max(end, offset + length)
            if end > size:
                raise errors.DamagedError(
                    f"tensor {printable(name)!r} ends at byte {end} of {printable(file.path)!r}, "
                    f"which has {size} bytes"
                )


def source_of(tensors: list[StoredTensor], file_count: int) -> Source:
    """Returns the source of these tensors, in the order of their bytes."""
    positions = {
        id(tensor): min((piece.file_number, piece.offset, piece.size) for piece in tensor.pieces)
        for tensor in tensors
    }
    ordered = sorted(tensors, key=lambda tensor: (*positions[id(tensor)], os.fsencode(tensor.name)))
    by_file: dict[int, list[bytes]] = {}
    for tensor in ordered:
        by_file.setdefault(positions[id(tensor)][0], []).append(os.fsencode(tensor.name))
    return Source(ordered, all(names == sorted(names) for names in by_file.values()), file_count)


def on_this_machine(path: str) -> str:
    """Returns the path of what is read, without a scheme.

    Raises:
        UnsupportedError: it is not on this machine.
    """
    if places.is_remote(path):
        raise errors.UnsupportedError(
            f"{printable(path)!r} is not on this machine. Copy its files here first"
        )
    return places.local(path)


def open_regular(path: str, held: contextlib.ExitStack) -> OpenedFile:
    """Opens a file to read, if it is a regular one; `held` closes it.

    Raises:
        UnsupportedError: it is not on this machine.
        NotFoundError: it is missing, or is no regular file.
        UnreadableError: it cannot be opened.
    """
    path = on_this_machine(path)
    with places.translated(path):
        # A FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    held.callback(os.close, descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise errors.NotFoundError(f"{printable(path)!r} is not a regular file")
    return OpenedFile(descriptor, path)


def _overlap(a: Box, b: Box) -> bool:
    return all(
        max(a_start, b_start) < min(a_start + a_length, b_start + b_length)
        for a_start, a_length, b_start, b_length in zip(
            a.start, a.extent, b.start, b.extent, strict=True
        )
    )


def _decode_v1(checkpoint: Checkpoint, scratch: Scratch, limits: Limits) -> Source:
    """Decodes all values of a checkpoint of the V1 format; slices get the order of their rows."""
    tensors = []
    for variable in checkpoint.variables:
        tensor = StoredTensor(variable.name, variable.dtype, variable.shape)
        for piece in sorted(variable.pieces, key=lambda piece: piece.starts):
            if piece.size > limits.memory_bytes:
                raise errors.UnsupportedError(
                    f"a slice of tensor {printable(variable.name)!r} takes {piece.size} bytes, and "
                    f"the V1 format has it in one piece: give {memory_option(piece.size)} or more"
                )
            value = v1.read_value(checkpoint, variable, piece)
            data, crc = encode_strings(value) if isinstance(value, list) else (value, None)
            place = place_of(piece.slice) if piece.slice else None
            box = Box(piece.starts, piece.shape)
            if box == Box.whole(variable.shape):
                place = None
            tensor.pieces.append(scratch.append(data, box, place, crc))
        tensors.append(tensor)
    tensors.sort(key=lambda tensor: os.fsencode(tensor.name))
    return Source(tensors, is_by_name=True, file_count=1)
