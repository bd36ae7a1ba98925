"""Converts boxes to arrays: their starts and extents, a row for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autodist.layout import Box

Integers = npt.NDArray[np.int64]


def arrays_of(boxes: Sequence[Box], rank: int) -> tuple[Integers, Integers]:
    """The starts and the extents of boxes of one rank, each of shape `[boxes, rank]`."""
    shape = (len(boxes), rank)
    starts = np.array([box.start for box in boxes], np.int64).reshape(shape)
    return starts, np.array([box.extent for box in boxes], np.int64).reshape(shape)


def integers(values: Any, what: str, shape: tuple[int, ...]) -> Integers:
    """`values` as int64 of a shape.

    Args:
        values: Anything NumPy takes for integers.
        what: How messages call it.
        shape: What the shape must be; -1 is any length.

    Raises:
        ValueError: It is of another shape, or not of integers.
    """
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{what} must be integers, not {array.dtype}")
    fits = array.ndim == len(shape) and all(
        wanted in {-1, length} for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if length < 0 else str(length) for length in shape)
        raise ValueError(f"{what} must be of shape [{wanted}], not {list(array.shape)}")
    return np.ascontiguousarray(array, np.int64)
