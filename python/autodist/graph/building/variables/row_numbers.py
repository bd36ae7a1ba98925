"""Row numbers of a variable cut along axis 0.

Example: a variable of 10 rows cut into (7, 3). Rows `[8, 2, 9, 2]` become, per shard, `[2, 2]` and
`[1, 2]`: each in the order it had, counted from the shard's first row. What belongs to the rows
(`rows`, e.g. gradients or positions) is split the same way. A row number may lie in no shard. It is
then counted from the first row of the first or the last shard. There the op that uses it reports
it, as for the whole variable.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.layout import Grid


def split_rows(indices: Any, grid: Grid, rows: Any) -> tuple[list[Any], list[Any]]:
    """Splits row numbers, and what belongs to them, by the ranges of axis 0 of `grid`.

    Args:
      indices: integer tensor of shape `[n]`.
      grid: how the variable is cut.
      rows: tensor of shape `[n, ...]`.

    Returns:
      Per range of axis 0: the row numbers counted from the range's start, and the rows.
    """
    starts = grid.starts(0)
    if len(starts) == 1:
        return [indices], [rows]
    bounds = tf.constant(starts, indices.dtype)
    part = tf.maximum(tf.searchsorted(bounds, indices, side="right") - 1, 0)
    local = indices - tf.gather(bounds, part)
    count = len(starts)
    return tf.dynamic_partition(local, part, count), tf.dynamic_partition(rows, part, count)
