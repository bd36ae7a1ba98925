"""Decides which tasks may write to one file at once; runs nothing.

Clients of a network file system (NFS, CIFS, 9p, FUSE) cache pages of a file. Two clients that write
to one page overwrite each other's bytes. So does a client that has not seen how long the file is.
So several tasks write one file only where

* all of them see the file on a file system of one machine, and are on that machine: then its kernel
  has the pages; or
* all of them see it on a file system that keeps its clients coherent.

On any other file system, also an unknown one, a file has one writer. The list of file systems:
cc/storage/directory/file_systems.cc.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist import _native

# No client keeps less than a page. Larger blocks than the largest here are not worth to be sent as
# a whole.
PAGE_BYTES = 4096
LARGEST_BLOCK_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class FilePlace:
    """The file as one task sees it: its file system, and its identity there.

    Attributes:
        file_system: Its type, as `statfs` has it; 0 if that is unknown.
        block_bytes: The size of its blocks or stripes.
        device: The device of the file, as `stat` has it.
        inode: Its number there.
        kernel: The boot id of the task's kernel; empty if it is unknown.
    """

    file_system: int
    block_bytes: int
    device: int
    inode: int
    kernel: bytes

    @classmethod
    def of(cls, outputs: Any) -> FilePlace:
        """Returns the outputs `place` and `kernel` of an op as a `FilePlace`.

        Args:
            outputs: The values of its outputs.
        """
        file_system, block_bytes, device, inode = map(int, outputs.place)
        return cls(file_system, block_bytes, device, inode, bytes(outputs.kernel))


def name_of(file_system: int) -> str:
    """Returns the name of a file system, for messages.

    Args:
        file_system: Its type.
    """
    return str(_native.bundle().file_system_name(file_system))


def reason_against(place: FilePlace, chief: FilePlace) -> str:
    """Returns why a task may not write to the file beside the chief; empty if it may.

    Args:
        place: Where the task sees the file.
        chief: Where the chief does, which made it.
    """
    if place.file_system != chief.file_system:
        return f"on {name_of(place.file_system)}, the chief on {name_of(chief.file_system)}"
    kind = _native.bundle().file_system_kind(place.file_system)
    if kind == "coherent":
        return ""
    if kind != "one machine":
        return f"on {name_of(place.file_system)}"
    if not place.kernel or place.kernel != chief.kernel:
        return f"on {name_of(place.file_system)} of another machine than the chief"
    if (place.device, place.inode) != (chief.device, chief.inode):
        return f"through another mount of {name_of(place.file_system)} than the chief"
    return ""


def shared_block_bytes(places: list[FilePlace], limit_bytes: int) -> int:
    """Returns the block size of a shared file in bytes; each block has one writer.

    Args:
        places: Where those see the file that write to it.
        limit_bytes: What a block may have at most; a page is the least.
    """
    wanted = max((place.block_bytes for place in places), default=0)
    most = min(LARGEST_BLOCK_BYTES, limit_bytes) // PAGE_BYTES
    return PAGE_BYTES * max(1, min(-(-wanted // PAGE_BYTES), most))
