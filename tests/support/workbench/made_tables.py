"""Indexes made byte by byte, so that they can be wrong while their sums are right."""

import struct

from autodist.workbench.reading import tables


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def block(rows: list[tuple[bytes, bytes]]) -> bytes:
    data = b"".join(
        b"\0" + varint(len(key)) + varint(len(value)) + key + value for key, value in rows
    )
    data += struct.pack("<II", 0, 1) + b"\0"
    crc = tables.module().extend_crc(0, data)
    return data + struct.pack("<I", tables.module().mask_crc(crc))


def index_of(entries: dict[bytes, bytes], header: bytes = b"\x08\x01\x1a\x02\x08\x01") -> bytes:
    """An index of these entries, with sums that are right."""
    data = block([(b"", header), *sorted(entries.items())])
    handle = varint(0) + varint(len(data) - 5)
    index = block([(b"\xff", handle)])
    footer = varint(0) * 2 + varint(len(data)) + varint(len(index) - 5)
    return data + index + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def entry(
    shape: tuple[int, ...] = (2,), offset: int = 0, size: int = 8, dtype: int = 1, file: int = 0
) -> bytes:
    dims = b"".join(b"\x12" + varint(len(d)) + d for d in (b"\x08" + varint(n) for n in shape))
    fields = b"\x08" + varint(dtype) + b"\x12" + varint(len(dims)) + dims
    fields += b"\x18" + varint(file) + b"\x20" + varint(offset) + b"\x28" + varint(size)
    crc = tables.module().mask_crc(
        tables.module().extend_crc(0, bytes(size if 0 <= size < 99 else 0))
    )
    return fields + b"\x35" + struct.pack("<I", crc)
