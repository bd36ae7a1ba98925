"""Converts a checkpoint into another: layout, format, number of files, names, dtypes.

The result has the bytes that stock TensorFlow writes from a graph with those variables.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.errors import ArgumentError
from autodist.workbench.reading import dtypes
from autodist.workbench.storage import places
from autodist.workbench.writing.bundles import place_pieces, write_bundle
from autodist.workbench.writing.casting import CastRule, cast_tensor, refuse_idle_casts
from autodist.workbench.writing.copying import PlannedPiece, Progress
from autodist.workbench.writing.layouts import PartitionRule, spread
from autodist.workbench.writing.names import NameRules
from autodist.workbench.writing.scratch import Scratch, cut_strings
from autodist.workbench.writing.sources import Source, open_source
from autodist.workbench.writing.stored import Box, Limits, StoredPiece, StoredTensor
from autodist.workbench.writing.targets import prefix_on_this_machine
from autodist.workbench.writing.values import CastValues


@dataclass(frozen=True)
class Conversion:
    """What is to become of a checkpoint.

    Attributes:
        partitions: how tensors are cut; the first rule that takes a tensor's new name counts.
            Others keep the slices that they have.
        file_count: into how many data files it goes, balanced by bytes; None: as it is.
        names: which tensors stay, and their names.
        casts: the first rule that takes a tensor counts; globs are over the old names.
    """

    partitions: Sequence[PartitionRule] = ()
    file_count: int | None = None
    names: NameRules = field(default_factory=NameRules)
    casts: Sequence[CastRule] = ()


@dataclass(frozen=True)
class ConversionReport:
    """What was written."""

    prefix: str
    tensors: int
    slices: int
    data_files: int
    data_bytes: int
    dropped: list[str]
    renamed: int
    cast: int


def convert(
    source: str,
    target: str,
    conversion: Conversion,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ConversionReport:
    """Writes a converted copy of a checkpoint.

    Args:
        source: its prefix, in the V1 or V2 format.
        target: the prefix of the copy, on this machine.
        conversion: what changes.
        overwrite: whether a checkpoint at `target` is replaced; it stays until the copy is whole.
        dry_run: whether only the report is made.
        limits: threads and memory.
        progress: called with the bytes written so far, and all.

    Raises:
        ArgumentError: a rule cannot be applied; nothing is written.
        DamagedError: bytes of the source are not those that were written; nothing is left.
        TargetInUseError: there is a checkpoint at `target`.
        NotFoundError: there is no directory for it; see also `writing.targets`.
        OSError: a file cannot be read or written.
    """
    limits = limits or Limits()
    target = prefix_on_this_machine(target)
    with contextlib.ExitStack() as held:
        opened = open_source(source, held, limits, scratch_directory=places.split(target)[0])
        scratch = Scratch(places.split(target)[0], held)
        planner = _Planner(opened, conversion, scratch, limits)
        pieces, file_count = planner.plan()
        data_bytes = place_pieces(pieces)
        report = ConversionReport(
            prefix=target,
            tensors=len({piece.name for piece in pieces}),
            slices=sum(piece.place is not None for piece in pieces),
            data_files=file_count,
            data_bytes=data_bytes,
            dropped=planner.dropped,
            renamed=planner.renamed,
            cast=planner.cast,
        )
        if not dry_run:
            write_bundle(
                target, pieces, file_count, overwrite=overwrite, limits=limits, progress=progress
            )
        return report


class _Planner:
    """Plans the pieces of the copy, in the order of their data files."""

    def __init__(
        self, source: Source, conversion: Conversion, scratch: Scratch, limits: Limits
    ) -> None:
        self._source = source
        self._conversion = conversion
        self._scratch = scratch
        self._limits = limits
        self.dropped: list[str] = []
        self.renamed = 0
        self.cast = 0

    def plan(self) -> tuple[list[PlannedPiece], int]:
        """Returns the pieces and how many data files they fill."""
        tensors = self._source.tensors
        names = self._conversion.names.apply([tensor.name for tensor in tensors])
        self.dropped = [tensor.name for tensor in tensors if tensor.name not in names]
        self.renamed = sum(old != new for old, new in names.items())
        kept = [tensor for tensor in tensors if tensor.name in names]
        if not kept:
            raise ArgumentError("nothing is left to write: all tensors are dropped")
        if self._source.is_by_name:
            kept.sort(key=lambda tensor: os.fsencode(names[tensor.name]))
        self._refuse_idle_rules(kept, names)
        pieces = [piece for tensor in kept for piece in self._pieces(tensor, names[tensor.name])]
        file_count = self._assign_files(pieces)
        pieces.sort(key=lambda piece: piece.file)  # stable
        return pieces, file_count

    def _refuse_idle_rules(self, kept: Sequence[StoredTensor], names: dict[str, str]) -> None:
        for rule in self._conversion.partitions:
            if not any(rule.takes(names[tensor.name]) for tensor in kept):
                raise ArgumentError(f"--partition {rule.glob!r} matches no variable")
        refuse_idle_casts(self._conversion.casts, kept)

    def _pieces(self, tensor: StoredTensor, name: str) -> list[PlannedPiece]:
        rule = next((rule for rule in self._conversion.partitions if rule.takes(name)), None)
        if rule is not None:
            boxes = rule.boxes(printable(name), tensor.shape)
            whole = Box.whole(tensor.shape)
            places = [None if box == whole else box.place for box in boxes]
        else:
            stored = self._in_order(tensor)
            boxes = [piece.box for piece in stored]
            places = [piece.place for piece in stored]
        files = [self._source.file_of(tensor, box) for box in boxes]
        values = cast_tensor(self._cut(tensor, boxes), self._conversion.casts)
        self.cast += isinstance(values, CastValues)
        dtype = values.dtype
        return [
            PlannedPiece(name, dtype, tensor.shape, box, place, values, file)
            for box, place, file in zip(boxes, places, files, strict=True)
        ]

    def _in_order(self, tensor: StoredTensor) -> list[StoredPiece]:
        """The slices as they are listed; of several files that become others, in row-major order."""
        several = len({piece.file_number for piece in tensor.pieces}) > 1
        if self._conversion.file_count is None or not several:
            return tensor.pieces
        return sorted(tensor.pieces, key=lambda piece: piece.box.start)

    def _cut(self, tensor: StoredTensor, boxes: Sequence[Box]) -> StoredTensor:
        """The tensor, with strings cut into the boxes."""
        if dtypes.element_bytes(tensor.dtype):
            return tensor
        if all(tensor.piece_of(box) is not None for box in boxes):
            return tensor
        if tensor.dtype != "string":
            raise errors.UnsupportedError(
                f"tensor {printable(tensor.name)!r} of {tensor.dtype} cannot be cut anew"
            )
        return cut_strings(tensor, boxes, self._scratch, self._limits)

    def _assign_files(self, pieces: Sequence[PlannedPiece]) -> int:
        """Sets the file of each piece, if that is asked; returns how many there are."""
        if self._conversion.file_count is not None:
            files = spread([piece.size for piece in pieces], self._conversion.file_count)
            for piece, file in zip(pieces, files, strict=True):
                piece.file = file
        numbers = {file: i for i, file in enumerate(sorted({piece.file for piece in pieces}))}
        for piece in pieces:
            piece.file = numbers[piece.file]
        return len(numbers)
