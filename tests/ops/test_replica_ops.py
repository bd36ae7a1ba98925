"""The ops that split a batch over replicas and make one tensor of what the replicas computed."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import _native


def make_rows(count: int, dtype: Any) -> Any:
    rows = np.arange(count * 3).reshape(count, 3)
    return tf.strings.as_string(rows) if dtype == tf.string else tf.cast(rows, dtype)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16, tf.int64, tf.bool, tf.string])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize("count", [1, 3])
def test_parts_are_consecutive_and_join_to_the_batch(rows: int, count: int, dtype: Any) -> None:
    batch = make_rows(rows, dtype)
    parts, sizes = _native.ops().autodist_split_batch(batch=batch, N=count)
    expected = [len(part) for part in np.array_split(np.arange(rows), count)]
    assert sizes.numpy().tolist() == expected
    assert [len(p) for p in parts] == [max(size, min(rows, 1)) for size in expected]
    joined = _native.ops().autodist_join_replicas(values=parts, sizes=sizes)
    assert joined.dtype == dtype
    assert joined.shape == batch.shape
    assert bool(tf.reduce_all(joined == batch))


def test_a_replica_without_a_part_gets_the_last_row() -> None:
    batch = make_rows(2, tf.float32)
    parts, sizes = _native.ops().autodist_split_batch(batch=batch, N=4)
    assert sizes.numpy().tolist() == [1, 1, 0, 0]
    assert all(bool(tf.reduce_all(p == batch[1:])) for p in parts[2:])


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [("float16", 2e-3), ("bfloat16", 2e-2), ("float32", 1e-6), ("float64", 1e-15)],
)
@pytest.mark.parametrize("sizes", [[1], [3, 2], [5, 4, 4], [2, 0, 1]])
def test_the_mean_is_weighted_by_the_sizes(sizes: list[int], dtype: str, tolerance: float) -> None:
    generator = np.random.default_rng(1)
    values = [tf.cast(generator.normal(size=(301, 7)), dtype) for _ in sizes]
    wide = [tf.cast(v, tf.float64).numpy() for v in values]
    expected = sum(v * s for v, s in zip(wide, sizes, strict=True)) / sum(sizes)
    mean = _native.ops().autodist_mean_of_replicas(
        values=values, sizes=tf.constant(sizes, tf.int64)
    )
    assert mean.dtype.name == dtype
    np.testing.assert_allclose(tf.cast(mean, tf.float64), expected, tolerance, tolerance)


def test_a_complex_mean() -> None:
    values = [tf.constant([1 + 2j]), tf.constant([3 - 2j])]
    mean = _native.ops().autodist_mean_of_replicas(
        values=values, sizes=tf.constant([1, 3], tf.int64)
    )
    np.testing.assert_allclose(mean, [2.5 - 1j])


def test_a_replica_without_a_part_counts_as_nothing() -> None:
    values = [tf.constant([[1.0], [2.0]]), tf.constant([[np.nan], [np.inf]])]
    sizes = tf.constant([2, 0], tf.int64)
    ops = _native.ops()
    assert ops.autodist_mean_of_replicas(values=values, sizes=sizes).numpy().tolist() == [[1], [2]]
    assert ops.autodist_join_replicas(values=values, sizes=sizes).numpy().tolist() == [[1], [2]]
    weighted = ops.autodist_join_weighted_replicas(values=values, sizes=sizes)
    assert weighted.numpy().tolist() == [[1], [2]]


def test_weighted_rows_are_joined() -> None:
    values = [tf.constant([[4.0], [8.0]]), tf.constant([[12.0]])]
    sizes = tf.constant([3, 1], tf.int64)
    joined = _native.ops().autodist_join_weighted_replicas(values=values, sizes=sizes)
    assert joined.numpy().tolist() == [[3.0], [6.0], [3.0]]


def test_the_replicas_of_an_empty_batch_have_equal_shares() -> None:
    values = [tf.constant([1.0]), tf.constant([2.0])]
    sizes = tf.constant([0, 0], tf.int64)
    assert _native.ops().autodist_mean_of_replicas(values=values, sizes=sizes).numpy() == [1.5]


def test_tensors_that_do_not_fit_together_are_refused() -> None:
    ops = _native.ops()
    values = [tf.zeros([2, 3]), tf.zeros([2, 4])]
    sizes = tf.constant([1, 1], tf.int64)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"differ in shape: \[2,3\] and \[2,4\]"
    ):
        ops.autodist_mean_of_replicas(values=values, sizes=sizes)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"differ in shape: \[2,3\] and \[2,4\]"
    ):
        ops.autodist_join_replicas(values=values, sizes=sizes)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"sizes of shape \[2\], found \[3\]"):
        ops.autodist_mean_of_replicas(values=values, sizes=tf.constant([1, 1, 1], tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match="found a scalar"):
        ops.autodist_split_batch(batch=1.0, N=2)
