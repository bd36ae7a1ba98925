"""Averages checkpoints of one model."""

from __future__ import annotations

import contextlib
import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass

from autodist._log import printable
from autodist.workbench.errors import ArgumentError
from autodist.workbench.reading import dtypes
from autodist.workbench.storage import places
from autodist.workbench.writing.bundles import place_pieces, write_bundle
from autodist.workbench.writing.copying import PlannedPiece, Progress, check_pieces
from autodist.workbench.writing.sources import open_source
from autodist.workbench.writing.stored import Limits, StoredTensor
from autodist.workbench.writing.targets import prefix_on_this_machine
from autodist.workbench.writing.values import FLOATS, AverageValues, Values, read_elements

_AVERAGED = (*FLOATS, "complex64", "complex128")


@dataclass(frozen=True)
class AverageReport:
    """What was written."""

    prefix: str
    checkpoints: list[str]
    weights: list[float]
    averaged: int
    equal: int  # tensors of other dtypes, the same in all
    taken: list[str]  # from the first checkpoint
    data_bytes: int
    data_files: int


def average(
    sources: Sequence[str],
    target: str,
    *,
    weights: Sequence[float] | None = None,
    take: Sequence[str] = (),
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> AverageReport:
    """Writes a checkpoint with the weighted mean of each tensor of floats.

    The sum is taken in float64 (complex128), in the order of the checkpoints, divided by the sum of
    the weights and rounded once. Tensors of other dtypes must be equal in all. Slices and data
    files are those of the first checkpoint.

    Args:
        sources: the checkpoints, two or more, with the same tensors.
        target: the prefix of the result.
        weights: of each checkpoint; equal ones by default.
        take: globs over names of tensors that are taken from the first checkpoint as they are.
        overwrite: whether a checkpoint at `target` is replaced.
        limits: threads and memory.
        progress: called with the bytes written so far, and all.

    Raises:
        ArgumentError: the checkpoints differ in what cannot be averaged, or a weight is none.
        DamagedError: bytes of a checkpoint are not those that were written.
        TargetInUseError: there is a checkpoint at `target`.
        NotFoundError: there is no directory for it; see also `writing.targets`.
        OSError: a file cannot be read or written.
    """
    limits = limits or Limits()
    shares = _shares(len(sources), weights)
    target = prefix_on_this_machine(target)
    with contextlib.ExitStack() as held:
        directory = places.split(target)[0]
        opened = [
            open_source(source, held, limits, scratch_directory=directory) for source in sources
        ]
        others = [{tensor.name: tensor for tensor in source.tensors} for source in opened[1:]]
        for glob in take:
            if not any(fnmatch.fnmatchcase(tensor.name, glob) for tensor in opened[0].tensors):
                raise ArgumentError(f"--take {glob!r} matches no variable")
        pieces: list[PlannedPiece] = []
        averaged = equal = 0
        taken = []
        for tensor in opened[0].tensors:
            values: StoredTensor | Values = tensor
            if any(fnmatch.fnmatchcase(tensor.name, glob) for glob in take):
                taken.append(tensor.name)
            else:
                same = [_same(tensor, other, sources) for other in others]
                if tensor.dtype in _AVERAGED:
                    values = AverageValues([tensor, *same], shares)
                    averaged += 1
                else:
                    for other, source in zip(same, sources[1:], strict=True):
                        _refuse_unequal(tensor, other, (sources[0], source), limits)
                    equal += 1
            pieces += [
                PlannedPiece(
                    tensor.name,
                    tensor.dtype,
                    tensor.shape,
                    piece.box,
                    piece.place,
                    values,
                    piece.file_number,
                )
                for piece in tensor.pieces
            ]
        _refuse_extra(opened[0].tensors, others, sources, take)
        pieces.sort(key=lambda piece: piece.file)
        numbers = {file: i for i, file in enumerate(sorted({piece.file for piece in pieces}))}
        for planned in pieces:
            planned.file = numbers[planned.file]
        data_bytes = place_pieces(pieces)
        write_bundle(
            target, pieces, len(numbers), overwrite=overwrite, limits=limits, progress=progress
        )
    return AverageReport(
        target, list(sources), shares, averaged, equal, taken, data_bytes, len(numbers)
    )


def _shares(count: int, weights: Sequence[float] | None) -> list[float]:
    if count < 2:
        raise ArgumentError(f"expected two checkpoints or more to average, not {count}")
    if weights is None:
        return [1.0] * count
    if len(weights) != count:
        raise ArgumentError(f"{len(weights)} weights for {count} checkpoints")
    # Their sum is finite only if all of them are.
    if not all(weight >= 0 for weight in weights) or not 0 < sum(weights) < math.inf:
        raise ArgumentError(
            f"weights {list(weights)}: expected numbers of 0 or more whose sum is above 0 and finite"
        )
    return [float(weight) for weight in weights]


def _same(
    tensor: StoredTensor, other: dict[str, StoredTensor], sources: Sequence[str]
) -> StoredTensor:
    """The tensor of that name in another checkpoint."""
    found = other.get(tensor.name)
    name = printable(tensor.name)
    if found is None:
        raise ArgumentError(
            f"tensor {name!r} of {printable(sources[0])!r} is not in all checkpoints. --take takes "
            "it from there"
        )
    if (found.dtype, found.shape) != (tensor.dtype, tensor.shape):
        raise ArgumentError(
            f"tensor {name!r} is {tensor.dtype} of shape {list(tensor.shape)} in "
            f"{printable(sources[0])!r}, and {found.dtype} of shape {list(found.shape)} in another "
            "checkpoint"
        )
    return found


def _refuse_unequal(
    tensor: StoredTensor, other: StoredTensor, sources: tuple[str, str], limits: Limits
) -> None:
    """Refuses values that cannot be averaged and differ."""
    if _are_equal(tensor, other, limits):
        return
    raise ArgumentError(
        f"tensor {printable(tensor.name)!r} of {tensor.dtype} cannot be averaged, and differs "
        f"between {printable(sources[0])!r} and {printable(sources[1])!r}. --take takes it from the "
        "first"
    )


def _are_equal(tensor: StoredTensor, other: StoredTensor, limits: Limits) -> bool:
    """Compares CRCs first, once the bytes have them; else values, which may lie in other slices."""
    for stored in (tensor, other):
        check_pieces([stored], limits)
    boxes = [piece.box for piece in tensor.pieces]
    twins = [(piece, other.piece_of(piece.box)) for piece in tensor.pieces]
    if all(twin and (twin.crc, twin.size) == (piece.crc, piece.size) for piece, twin in twins):
        return True
    width = dtypes.element_bytes(tensor.dtype)
    if not width:
        return False
    at_once = max(1, limits.memory_bytes // (4 * width))
    for box in boxes:
        for begin in range(0, box.elements, at_once):
            end = min(box.elements, begin + at_once)
            blocks = [read_elements(stored, box, begin, end) for stored in (tensor, other)]
            if blocks[0].tobytes() != blocks[1].tobytes():
                return False
    return True


def _refuse_extra(
    tensors: Sequence[StoredTensor],
    others: Sequence[dict[str, StoredTensor]],
    sources: Sequence[str],
    take: Sequence[str],
) -> None:
    known = {tensor.name for tensor in tensors}
    for other, source in zip(others, sources[1:], strict=True):
        for name in other:
            if name not in known and not any(fnmatch.fnmatchcase(name, glob) for glob in take):
                raise ArgumentError(
                    f"tensor {printable(name)!r} of {printable(source)!r} is not in "
                    f"{printable(sources[0])!r}"
                )
