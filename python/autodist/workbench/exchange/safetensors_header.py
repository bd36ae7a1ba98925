"""The header of a safetensors file, read and written.

    [length of the header, 8 bytes][header: JSON, padded with spaces][values of all tensors]

The header maps each name to a dtype, a shape and the range of its bytes after the header, and
`__metadata__` to texts. Tensors lie in the order in which the package `safetensors` writes them:
by dtype, wide ones first, then by name. So every tensor is aligned to its elements.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from autodist._log import printable
from autodist.workbench import errors
from autodist.workbench.writing.stored import Dims, memory_option

METADATA = "__metadata__"
_MOST_HEADER_BYTES = 100_000_000  # the format's own limit
_ALIGNMENT = 8

# By the order in which they lie in a file; the last number is the bytes of an element.
_DTYPES = {
    "U64": 8, "I64": 8, "F64": 8, "C64": 8, "F32": 4, "U32": 4, "I32": 4, "BF16": 2, "F16": 2,
    "U16": 2, "I16": 2, "F8_E5M2FNUZ": 1, "F8_E4M3FNUZ": 1, "F8_E8M0": 1, "F8_E4M3": 1,
    "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
# Those that put elements of less than a byte together.
_NARROW_DTYPES = ("F4", "F6_E2M3", "F6_E3M2")
_RANKS = {dtype: rank for rank, dtype in enumerate(_DTYPES)}


class HeaderTensor(NamedTuple):
    """A tensor of the file.

    Attributes:
        name: as in the header.
        dtype: the format's own, such as `F32`.
        shape: of the values as they lie in the file.
        offset: of the first byte after the header; -1 before it is laid out.
    """

    name: str
    dtype: str
    shape: Dims
    offset: int = -1

    @property
    def size(self) -> int:
        """In bytes."""
        size = _DTYPES[self.dtype]
        for length in self.shape:
            size *= length
        return size


class Header(NamedTuple):
    """A header that was read."""

    tensors: list[HeaderTensor]
    metadata: dict[str, str]
    data_offset: int  # in the file


def lay_out(tensors: list[HeaderTensor]) -> list[HeaderTensor]:
    """Returns the tensors in the order of the file, with their offsets."""
    offset = 0
    laid_out = []
    for tensor in sorted(tensors, key=lambda tensor: (_RANKS[tensor.dtype], tensor.name.encode())):
        laid_out.append(tensor._replace(offset=offset))
        offset += tensor.size
    return laid_out


def encode(tensors: list[HeaderTensor], metadata: dict[str, str]) -> bytes:
    """Returns the bytes in front of the values.

    Args:
        tensors: of `lay_out`.
        metadata: texts.

    Raises:
        UnsupportedError: the header is longer than the format allows.
    """
    header: dict[str, Any] = {METADATA: metadata} if metadata else {}
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.offset, tensor.offset + tensor.size],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > _MOST_HEADER_BYTES:
        raise errors.UnsupportedError(
            f"the header of the safetensors file would have {len(text)} bytes; the format allows "
            f"{_MOST_HEADER_BYTES}. Export parts, with --drop"
        )
    return len(text).to_bytes(8, "little") + text


def header_size(start: bytes, path: str, most_bytes: int) -> int:
    """Returns the bytes of a header from the file's first eight.

    Raises:
        DamagedError: the file is none of the format.
        UnsupportedError: the header has more than `most_bytes`.
    """
    size = int.from_bytes(start, "little")
    if len(start) < 8 or size > _MOST_HEADER_BYTES:
        raise errors.DamagedError(f"{printable(path)!r} is no safetensors file")
    if size > most_bytes:
        raise errors.UnsupportedError(
            f"{printable(path)!r} has a header of {size} bytes, too many for the memory allowed: "
            f"give {memory_option(8 * size)} or more"
        )
    return size


def decode(text: bytes, path: str, file_size: int) -> Header:
    """Reads a header.

    Args:
        text: the JSON, without the length before it.
        path: of the file, for messages.
        file_size: in bytes.

    Raises:
        DamagedError: it is not one, or does not describe all bytes of the file once.
        UnsupportedError: it has tensors of a dtype that TensorFlow does not have.
    """
    try:
        fields = json.loads(text.decode(), object_pairs_hook=_unique)
        metadata = fields.pop(METADATA, {})
        _check_metadata(metadata)
        tensors = [_tensor(name, entry) for name, entry in fields.items()]
        _check_ranges(tensors, file_size - 8 - len(text))
    except errors.UnsupportedError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.DamagedError(
            f"the header of {printable(path)!r} is damaged: {printable(str(error))}"
        ) from error
    return Header(tensors, metadata, 8 + len(text))


def _check_metadata(metadata: dict[str, Any]) -> None:
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice")
    return fields


def _tensor(name: str, entry: dict[str, Any]) -> HeaderTensor:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    name.encode()  # JSON can spell halves of characters, which are no text.
    if dtype in _NARROW_DTYPES:
        raise errors.UnsupportedError(
            f"tensor {printable(name)!r} is of {dtype}, whose elements share bytes. TensorFlow has no "
            "such dtype"
        )
    if dtype not in _DTYPES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {dtype!r}")
    numbers = [begin, end, *shape]
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise ValueError(f"tensor {name!r} has a shape or a range that is none")
    tensor = HeaderTensor(name, dtype, tuple(shape), begin)
    if len(shape) > 254 or tensor.size != end - begin:
        raise ValueError(f"tensor {name!r} has {end - begin} bytes, expected {tensor.size}")
    return tensor


def _check_ranges(tensors: list[HeaderTensor], data_size: int) -> None:
    """Checks that the tensors hold every byte once, as the format demands."""
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size)):
        if tensor.offset != end:
            raise ValueError(f"tensor {tensor.name!r} begins at {tensor.offset}, expected {end}")
        end += tensor.size
    if end != data_size:
        raise ValueError(f"it describes {end} bytes of values, and the file has {data_size}")
