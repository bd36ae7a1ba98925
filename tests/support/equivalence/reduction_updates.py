"""Programs like those of `row_updates`, with what is not the same reduction of the replicas' values.

Casts that wrap around or cut off, dimensions that broadcasting moves, diagonals, infinity, NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from support.equivalence.update_programs import Inputs, program, variable


@program()
def casts_of_sums(p: Inputs) -> Any:
    small, count = variable("small", dtype=tf.int64), variable("count", dtype=tf.int64)
    total = tf.reduce_sum(tf.cast(p.ids * 20, tf.uint8))  # Wraps around.
    return [small, count], [
        small.assign_add(tf.cast(total, tf.int64)),
        count.assign_add(tf.cast(tf.cast(tf.reduce_sum(p.classes - 1), tf.bool), tf.int64)),
    ]


@program()
def cast_of_an_extreme(p: Inputs) -> Any:
    v = variable("v", dtype=tf.int64)
    return v, v.assign_add(tf.cast(tf.cast(tf.reduce_max(p.ids * 30), tf.int8), tf.int64))


@program()
def cast_of_a_complex_mean(p: Inputs) -> Any:
    v = variable("v", dtype=tf.int64)
    mean = tf.reduce_mean(tf.complex(p.x * 9.0, p.x))
    return v, v.assign_add(tf.cast(tf.math.real(mean) > 0.5, tf.int64) + tf.cast(mean, tf.int64))


@program()
def matmul_of_another_rank(p: Inputs) -> Any:
    left, right = variable("left"), variable("right")
    x = p.x[:, None]
    w = tf.ones([1, 1, 3, 2], tf.float64)
    return [left, right], [
        left.assign_add(tf.norm(tf.reduce_sum(tf.linalg.matmul(x, w), 0))),
        right.assign_add(tf.norm(tf.reduce_sum(tf.linalg.matmul(w[..., :1], x), 0))),
    ]


@program()
def solve_for_each_pair_of_rows(p: Inputs) -> Any:
    v = variable("v")
    matrices = 1.0 + tf.square(p.x[:, :1, None])
    solved = tf.linalg.triangular_solve(matrices, p.x[:, None, None])
    return v, v.assign_add(tf.reduce_sum(solved))


@program()
def diagonal_by_einsum(p: Inputs) -> Any:
    v = variable("v")
    diagonal = tf.raw_ops.Einsum(inputs=[p.x[:, 0]], equation="i->ii")
    return v, v.assign_add(tf.norm(tf.reduce_sum(diagonal, 0)))


@program()
def sum_that_is_infinite(p: Inputs) -> Any:
    v, bins = variable("v", 3), variable("bins", 4, 3)
    large = tf.exp(p.x * 1e4)
    binned = tf.math.unsorted_segment_sum(large, p.classes, 4)
    return [v, bins], [v.assign(tf.reduce_sum(large, 0)), bins.assign(binned)]


@program()
def extremes_with_nan(p: Inputs) -> Any:
    low, high, bins = variable("low", 3), variable("high", 3), variable("bins", 4, 3)
    holed = tf.where(p.x < -0.4, tf.constant(np.nan, tf.float64), p.x)
    return [low, high, bins], [
        low.assign(tf.reduce_min(holed, 0)),
        high.assign(tf.reduce_max(holed, 0)),
        bins.assign(tf.math.unsorted_segment_max(holed, p.classes, 4)),
    ]
