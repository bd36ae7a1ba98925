"""Exports a checkpoint to a NumPy archive (`.npz`), and imports one.

| in a checkpoint | in an archive |
|---|---|
| a tensor, whole or in slices | an array of its name, whole, not compressed |
| quantised integers | the integers that hold their bits |
| strings | byte strings of one length (`S`), if none ends in a zero byte |
| bfloat16, float8, narrow integers, variants | refused: NumPy has no name for them; `--cast` helps |

An archive does not say how the checkpoint was laid out: an import makes one data file, with the
tensors in the order of their names, as `Saver` does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.exchange.reports import ExchangeReport
from autodist.workbench.exchange.selection import select
from autodist.workbench.reading import dtypes
from autodist.workbench.storage import places
from autodist.workbench.writing.bundles import place_pieces, write_bundle
from autodist.workbench.writing.casting import CastRule, cast_tensor
from autodist.workbench.writing.copying import PlannedPiece, Progress, batches, check_pieces
from autodist.workbench.writing.names import NameRules
from autodist.workbench.writing.scratch import Scratch, encode_strings, existing, load_strings
from autodist.workbench.writing.sources import open_regular, open_source
from autodist.workbench.writing.staged_file import StagedFile
from autodist.workbench.writing.stored import (
    Box,
    Limits,
    OpenedFile,
    StoredPiece,
    StoredTensor,
    memory_option,
)
from autodist.workbench.writing.targets import file_on_this_machine, prefix_on_this_machine
from autodist.workbench.writing.values import CastValues, Values, read_elements

if TYPE_CHECKING:
    import numpy as np

_SUFFIX = ".npy"
# What Python raises of an archive that is none, or is damaged.
_OF_ARCHIVES = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, ValueError,
    NotImplementedError,
)  # fmt: skip
# How NumPy stores arrays.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_KINDS = "biufc"  # of NumPy's dtypes: those that TensorFlow has, too


def export_npz(
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
    """Writes the tensors of a checkpoint to an archive; see `export_safetensors`."""
    limits = limits or Limits()
    path = file_on_this_machine(path)
    with contextlib.ExitStack() as held:
        opened = open_source(source, held, limits, scratch_directory=places.split(path)[0])
        kept, renamed = select(opened, names or NameRules(), casts, drop_slots=drop_slots)
        plans = [(renamed[tensor.name], tensor, cast_tensor(tensor, casts)) for tensor in kept]
        for name, _, values in plans:
            _refuse(name, values)
        done = 0
        total = sum(tensor.size for tensor in kept)
        with StagedFile(path, overwrite=overwrite) as staged:
            with (
                os.fdopen(os.dup(staged.descriptor), "wb") as file,
                zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
            ):
                for batch in batches(plans, lambda plan: plan[1].size):
                    check_pieces([tensor for _, tensor, _ in batch], limits)
                    for name, tensor, values in batch:
                        member = zipfile.ZipInfo(name + _SUFFIX)
                        with archive.open(member, "w", force_zip64=True) as to:
                            for size in _write_array(to, tensor, values, limits):
                                done += size
                                if progress is not None:
                                    progress(done, total)
            staged.commit()
        return ExchangeReport(
            path=path,
            tensors=len(plans),
            data_bytes=done,
            data_files=1,
            dropped=[tensor.name for tensor in opened.tensors if tensor.name not in renamed],
            cast=sum(isinstance(values, CastValues) for _, _, values in plans),
            kept_layout=False,
        )


def import_npz(
    path: str,
    target: str,
    *,
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ExchangeReport:
    """Writes a checkpoint with the arrays of an archive; see `import_safetensors`.

    Arrays are taken out of the archive into a file without a name beside the checkpoint first.
    """
    limits = limits or Limits()
    target = prefix_on_this_machine(target)
    with contextlib.ExitStack() as held:
        file = open_regular(path, held)
        directory = places.split(target)[0]
        scratch = Scratch(directory, held)
        try:
            tensors = _extract(file, directory, scratch, limits)
        except errors.AutoDistError:
            raise
        except _OF_ARCHIVES as error:
            raise errors.DamagedError(
                f"{printable(path)!r} is damaged, or no archive of NumPy: {printable(str(error))}"
            ) from error
        if not tensors:
            raise errors.UnsupportedError(f"{printable(path)!r} holds no array")
        tensors.sort(key=lambda tensor: os.fsencode(tensor.name))
        pieces = [
            PlannedPiece(
                tensor.name, tensor.dtype, tensor.shape, Box.whole(tensor.shape), None, tensor
            )
            for tensor in tensors
        ]
        data_bytes = place_pieces(pieces)
        write_bundle(target, pieces, 1, overwrite=overwrite, limits=limits, progress=progress)
        return ExchangeReport(target, len(tensors), data_bytes, 1, [], 0, kept_layout=False)


def _refuse(name: str, values: StoredTensor | Values) -> None:
    """Refuses what an archive cannot hold."""
    if values.dtype != "string" and (
        values.dtype == "variant" or dtypes.numpy_dtype(values.dtype).kind not in _KINDS
    ):
        is_float = "float" in values.dtype
        cast = f"Cast it, as with --cast {values.dtype}=float32, or leave" if is_float else "Leave"
        raise errors.UnsupportedError(
            f"tensor {printable(name)!r}: NumPy's archives cannot hold {values.dtype}. {cast} it out "
            "with --drop"
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise errors.UnsupportedError(
            f"the name {printable(name)!r} is not UTF-8: rename it with --rename, or leave it out "
            "with --drop"
        ) from None
    if "\0" in name:
        raise errors.UnsupportedError(f"the name {printable(name)!r} has a zero byte")


def _write_array(
    to: IO[bytes], tensor: StoredTensor, values: StoredTensor | Values, limits: Limits
) -> Iterator[int]:
    """Writes an array with its header; yields the bytes of each block."""
    import numpy as np

    box = Box.whole(tensor.shape)
    if values.dtype == "string":
        array = _as_byte_strings(tensor, limits)
        _write_header(to, array.dtype, array.shape)
        to.write(array.tobytes())
        yield array.nbytes
        return
    dtype = dtypes.numpy_dtype(values.dtype)
    _write_header(to, dtype, tensor.shape)
    at_once = max(1, limits.memory_bytes // (8 * dtype.itemsize))
    for begin in range(0, box.elements, at_once):
        end = min(box.elements, begin + at_once)
        if isinstance(values, StoredTensor):
            block = read_elements(values, box, begin, end)
        else:
            block = values.read(box, begin, end)
        to.write(block.view(np.uint8).data)
        yield block.nbytes


def _write_header(to: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    from numpy.lib import format as npy

    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(to, header)


def _as_byte_strings(tensor: StoredTensor, limits: Limits) -> np.ndarray[Any, Any]:
    import numpy as np

    strings = load_strings(tensor, limits).reshape(-1).tolist()
    longest = max(map(len, strings), default=1)
    if any(string.endswith(b"\0") for string in strings):
        raise errors.UnsupportedError(
            f"tensor {printable(tensor.name)!r}: NumPy's byte strings would lose the zero bytes at "
            "the end of its strings; --drop leaves it out"
        )
    if longest * len(strings) > limits.memory_bytes:
        raise errors.UnsupportedError(
            f"tensor {printable(tensor.name)!r}: in an archive each of its {len(strings)} strings "
            f"would take {longest} bytes; --drop leaves it out"
        )
    return np.array(strings, f"S{max(1, longest)}").reshape(tensor.shape)


def _extract(
    file: OpenedFile, directory: str, scratch: Scratch, limits: Limits
) -> list[StoredTensor]:
    tensors = []
    seen = set()
    with (
        os.fdopen(os.dup(file.descriptor), "rb") as opened,
        zipfile.ZipFile(opened) as archive,
    ):
        members = [member for member in archive.infolist() if not member.is_dir()]
        _refuse_without_space(sum(member.file_size for member in members), directory)
        for member in members:
            name = member.filename.removesuffix(_SUFFIX)
            if name == member.filename or not name or name in seen or name.startswith("\0"):
                raise errors.UnsupportedError(
                    f"{printable(file.path)!r} holds {printable(member.filename)!r}, which is no "
                    "array, or stands twice"
                )
            if member.compress_type not in _COMPRESSIONS or member.flag_bits & 1:
                raise errors.UnsupportedError(
                    f"array {printable(name)!r} is encrypted, or compressed as NumPy does not. Store "
                    "it again with numpy.savez"
                )
            seen.add(name)
            with archive.open(member) as data:
                tensors.append(_extract_array(name, data, member.file_size, scratch, limits))
    return tensors


def _refuse_without_space(size: int, directory: str) -> None:
    free = shutil.disk_usage(existing(directory)).free
    if 2 * size > free:
        raise errors.UnsupportedError(
            f"the arrays take {size} bytes and are written twice, and {free} are free in "
            f"{printable(directory or '.')!r}"
        )


def _extract_array(
    name: str, data: IO[bytes], size: int, scratch: Scratch, limits: Limits
) -> StoredTensor:
    """Takes an array out of an archive.

    Raises:
        DamagedError: it is none.
        UnsupportedError: TensorFlow has no such values.
    """
    dtype, shape = _read_header(name, data)
    dtype_name = "string" if dtype.kind in "SU" else dtype.newbyteorder("=").name
    tensor = StoredTensor(name, dtype_name, shape)
    elements = Box.whole(shape).elements
    if elements * dtype.itemsize > size:
        raise errors.DamagedError(f"array {printable(name)!r} ends early")
    if dtype.kind in "SU":
        tensor.pieces.append(_extract_strings(tensor, dtype, data, scratch, limits))
        return tensor
    at_once = max(1, limits.memory_bytes // (8 * dtype.itemsize))
    pieces = [
        scratch.append(_take(name, data, dtype, min(at_once, elements - begin)), Box((), ()), None)
        for begin in range(0, elements, at_once)
    ]
    tensor.pieces.append(scratch.joined(pieces, Box.whole(shape)))
    return tensor


def _read_header(name: str, data: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(data)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read(data)
    except (
        ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError,
        # Of Python's parser, of what nests too deeply.
        RecursionError, MemoryError,
    ) as error:  # fmt: skip
        raise errors.DamagedError(
            f"array {printable(name)!r} has no header of NumPy: "
            f"{printable(str(error)) or type(error).__name__}"
        ) from error
    known = dtype.kind in "SU" or (
        dtype.kind in _KINDS and dtypes.number_of(dtype.newbyteorder("=").name)
    )
    if not known or dtype.itemsize == 0:
        raise errors.UnsupportedError(
            f"array {printable(name)!r}: TensorFlow has no dtype for {printable(str(dtype))}"
        )
    if is_fortran and sum(size > 1 for size in shape) > 1:
        raise errors.UnsupportedError(
            f"array {printable(name)!r} is stored by columns. Store it again with "
            "numpy.ascontiguousarray"
        )
    if len(shape) > 254 or any(type(size) is not int or size < 0 for size in shape):
        raise errors.DamagedError(f"array {printable(name)!r} has a shape that is none")
    return dtype, shape


def _take(name: str, data: IO[bytes], dtype: np.dtype[Any], count: int) -> memoryview:
    """The next elements, as they lie in a data file."""
    import numpy as np

    raw = data.read(count * dtype.itemsize)
    if len(raw) != count * dtype.itemsize:
        raise errors.DamagedError(f"array {printable(name)!r} ends early")
    array = np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="), copy=False)
    return array.view(np.uint8).data


def _extract_strings(
    tensor: StoredTensor, dtype: np.dtype[Any], data: IO[bytes], scratch: Scratch, limits: Limits
) -> StoredPiece:
    import numpy as np

    elements = Box.whole(tensor.shape).elements
    if elements * dtype.itemsize > limits.memory_bytes:
        raise errors.UnsupportedError(
            f"the strings of array {printable(tensor.name)!r} take {elements * dtype.itemsize} "
            f"bytes, and all must be in memory: give {memory_option(elements * dtype.itemsize)} or more"
        )
    raw = data.read(elements * dtype.itemsize)
    values = np.frombuffer(raw, dtype).tolist()
    strings = [value.encode() if isinstance(value, str) else value for value in values]
    encoded, crc = encode_strings(strings)
    return scratch.append(encoded, Box.whole(tensor.shape), None, crc)
