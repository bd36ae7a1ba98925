"""Exports a checkpoint to a safetensors file, and imports one, without a second copy of the model.

| in a checkpoint | in a safetensors file |
|---|---|
| a tensor, whole or in slices | one tensor of its name, whole |
| a slot of an optimizer | the same; the metadata say of which variable |
| quantised and narrow integers | the integers that hold their bits |
| complex128 | F64 with one more axis, of 2 |
| float8_e4m3b11fnuz | U8 |
| strings, variants | U8 with one axis: the bytes as the checkpoint's data file holds them |

What the format cannot say stands in its metadata (bundle_record.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.exchange import safetensors_header
from autodist.workbench.exchange.bundle_record import KEY, BundleRecord, RecordedPiece, slots_of
from autodist.workbench.exchange.reports import ExchangeReport
from autodist.workbench.exchange.safetensors_header import HeaderTensor
from autodist.workbench.exchange.selection import select
from autodist.workbench.reading import dtypes
from autodist.workbench.reading.checkpoint import slice_text
from autodist.workbench.storage import places
from autodist.workbench.writing.bundles import place_pieces, write_bundle
from autodist.workbench.writing.casting import CastRule, cast_tensor
from autodist.workbench.writing.copying import PieceWriter, PlannedPiece, Progress, write_all
from autodist.workbench.writing.names import NameRules
from autodist.workbench.writing.scratch import Scratch, cut_strings
from autodist.workbench.writing.sources import open_regular, open_source
from autodist.workbench.writing.staged_file import StagedFile
from autodist.workbench.writing.stored import (
    Box,
    Limits,
    OpenedFile,
    StoredPiece,
    StoredTensor,
    place_of,
)
from autodist.workbench.writing.targets import file_on_this_machine, prefix_on_this_machine
from autodist.workbench.writing.values import CastValues, Values

_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "float16": "F16",
    "bfloat16": "BF16", "uint32": "U32", "int32": "I32", "float32": "F32", "float64": "F64",
    "uint64": "U64", "int64": "I64", "complex64": "C64", "float8_e5m2": "F8_E5M2",
    "float8_e4m3fn": "F8_E4M3", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
# Dtypes without a name in the format, by the one whose values have the same bytes.
_STORED_AS = {
    "qint8": "I8", "quint8": "U8", "qint16": "I16", "quint16": "U16", "qint32": "I32",
    "int4": "I8", "uint4": "U8", "int2": "I8", "uint2": "U8", "float8_e4m3b11fnuz": "U8",
    "complex128": "F64", "string": "U8", "variant": "U8",
}  # fmt: skip


def export_safetensors(
    source: str,
    path: str,
    *,
    names: NameRules | None = None,
    drop_slots: bool = False,
    casts: Sequence[CastRule] = (),
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ExchangeReport:
    """Writes the tensors of a checkpoint to a safetensors file.

    Args:
        source: the checkpoint.
        path: the file.
        names: which tensors are exported, and their names.
        drop_slots: whether slots of optimizers are left out.
        casts: which tensors are cast.
        overwrite: whether a file that is there is replaced.
        limits: threads and memory.
        progress: called with the bytes written so far, and all.

    Raises:
        ArgumentError: a rule cannot be applied.
        UnsupportedError: a name is not UTF-8, or a tensor has a dtype that cannot be exported.
        DamagedError: bytes of the checkpoint are not those that were written.
        TargetInUseError: there is such a file.
        NotFoundError: there is no directory for it; see also `writing.targets`.
        OSError: a file cannot be read or written.
    """
    limits = limits or Limits()
    path = file_on_this_machine(path)
    with contextlib.ExitStack() as held:
        directory = places.split(path)[0]
        opened = open_source(source, held, limits, scratch_directory=directory)
        scratch = Scratch(directory, held)
        kept, renamed = select(opened, names or NameRules(), casts, drop_slots=drop_slots)
        export = _Export(renamed, casts, scratch, limits)
        for tensor in kept:
            export.add(tensor)
        export.record.slots = slots_of([tensor.name for tensor in export.tensors])
        export.write(path, overwrite=overwrite, progress=progress)
        return ExchangeReport(
            path=path,
            tensors=len(export.tensors),
            data_bytes=sum(tensor.size for tensor in export.tensors),
            data_files=export.record.file_count,
            dropped=[tensor.name for tensor in opened.tensors if tensor.name not in renamed],
            cast=export.cast,
            kept_layout=True,
        )


def import_safetensors(
    path: str,
    target: str,
    *,
    plain: bool = False,
    accept_changes: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ExchangeReport:
    """Writes a checkpoint with the tensors of a safetensors file.

    A file that `export_safetensors` made gives the bytes of the checkpoint that it was made from.
    Others give one data file with the tensors in the order of their names, as `Saver` writes it.

    Args:
        path: the file.
        target: the prefix of the checkpoint.
        plain: whether what the metadata say of a checkpoint is ignored.
        accept_changes: whether values may differ from those that were exported.
        overwrite: whether a checkpoint at `target` is replaced.
        limits: threads and memory.
        progress: called with the bytes written so far, and all.

    Raises:
        DamagedError: the file is damaged, or its values are not those that were exported.
        UnsupportedError: the file holds a dtype that TensorFlow does not have.
        TargetInUseError: there is such a checkpoint.
        NotFoundError: there is no directory for it; see also `writing.targets`.
        OSError: a file cannot be read or written.
    """
    limits = limits or Limits()
    target = prefix_on_this_machine(target)
    with contextlib.ExitStack() as held:
        file = open_regular(path, held)
        header = _read_header(file, limits)
        record = None
        if KEY in header.metadata and not plain:
            record = BundleRecord.decode(header.metadata[KEY])
        tensors = [_stored(tensor, file, header.data_offset, record) for tensor in header.tensors]
        if not tensors:
            raise errors.UnsupportedError(f"{printable(path)!r} holds no tensor")
        if record is None:
            tensors.sort(key=lambda tensor: tensor.name.encode())
            pieces = [_whole(tensor) for tensor in tensors]
        else:
            scratch = Scratch(places.split(target)[0], held)
            cutting = _StringCutting(scratch, limits, accept_changes=accept_changes)
            pieces = _recorded(tensors, record, cutting)
            for piece in () if accept_changes else pieces:
                piece.expected_by = f"{printable(path)!r} was exported"
        data_bytes = place_pieces(pieces)
        file_count = 1 if record is None else record.file_count
        write_bundle(
            target, pieces, file_count, overwrite=overwrite, limits=limits, progress=progress
        )
        return ExchangeReport(
            target, len(tensors), data_bytes, file_count, [], 0, kept_layout=record is not None
        )


class _Export:
    """The tensors of a safetensors file that is being made."""

    def __init__(
        self, names: dict[str, str], casts: Sequence[CastRule], scratch: Scratch, limits: Limits
    ) -> None:
        self._names = names
        self._casts = casts
        self._scratch = scratch
        self._limits = limits
        self._sources: dict[str, StoredTensor | Values] = {}
        self._positions: list[tuple[int, int, int]] = []
        self.tensors: list[HeaderTensor] = []
        self.record = BundleRecord(0)
        self.cast = 0

    def add(self, tensor: StoredTensor) -> None:
        """Adds a tensor.

        Raises:
            UnsupportedError: it has a dtype that cannot be exported.
        """
        name = self._names[tensor.name]
        _refuse_name(name)
        values = cast_tensor(tensor, self._casts)
        self.cast += isinstance(values, CastValues)
        whole = Box.whole(tensor.shape)
        if dtypes.element_bytes(tensor.dtype) == 0 and tensor.piece_of(whole) is None:
            if tensor.dtype != "string":
                raise errors.UnsupportedError(
                    f"tensor {printable(tensor.name)!r} of {tensor.dtype} in slices cannot be "
                    "exported; --drop leaves it out"
                )
            values = cut_strings(tensor, [whole], self._scratch, self._limits)
        self._sources[name] = values
        stored, shape = _form(name, values, whole)
        self.tensors.append(HeaderTensor(name, stored, shape))
        if values.dtype not in _NAMES:
            self.record.dtypes[name] = values.dtype
        if shape != tensor.shape:
            self.record.shapes[name] = tensor.shape
        self._record(name, tensor, is_cast=isinstance(values, CastValues))

    def _record(self, name: str, tensor: StoredTensor, *, is_cast: bool) -> None:
        """Notes where the tensor's pieces lie; what is cast gets a CRC once it is written."""
        pieces = tensor.pieces[:1] if is_cast else tensor.pieces
        for piece in pieces:
            place = "" if is_cast or piece.place is None else slice_text(piece.place)
            crc = 0 if is_cast or piece.crc is None else piece.crc
            self.record.pieces.append(RecordedPiece(name, piece.file_number, place, crc))
            self._positions.append((piece.file_number, piece.offset, piece.size))

    def write(self, path: str, *, overwrite: bool, progress: Progress | None) -> None:
        """Writes the file; see `export_safetensors` for errors."""
        self._sort_record()
        tensors = safetensors_header.lay_out(self.tensors)
        size = len(safetensors_header.encode(tensors, {KEY: self.record.encode()}))
        pieces = []
        for tensor in tensors:
            values = self._sources[tensor.name]
            box = Box.whole(values.shape)
            piece = PlannedPiece(tensor.name, values.dtype, values.shape, box, None, values)
            piece.offset = size + tensor.offset
            pieces.append(piece)
        with StagedFile(path, overwrite=overwrite) as staged:
            file = OpenedFile(staged.descriptor, path)
            PieceWriter([file], self._limits, progress).write(pieces)
            crcs = {piece.name: piece.crc for piece in pieces}
            for number, recorded in enumerate(self.record.pieces):
                if isinstance(self._sources[recorded.name], CastValues):
                    crc = crcs[recorded.name]
                    self.record.pieces[number] = recorded._replace(crc=crc)
            header = safetensors_header.encode(tensors, {KEY: self.record.encode()})
            write_all(file, 0, memoryview(header))
            staged.commit()

    def _sort_record(self) -> None:
        """Puts the pieces into the order of the data files, numbered from 0 on."""
        order = sorted(range(len(self._positions)), key=lambda i: self._positions[i])
        pieces = [self.record.pieces[i] for i in order]
        numbers = {file: i for i, file in enumerate(sorted({piece.file for piece in pieces}))}
        self.record.pieces = [piece._replace(file=numbers[piece.file]) for piece in pieces]
        self.record.file_count = len(numbers)


