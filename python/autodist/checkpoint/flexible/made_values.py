"""Computes the values of grown and cast variables, from a checkpoint and from what they hold.

All are read at once by the op that restores, whose checks they pass before they are used. A
hand-made part of a variable gets its part of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import _native
from autodist.checkpoint.flexible import growth
from autodist.checkpoint.flexible.restore_plan import MadeOp
from autodist.layout import Box


def needs_base(made: MadeOp) -> bool:
    """Tells whether a value has rows that the checkpoint lacks."""
    rows = _rows_of_part(made)
    return rows is not None and bool((rows == growth.NO_ROW).any())


def compute(
    prefix: str, all_made: Sequence[MadeOp], bases: Sequence[Any], threads: int
) -> list[Any]:
    """Returns the arrays that ops take.

    Args:
        prefix: The checkpoint's prefix.
        all_made: What is made.
        bases: For each the array whose rows it has where the checkpoint has none; `None` if it
            has all, or to have zeros.
        threads: Number of threads that read; 0 lets the machine decide.

    Raises:
        tf.errors.DataLossError: The checkpoint is damaged.
        tf.errors.InvalidArgumentError: A value does not fit the dtype that it is cast to.
    """
    requests = [_request(made) for made in all_made]
    wanted = [number for number, spec in enumerate(requests) if spec is not None]
    arrays: list[Any] = [None] * len(all_made)
    read = _read(
        prefix,
        [(all_made[i].stored_name, requests[i] or "", all_made[i].stored.dtype) for i in wanted],
        threads,
    )
    for number, array in zip(wanted, read, strict=True):
        arrays[number] = array
    return [
        _assembled(made, array, base)
        for made, array, base in zip(all_made, arrays, bases, strict=True)
    ]


def evaluate(initializer: Any, made: MadeOp) -> Any:
    """Returns an array of a value's shape that an initializer makes.

    Args:
        initializer: It is called with a shape and a dtype.
        made: The value.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session(config=_config()) as session:
        return session.run(initializer(list(_box(made).extent), dtype=made.value.dtype))


def _request(made: MadeOp) -> str | None:
    """Returns the slice that is read for a value; `None` if nothing is."""
    if made.growth is None:
        return made.value.spec
    taken = _taken_rows(made)
    if not taken.size:
        return None
    axis, box = made.growth.axis, _box(made)
    first = int(taken.min())
    return _along(box, axis, first, int(taken.max()) + 1 - first).slice_spec(made.stored.shape)


def _assembled(made: MadeOp, array: Any, base: Any) -> Any:
    value = made.value
    if array is not None:
        array = _cast(np.asarray(array), value.dtype, value.name)
    rows = _rows_of_part(made)
    if rows is None:
        return array
    assert made.growth is not None
    if base is None:
        nothing: Any = b"" if value.dtype == tf.string else 0
        result = np.full(_box(made).extent, nothing, value.dtype.as_numpy_dtype)
    else:
        result = np.array(base, value.dtype.as_numpy_dtype)
    if array is not None:
        place: list[Any] = [slice(None)] * result.ndim
        place[made.growth.axis] = rows != growth.NO_ROW
        taken = _taken_rows(made)
        result[tuple(place)] = np.take(array, taken - taken.min(), made.growth.axis)
    return result


def _cast(array: Any, dtype: Any, name: str) -> Any:
    """Returns an array in another float dtype.

    Raises:
        tf.errors.InvalidArgumentError: A finite element would no longer be finite.
    """
    if array.dtype == dtype.as_numpy_dtype:
        return array
    with np.errstate(all="ignore"):
        result = array.astype(dtype.as_numpy_dtype)
    lost = int(np.count_nonzero(np.isfinite(array) & ~np.isfinite(result)))
    if lost:
        raise tf.errors.InvalidArgumentError(
            None,
            None,
            f"{name!r}: {lost} elements are too large for {dtype.name}: cast would make them "
            "infinite or not a number. All variables keep their values. Restore it into a wider "
            "dtype",
        )
    return result


def _rows_of_part(made: MadeOp) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    if made.growth is None or made.rows is None:
        return None
    axis, box = made.growth.axis, _box(made)
    rows: np.ndarray[Any, np.dtype[np.int64]] = made.rows[box.start[axis] :][: box.extent[axis]]
    return rows


def _taken_rows(made: MadeOp) -> np.ndarray[Any, np.dtype[np.int64]]:
    rows = _rows_of_part(made)
    assert rows is not None
    taken: np.ndarray[Any, np.dtype[np.int64]] = rows[rows != growth.NO_ROW]
    return taken


def _box(made: MadeOp) -> Box:
    box = made.value.box
    assert box is not None
    return box


def _along(box: Box, axis: int, start: int, extent: int) -> Box:
    starts, extents = list(box.start), list(box.extent)
    starts[axis], extents[axis] = start, extent
    return Box(tuple(starts), tuple(extents))


def _read(prefix: str, requests: Sequence[tuple[str, str, Any]], threads: int) -> list[Any]:
    """Returns slices of tensors of a checkpoint; the op checks their CRCs."""
    if not requests:
        return []
    names, specs, dtypes = zip(*requests, strict=True)
    with tf.Graph().as_default(), tf.compat.v1.Session(config=_config()) as session:
        tensors = _native.ops().autodist_restore(
            prefix,
            list(names),
            list(specs),
            pins=[],
            dtypes=list(dtypes),
            tensor_types=list(dtypes),
            variable_entries=[],
            variable_shapes=[],
            validate_shapes=[],
            tensor_entries=list(range(len(names))),
            tensor_shapes=[tf.TensorShape(None)] * len(names),
            threads=threads,
        )
        return list(session.run(list(tensors)))


def _config() -> Any:
    return tf.compat.v1.ConfigProto(device_count={"GPU": 0})
