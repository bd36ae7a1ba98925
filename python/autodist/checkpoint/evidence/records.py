"""Figures as the ops of a save tell them (cc/save/data/tensor_figures.h)."""

from __future__ import annotations

import collections
import math
import struct
from collections.abc import Iterator

import tensorflow as tf

from autodist.evidence import figures as figures_of
from autodist.evidence.figures import VariableFigures

_LENGTH = struct.Struct("<I")
# dtype, crc, has_figures, counts, then doubles.
_FIELDS = struct.Struct("<iII4q6d")


def variables(data: bytes) -> tuple[dict[str, VariableFigures], dict[str, str]]:
    """Returns the figures of variables by name, and why others have none.

    Args:
        data: What the ops told.
    """
    parts: dict[str, list[VariableFigures]] = collections.defaultdict(list)
    without: dict[str, str] = {}
    for name, piece in _records(data):
        if isinstance(piece, str):
            without[name] = f"{piece} has no figures"
        else:
            parts[name].append(piece)
    # Slices of several data files come in the order of the files.
    return {
        name: figures_of.joined(sorted(found, key=_first_element) if len(found) > 1 else found)
        for name, found in parts.items()
    }, without


def _records(data: bytes) -> Iterator[tuple[str, VariableFigures | str]]:
    """Yields the name and the figures of each stored tensor, or its dtype if it has none."""
    at = 0
    while at < len(data):
        texts = []
        for _ in range(2):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            texts.append(data[at : at + length].decode("utf-8", "surrogateescape"))
            at += length
        name, piece = texts
        number, crc, has_figures, *numbers = _FIELDS.unpack_from(data, at)
        at += _FIELDS.size
        dtype = tf.dtypes.as_dtype(number).name
        yield name, _figures(dtype, (piece, crc), numbers) if has_figures else dtype


def _figures(dtype: str, piece: tuple[str, int], numbers: list[float]) -> VariableFigures:
    count, nans, positive, negative = (int(number) for number in numbers[:4])
    minimum, maximum, total, squares, extra_norm, deviation = numbers[4:]
    finite = count - nans - positive - negative
    is_complex = dtype.startswith("complex")
    is_ordered = finite > 0 and not is_complex
    return VariableFigures(
        dtype=dtype,
        count=count // 2 if is_complex else count,
        nans=nans,
        positive_infinities=positive,
        negative_infinities=negative,
        minimum=minimum if is_ordered else None,
        maximum=maximum if is_ordered else None,
        mean=total / finite if is_ordered else None,
        norm=math.hypot(math.sqrt(squares), extra_norm),
        deviation=deviation if deviation >= 0 else None,
        pieces=(piece,),
    )


def _first_element(figures: VariableFigures) -> list[int]:
    """Returns where a slice such as `0,4:-` begins, so that slices are sorted as they lie."""
    piece = figures.pieces[0][0]
    dims = piece.split(":") if piece else []
    return [0 if dim == "-" else int(dim.split(",")[0]) for dim in dims]