def _form(name: str, values: StoredTensor | Values, whole: Box) -> tuple[str, tuple[int, ...]]:
    """The dtype and the shape of a tensor in a safetensors file."""
    dtype = values.dtype
    if dtype in _NAMES:
        return _NAMES[dtype], values.shape
    if dtype not in _STORED_AS:
        raise errors.UnsupportedError(
            f"tensor {printable(name)!r} of {dtype} cannot be exported; --drop leaves it out"
        )
    if dtype == "complex128":
        return "F64", (*values.shape, 2)
    if dtypes.element_bytes(dtype) == 0:
        assert isinstance(values, StoredTensor)
        piece = values.piece_of(whole)
        assert piece is not None
        return "U8", (piece.size,)
    return _STORED_AS[dtype], values.shape


def _refuse_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise errors.UnsupportedError(
            f"the name {printable(name)!r} is not UTF-8, as safetensors demands: rename it with "
            "--rename, or leave it out with --drop"
        ) from None
    if name == safetensors_header.METADATA:
        raise errors.UnsupportedError(
            f"a tensor named {name!r} cannot be in a safetensors file: rename it with --rename"
        )


def _read_header(file: OpenedFile, limits: Limits) -> safetensors_header.Header:
    size = safetensors_header.header_size(
        os.pread(file.descriptor, 8, 0), file.path, limits.memory_bytes // 8
    )
    text = os.pread(file.descriptor, size, 8)
    file_size = os.fstat(file.descriptor).st_size
    if len(text) != size:
        raise errors.DamagedError(f"{printable(file.path)!r} ends within its header")
    return safetensors_header.decode(text, file.path, file_size)


