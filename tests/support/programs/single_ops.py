"""One op or idiom a program, between a layer and a loss: rows meet rows, rows meet data of a known number of rows.

Each case is a function of `h`, a layer's rows, [None, 4]. Its value is fetched, and trained on by its mean square.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import draw, fed
from support.programs.parts import dense, f64, sgd, tf1
from support.programs.registry import Built, program

KNOWN = 6
"""The rows of each batch of the cases that know how many rows there are."""
LENGTHS = (1, 3, 2, 0, 2, 4)
_constant = functools.partial(tf.constant, dtype=f64)


def _fixed(*shape: int) -> Any:
    return _constant(np.linspace(-1.0, 2.0, int(np.prod(shape))).reshape(shape))


def _swap_rows(h: Any) -> Any:
    even, odd = h[0::2], h[1::2]
    n = tf.minimum(tf.shape(even)[0], tf.shape(odd)[0])
    return even[:n] * odd[:n]


def _pairs(h: Any) -> Any:
    return tf.reduce_sum(tf.square(h[:, tf.newaxis] - h[tf.newaxis]), 2)


def _dynamic_partition(h: Any) -> Any:
    first, second = tf.dynamic_partition(h, tf.cast(h[:, 0] > 0, tf.int32), 2)
    return tf.concat([first, -second], 0)


def _dynamic_stitch(h: Any) -> Any:
    rows = tf.range(tf.shape(h)[0])
    return tf.dynamic_stitch([rows[::2], rows[1::2]], [h[::2], 2.0 * h[1::2]])


def _counts(h: Any) -> Any:
    return tf.cast(tf.math.bincount(tf.cast(h[:, 0] > 0, tf.int32), minlength=4, maxlength=4), f64)


def _scatter(h: Any) -> Any:
    rows = tf.range(tf.shape(h)[0])
    return tf.scatter_nd(tf.reverse(rows, [0])[:, tf.newaxis], h, tf.shape(h))


def _first_half(h: Any) -> Any:
    half = tf.shape(h)[0] // 2
    return (tf.reduce_mean(tf.square(h[:half])) + tf.reduce_mean(tf.square(h[half:]))) / 2.0


# Any number of rows.
MEETING: dict[str, Callable[[Any], Any]] = {
    "halves_of_the_batch": _first_half,
    "first_row": lambda h: h - h[0],
    "last_row": lambda h: h * h[-1:],
    "every_second_row": lambda h: h[::2],
    "all_but_the_first_row": lambda h: h[1:] - h[:-1],
    "slice_from_a_row": lambda h: tf.slice(h, [1, 0], [2, 4]),
    "gather_of_fixed_rows": lambda h: tf.gather(h, [0, 2]),
    "gather_in_order_of_a_column": lambda h: tf.gather(h, tf.argsort(h[:, 0])),
    "gather_of_the_next_row": lambda h: tf.gather(
        h, (tf.range(tf.shape(h)[0]) + 1) % tf.shape(h)[0]
    ),
    "product_of_all_pairs": lambda h: tf.nn.log_softmax(tf.matmul(h, h, transpose_b=True)),
    "distances_of_all_pairs": _pairs,
    "row_pairs": _swap_rows,
    "gram_matrix": lambda h: tf.matmul(h, h, transpose_a=True),
    "einsum_over_the_rows": lambda h: tf.einsum("ij,ik->jk", h, tf.tanh(h)),
    "tensordot_over_the_rows": lambda h: tf.tensordot(h, h, [[0], [0]]),
    "top_k_of_the_batch": lambda h: tf.nn.top_k(tf.reduce_sum(h, 1), 2).values,
    "top_k_of_each_row": lambda h: tf.nn.top_k(h, 2).values,
    "sort_over_the_rows": lambda h: tf.sort(h, 0),
    "sort_of_each_row": lambda h: tf.sort(h, 1),
    "l2_normalize_over_the_rows": lambda h: tf.nn.l2_normalize(h, 0),
    "l2_normalize_of_each_row": lambda h: tf.nn.l2_normalize(h, 1),
    "softmax_over_the_rows": lambda h: tf.nn.softmax(h, 0),
    "rows_by_the_largest": lambda h: h / (1.0 + tf.reduce_max(tf.abs(h))),
    "rows_by_the_sum": lambda h: h / (5.0 + tf.reduce_sum(tf.abs(h))),
    "rows_minus_the_mean": lambda h: h - tf.reduce_mean(h, 0),
    "rows_minus_the_least": lambda h: h - tf.reduce_min(h, 0, keepdims=True),
    "rows_by_the_product": lambda h: h * tf.reduce_prod(h[:, :1]),
    "rows_by_the_deviation": lambda h: h / (0.1 + tf.math.reduce_std(h, 0)),
    "rows_by_the_logarithm_of_a_sum": lambda h: h - tf.reduce_logsumexp(h, 0),
    "rows_by_the_norm": lambda h: h / (1.0 + tf.norm(h)),
    "rows_clipped_by_the_norm": lambda h: tf.clip_by_norm(h, 1.0),
    "rows_clipped_by_their_own_norms": lambda h: tf.clip_by_norm(h, 1.0, 1),
    "rows_clipped_by_the_average": lambda h: (
        h * tf.minimum(0.1 * tf.cast(tf.size(h), f64) / tf.norm(h), 1.0)
    ),
    "median_of_the_batch": lambda h: h - tf.sort(h, 0)[tf.shape(h)[0] // 2],
    "cumsum_over_the_rows": tf.cumsum,
    "cumsum_of_each_row": lambda h: tf.cumsum(h, 1),
    "cumprod_over_the_rows": tf.math.cumprod,
    "reverse_of_the_rows": lambda h: h * tf.reverse(h, [0]),
    "reverse_of_each_row": lambda h: h * tf.reverse(h, [1]),
    "roll_of_the_rows": lambda h: h * tf.roll(h, 1, 0),
    "shift_of_the_rows": lambda h: h + tf.concat([tf.zeros([1, 4], f64), h[:-1]], 0),
    "pad_of_the_rows": lambda h: tf.pad(h, [[0, 2], [0, 0]]),
    "mirror_of_the_rows": lambda h: tf.pad(h, [[2, 1], [0, 0]], "REFLECT"),
    "tile_of_the_rows": lambda h: tf.tile(h, [2, 1]) * tf.concat([h, 2.0 * h], 0),
    "repeat_of_the_rows": lambda h: tf.repeat(h, 2, 0),
    "reshape_to_two_groups": lambda h: tf.reduce_max(tf.reshape(h, [2, -1]), 1),
    "reshape_of_each_row": lambda h: tf.reduce_max(tf.reshape(h, [-1, 2, 2]), 2),
    "reshape_over_rows": lambda h: tf.reduce_max(
        tf.reshape(tf.concat([h, h], 1), [-1, 16 // 4]), 1
    ),
    "reshape_to_one_line": lambda h: tf.cumsum(tf.reshape(h, [-1])),
    "transpose_and_softmax": lambda h: tf.nn.softmax(tf.transpose(h)),
    "transpose_and_back": lambda h: tf.transpose(tf.tanh(tf.transpose(h))),
    "matrix_as_an_image": lambda h: tf.nn.max_pool(h[tf.newaxis, :, :, tf.newaxis], 2, 1, "SAME"),
    "convolution_over_the_rows": lambda h: tf.nn.conv1d(h[tf.newaxis], _fixed(3, 4, 2), 1, "SAME")[
        0
    ],
    "row_numbers": lambda h: h * tf.cast(tf.range(tf.shape(h)[0]), f64)[:, tf.newaxis],
    "number_of_rows": lambda h: h * tf.cast(tf.shape(h)[0], f64),
    "rows_by_their_number": lambda h: (
        tf.linspace(_constant(0.0), 1.0, tf.shape(h)[0])[:, tf.newaxis] * h
    ),
    "eye_of_the_rows": lambda h: tf.matmul(tf.eye(tf.shape(h)[0], dtype=f64), h),
    "one_hot_of_row_numbers": lambda h: (
        tf.one_hot(tf.range(tf.shape(h)[0]), 8, dtype=f64) * h[:, :1]
    ),
    "lower_triangle": lambda h: tf.matmul(
        tf.linalg.band_part(tf.matmul(h, h, transpose_b=True), -1, 0), h
    ),
    "diagonal_of_pairs": lambda h: tf.linalg.diag_part(tf.matmul(h, h, transpose_b=True)),
    "diagonal_of_rows": lambda h: tf.linalg.diag(h[:, 0]),
    "determinant_of_the_gram": lambda h: tf.linalg.logdet(
        tf.matmul(h, h, transpose_a=True) + 9.0 * tf.eye(4, dtype=f64)
    ),
    "least_squares": lambda h: tf.linalg.solve(
        tf.matmul(h, h, transpose_a=True) + tf.eye(4, dtype=f64), tf.reduce_sum(h, 0)[:, tf.newaxis]
    ),
    "segment_sum_of_groups": lambda h: tf.math.segment_sum(h, tf.range(tf.shape(h)[0]) // 2),
    "unsorted_segment_mean": lambda h: tf.math.unsorted_segment_mean(
        h, tf.cast(h[:, 0] > 0, tf.int32), 2
    ),
    "segments_given_back": lambda h: tf.gather(
        tf.math.unsorted_segment_sum(h, tf.cast(h[:, 0] > 0, tf.int32), 2),
        tf.cast(h[:, 0] > 0, tf.int32),
    ),
    "boolean_mask": lambda h: tf.boolean_mask(h, h[:, 0] > 0),
    "boolean_mask_of_entries": lambda h: tf.boolean_mask(h, h > 0),
    "masked_assignment": lambda h: tf.where(h > 0, h, tf.zeros_like(h)),
    "where_all_rows_are_small": lambda h: tf.where(tf.reduce_all(h < 0.5), h, -h),
    "dynamic_partition": _dynamic_partition,
    "dynamic_stitch": _dynamic_stitch,
    "scatter_of_rows": _scatter,
    "best_row": lambda h: tf.gather(h, tf.argmax(h[:, 0])),
    "row_of_the_largest_of_each_column": lambda h: tf.gather(h, tf.argmax(h, 0)),
    "unique_of_rounded": lambda h: (
        h * tf.cast(tf.size(tf.unique(tf.cast(tf.round(h[:, 0]), tf.int32))[0]), f64)
    ),
    "one_minus_the_share_of_zeros": lambda h: (
        h * (1.0 - tf.cast(tf.math.zero_fraction(tf.nn.relu(h)), f64))
    ),
    "moments_by_hand": lambda h: (
        tf.square(h - tf.reduce_mean(h)) / (1.0 + tf.reduce_mean(tf.square(h)))
    ),
    "sum_of_squares_of_sums": lambda h: tf.square(tf.reduce_sum(h, 0)),
    "product_of_two_means": lambda h: tf.reduce_mean(h[:, 0]) * tf.reduce_mean(h[:, 1]),
    "correlation": lambda h: (
        tf.reduce_sum(h[:, 0] * h[:, 1])
        / tf.sqrt(1.0 + tf.reduce_sum(h[:, 0] ** 2) * tf.reduce_sum(h[:, 1] ** 2))
    ),
    "unstack_of_each_row": lambda h: tf.add_n(tf.unstack(h, axis=1)),
    "stack_of_rows": lambda h: tf.stack([h, 2.0 * h], 0),
    "concat_over_rows": lambda h: tf.concat([h, tf.square(h)], 0),
    "concat_with_a_constant_row": lambda h: tf.concat([h, _fixed(1, 4)], 0),
    "meshgrid": lambda h: tf.add_n(list(tf.meshgrid(h[:, 0], h[:, 1]))),
    "searchsorted": lambda h: (
        h * tf.cast(tf.searchsorted(tf.sort(h[:, 0]), h[:, 1]), f64)[:, tf.newaxis]
    ),
    "bincount": lambda h: h[0] * _counts(h),
    "space_to_batch": lambda h: tf.space_to_batch(
        tf.reshape(h, [-1, 2, 2, 1]), [2, 2], [[0, 0], [0, 0]]
    ),
    "batch_to_space": lambda h: tf.batch_to_space(
        tf.reshape(h, [-1, 1, 1, 1]), [2, 2], [[0, 0], [0, 0]]
    ),
    "fft_over_the_rows": lambda h: tf.abs(tf.signal.fft(tf.cast(tf.transpose(h), tf.complex128))),
    "diagonal": tf.linalg.diag_part,
    "stop_gradient_of_the_mean": lambda h: h * tf.stop_gradient(tf.reduce_mean(h)),
    "gradient_of_rows": lambda h: h * tf.gradients(tf.reduce_mean(h**3), h)[0],
    "gradient_of_a_sum_of_rows": lambda h: h * tf.gradients(tf.reduce_sum(h**3), h)[0],
}

# Six rows, as data beside the batch has.
KNOWING: dict[str, Callable[[Any], Any]] = {
    "concat_with_a_fixed_placeholder": lambda h: tf.concat(
        [h, tf1.placeholder_with_default(np.ones([KNOWN, 2]), [KNOWN, 2])], 1
    ),
    "times_a_range": lambda h: h * tf.cast(tf.range(KNOWN), f64)[:, tf.newaxis],
    "product_with_a_square_constant": lambda h: tf.matmul(_fixed(KNOWN, KNOWN), h),
    "product_with_a_square_variable": lambda h: tf.matmul(
        tf1.get_variable("square", [KNOWN, KNOWN], f64, tf1.constant_initializer(0.2)), h
    ),
    "plus_a_variable_of_rows": lambda h: (
        h + tf1.get_variable("rows", [KNOWN, 4], f64, tf1.ones_initializer())
    ),
    "constant_labels": lambda h: tf.nn.softmax_cross_entropy_with_logits(
        labels=_fixed(KNOWN, 4), logits=h
    ),
    "sparse_constant_labels": lambda h: tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.constant([0, 1, 2, 3, 0, 1]), logits=h
    ),
    "where_with_a_constant": lambda h: tf.where(
        tf.constant([True, False, True, True, False, True])[:, tf.newaxis], h, -h
    ),
    "where_of_whole_rows": lambda h: tf1.where(
        tf.constant([True, False, True, True, False, True]), h, -h
    ),
    "times_a_constant_column": lambda h: h * _fixed(KNOWN, 1),
    "gather_by_a_constant_permutation": lambda h: tf.gather(h, [5, 4, 3, 0, 1, 2]),
    "gather_of_pairs": lambda h: tf.gather_nd(h, tf.constant([[i, i % 4] for i in range(KNOWN)])),
    "reverse_sequence": lambda h: tf.reverse_sequence(h, tf.constant(LENGTHS), 1, 0),
    "sequence_mask_of_a_constant": lambda h: h * tf.sequence_mask(tf.constant(LENGTHS), 4, f64),
    "reshape_to_the_known_rows": lambda h: 2.0 * tf.reshape(h, [KNOWN, 4]),
    "reshape_to_two_of_three": lambda h: tf.reduce_max(tf.reshape(h, [2, 3, 4]), 1),
    "set_shape": lambda h: _with_shape(h) * _fixed(KNOWN, 4),
    "ensure_shape": lambda h: tf.ensure_shape(h, [KNOWN, 4]) * 2.0,
    "unstack_of_the_rows": lambda h: tf.add_n(tf.unstack(h, KNOWN)),
    "split_in_two": lambda h: tf.split(h, 2)[0] * tf.split(h, 2)[1],
    "split_by_sizes": lambda h: tf.split(h, [2, 4])[1],
    "concat_over_rows_with_a_constant": lambda h: tf.concat([h, _fixed(KNOWN, 4)], 0),
    "stack_with_a_constant": lambda h: tf.stack([h, _fixed(KNOWN, 4)], 1),
    "segments_of_constant_numbers": lambda h: tf.math.segment_sum(
        h, tf.constant([0, 0, 1, 1, 1, 2])
    ),
    "unsorted_segments_of_constant_numbers": lambda h: tf.math.unsorted_segment_sum(
        h, tf.constant([2, 0, 1, 0, 1, 2]), 3
    ),
    "boolean_mask_of_a_constant": lambda h: tf.boolean_mask(
        h, [True, False, True, True, False, True]
    ),
    "partition_by_constants": lambda h: tf.dynamic_partition(h, tf.constant([0, 1, 0, 1, 1, 0]), 2)[
        1
    ],
    "scatter_to_constants": lambda h: tf.scatter_nd(
        tf.constant([[5], [4], [3], [0], [1], [2]]), h, [KNOWN, 4]
    ),
    "broadcast_to_the_known_rows": lambda h: tf.broadcast_to(tf.reduce_sum(h, 0), [KNOWN, 4]) * h,
    "einsum_with_a_constant": lambda h: tf.einsum("ij,ij->i", h, _fixed(KNOWN, 4)),
    "tensordot_with_a_constant": lambda h: tf.tensordot(_fixed(3, KNOWN), h, 1),
    "squared_difference_to_a_constant": lambda h: tf.math.squared_difference(h, _fixed(KNOWN, 4)),
    "select_of_the_largest_of_a_constant": lambda h: tf.maximum(h, _fixed(KNOWN, 4)),
    "random_numbers_from_a_seed": lambda h: (
        h * tf.random.stateless_uniform([KNOWN, 4], [1, 2], dtype=f64)
    ),
    "sampled_once_from_a_seed": lambda h: (
        h + tf.random.stateless_normal([KNOWN, 1], [3, 4], dtype=f64)
    ),
}


def _with_shape(h: Any) -> Any:
    same = tf.identity(h)
    same.set_shape([KNOWN, 4])
    return same


def _build(case: Callable[[Any], Any], rows: tuple[int, ...]) -> Built:
    x = fed([None, 3])
    h = dense(x, 4, "h")
    value = case(h)
    loss = tf.reduce_mean(tf.square(value)) + 0.1 * tf.reduce_mean(tf.square(h))

    def feed(step: int) -> Any:
        return {x: draw(step).randn(rows[step], 3) + np.linspace(-1, 1, rows[step])[:, None]}

    return Built([sgd(loss, 0.02)], {"loss": loss, "value": value}, feed)


def _add(name: str, case: Callable[[Any], Any], rows: tuple[int, ...]) -> None:
    def build() -> Built:
        return _build(case, rows)

    build.__name__ = name
    program()(build)


for _name, _case in MEETING.items():
    _add(
        _name,
        _case,
        (8, 4, 8, 4) if _name in {"batch_to_space", "reshape_to_two_groups"} else (5, 7, 4, 1),
    )
for _name, _case in KNOWING.items():
    _add(_name, _case, (KNOWN,) * 4)
