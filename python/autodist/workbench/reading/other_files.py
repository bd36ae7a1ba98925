"""Files that are no checkpoints of TensorFlow and are often taken for one: what they are."""

from __future__ import annotations

from autodist.workbench import errors
from autodist.workbench.storage import places

# By their first bytes.
_KINDS = {
    b"version https://git-lfs": "a pointer of Git LFS: get the file itself with `git lfs pull`",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes weights",
    b"PK\x03\x04": "a zip archive, as PyTorch, Keras and NumPy write; `autodist import` reads .npz",
    b"\x80\x02": "a pickle of Python, as PyTorch writes",
    b"\x80\x03": "a pickle of Python, as PyTorch writes",
    b"\x80\x04": "a pickle of Python, as PyTorch writes",
}


def known_as(path: str) -> str:
    """Returns what a file is, for the end of a message: `': it is ...'`; `''` if that is not known."""
    try:
        with places.open_file(path) as file:
            begin = file.read(0, min(file.size, 64))
    except errors.AutoDistError:
        return ""
    if len(begin) > 10 and begin[8:10] == b'{"' and int.from_bytes(begin[:8], "little") < 1 << 27:
        return ": it is a safetensors file, which `autodist import` reads"
    return next(
        (f": it is {kind}" for start, kind in _KINDS.items() if begin.startswith(start)), ""
    )