def _stored(
    tensor: HeaderTensor, file: OpenedFile, data_offset: int, record: BundleRecord | None
) -> StoredTensor:
    """Where the values of a tensor of the file lie, as those of a tensor of TensorFlow."""
    dtype = _DTYPES.get(tensor.dtype, "")
    shape = tensor.shape
    if record is not None:
        dtype = record.dtypes.get(tensor.name, dtype)
        shape = record.shapes.get(tensor.name, shape)
        form = _NAMES.get(dtype) or _STORED_AS.get(dtype)
        width = dtypes.element_bytes(dtype)
        if form != tensor.dtype or (width and Box.whole(shape).elements * width != tensor.size):
            raise _misfit(f"tensor {printable(tensor.name)!r} has another dtype or shape")
    if not dtype:
        raise errors.UnsupportedError(
            f"tensor {printable(tensor.name)!r}: TensorFlow has no dtype for {tensor.dtype}"
        )
    if not tensor.name or tensor.name.startswith("\0"):
        raise errors.UnsupportedError(
            f"a checkpoint cannot hold a tensor named {printable(tensor.name)!r}"
        )
    piece = StoredPiece(file, data_offset + tensor.offset, tensor.size, None, Box.whole(shape))
    return StoredTensor(tensor.name, dtype, shape, [piece])


