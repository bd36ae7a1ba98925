"""What an export or an import did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExchangeReport:
    """What was exported or imported.

    Attributes:
        path: the file, or the prefix of the checkpoint.
        tensors: how many.
        data_bytes: of all values.
        data_files: of the checkpoint, as it was or is.
        dropped: the names of tensors that were left out.
        cast: how many tensors were cast.
        kept_layout: whether the slices, data files and CRCs of the checkpoint are kept.
    """

    path: str
    tensors: int
    data_bytes: int
    data_files: int
    dropped: list[str]
    cast: int
    kept_layout: bool
