"""Rules for the sizes of dimensions, and what is known of numbers that say where.

See `rule_table`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.graph.kinds.kind import COUNT, REDUCED, SAME, SIZES, SUM, Count, Kind
from autodist.graph.kinds.kinds import Kinds, Rule

Found = list[Kind | None]


def rows_of(kinds: Kinds, op: Any, index: int = 0) -> int | None:
    """The dimension along which the rows of an input lie.

    None where it has none, or an unknown rank.
    """
    kind = kinds.of(op, index)
    is_known = kind is not None and kind.is_rows and op.inputs[index].shape.rank is not None
    return kind.axis if kind is not None and is_known else None


@dataclasses.dataclass(frozen=True)
class Product:
    """A size that is the product of others."""

    factors: tuple[Any, ...]


_FOLDED = {
    "Sub": np.subtract,
    "Add": np.add,
    "AddV2": np.add,
    "Mul": np.multiply,
    "Neg": np.negative,
}


def constant(tensor: Any) -> Any:  # noqa: PLR0911 - a type of ops each
    """The value of a tensor that depends on constants and known ranks alone, as an array.

    None for any other.
    """
    value = tf.get_static_value(tensor)
    if value is not None:
        return np.asarray(value)
    op = tensor.op
    if op.type in ("Identity", "Cast") and tensor.dtype.is_integer:
        return constant(op.inputs[0])
    if op.type == "Pack" and tensor.dtype.is_integer and op.get_attr("axis") == 0:
        parts = [constant(t) for t in op.inputs]
        return None if any(p is None for p in parts) else np.stack(parts)
    if op.type in ("ConcatV2", "Range") and tensor.dtype.is_integer:
        parts = [constant(t) for t in op.inputs]
        if any(p is None for p in parts):
            return None
        return np.concatenate(parts[:-1]) if op.type == "ConcatV2" else np.arange(*map(int, parts))
    if op.type not in _FOLDED or not tensor.dtype.is_integer:
        return None
    inputs = [constant(t) for t in op.inputs]
    return None if any(i is None for i in inputs) else np.asarray(_FOLDED[op.type](*inputs))


def shape(kinds: Kinds, op: Any) -> Found:
    """The output is sizes: the number of rows, and sizes that all replicas share."""
    found: Found = []
    for index, (tensor, made) in enumerate(zip(op.inputs, op.outputs, strict=True)):
        axis = rows_of(kinds, op, index)
        if axis is None:
            kind = kinds.of(op, index)
            # What is reduced has one shape on all replicas; of anything else nothing is known.
            is_same = kind in REDUCED or kind in (SAME, SIZES)
            if kind is None or kind.name != "merged":
                found.append(SAME if is_same else None)
                continue
            axis = kind.axis
        sizes = kinds.dims(tensor)
        kind = kinds.of(op, index)
        sizes[axis] = Count.of(kind.each if kind is not None and kind.is_rows else None)
        kinds.set_sizes(made, sizes)
        found.append(SIZES)
    return found


def size(kinds: Kinds, op: Any) -> Found:
    """The output is a sum over the rows: their number of elements."""
    if rows_of(kinds, op) is None:
        return [None]
    kinds.set_sizes(op.outputs[0], [COUNT])
    return [SUM]


def rank(kinds: Kinds, op: Any) -> Found:
    """The output is the same on all replicas."""
    is_known = kinds.of(op, 0) is not None or op.inputs[0].shape.rank is not None
    return [SAME if is_known else None]


def of_sizes(kinds: Kinds, made: Any, sizes: list[Any]) -> Found:
    """Records the sizes that a tensor holds, and returns its kind."""
    kinds.set_sizes(made, sizes)
    if COUNT not in sizes:
        return [SAME]
    return [SUM if made.shape.rank == 0 else SIZES]


RULES: dict[str, Rule] = {"Shape": shape, "ShapeN": shape, "Size": size, "Rank": rank}