def _whole(tensor: StoredTensor) -> PlannedPiece:
    box = Box.whole(tensor.shape)
    return PlannedPiece(tensor.name, tensor.dtype, tensor.shape, box, None, tensor)


def _recorded(
    tensors: Sequence[StoredTensor], record: BundleRecord, cutting: _StringCutting
) -> list[PlannedPiece]:
    """The pieces of the checkpoint that was exported, in the order of its data files."""
    by_name = {tensor.name: tensor for tensor in tensors}
    if {piece.name for piece in record.pieces} != set(by_name):
        raise _misfit("its tensors are others")
    recorded: dict[str, list[tuple[Box, int]]] = {}
    for piece in record.pieces:
        box = _box(piece, by_name[piece.name])
        recorded.setdefault(piece.name, []).append((box, piece.crc))
    sources = {name: cutting.cut(tensor, recorded[name]) for name, tensor in by_name.items()}
    return [
        PlannedPiece(
            piece.name,
            by_name[piece.name].dtype,
            by_name[piece.name].shape,
            _box(piece, by_name[piece.name]),
            place_of(piece.slice) if piece.slice else None,
            sources[piece.name],
            piece.file,
            expected_crc=piece.crc,
        )
        for piece in record.pieces
    ]


class _StringCutting:
    """Makes tensors of strings and variants of the bytes that stand for them in the file."""

    def __init__(self, scratch: Scratch, limits: Limits, *, accept_changes: bool) -> None:
        self._scratch = scratch
        self._limits = limits
        self._accept_changes = accept_changes

    def cut(self, tensor: StoredTensor, recorded: Sequence[tuple[Box, int]]) -> StoredTensor:
        """Returns the tensor, stored as the boxes that are recorded with their CRCs."""
        if tensor.dtype not in dtypes.VARYING:
            return tensor
        boxes = [box for box, _ in recorded]
        is_whole = boxes == [Box.whole(tensor.shape)]
        if is_whole and (tensor.dtype == "variant" or not self._accept_changes):
            piece = replace(tensor.pieces[0], crc=recorded[0][1])
            return StoredTensor(tensor.name, tensor.dtype, tensor.shape, [piece])
        if tensor.dtype == "variant":
            raise _misfit(f"tensor {printable(tensor.name)!r} of variants is in slices")
        return cut_strings(tensor, boxes, self._scratch, self._limits)


def _box(piece: RecordedPiece, tensor: StoredTensor) -> Box:
    if not piece.slice:
        return Box.whole(tensor.shape)
    place = place_of(piece.slice)
    if len(place) != len(tensor.shape):
        raise _misfit(f"slice {piece.slice} of tensor {printable(tensor.name)!r} is none")
    box = Box.of(place, tensor.shape)
    if any(
        start + length > size
        for start, length, size in zip(box.start, box.extent, tensor.shape, strict=True)
    ):
        raise _misfit(f"slice {piece.slice} of tensor {printable(tensor.name)!r} lies outside")
    return box


def _misfit(problem: str) -> errors.DamagedError:
    return errors.DamagedError(
        f"the metadata {KEY!r} do not fit the tensors of the file: {problem}. --plain ignores them"
    )
