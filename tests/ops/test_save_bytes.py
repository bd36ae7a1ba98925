"""Whatever the layout, the files are those that stock SaveV2 writes for the whole values."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.save_ops import Entry, read_bundle, save, save_stock

tf1 = tf.compat.v1

DTYPES = [
    np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.complex64, np.complex128,
    np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.bool_,
    ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn, np.object_,
]  # fmt: skip
LAYOUTS = ("original", "restorable")


def cut(draw: st.DrawFn, box: list[tuple[int, int]], cuts: int) -> list[list[tuple[int, int]]]:
    """Cuts a box, given as half-open ranges, into two along any axis, `cuts` times over."""
    axes = [axis for axis, (begin, end) in enumerate(box) if end - begin > 1]
    if cuts == 0 or not axes:
        return [box]
    axis = draw(st.sampled_from(axes))
    at = draw(st.integers(box[axis][0] + 1, box[axis][1] - 1))
    first, second = box.copy(), box.copy()
    first[axis], second[axis] = (box[axis][0], at), (at, box[axis][1])
    of_first = draw(st.integers(0, cuts - 1))
    return cut(draw, first, of_first) + cut(draw, second, cuts - 1 - of_first)


@st.composite
def sharded_values(draw: st.DrawFn) -> tuple[np.ndarray, list[list[tuple[int, int]]], int]:
    """A value, the boxes of its shards in any order, and a number of replicas."""
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 7, 16, 130]), max_size=4).map(tuple))
    while np.prod(shape) > 300_000:
        shape = shape[1:]
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if dtype == np.object_:
        value = np.array(
            [random.bytes(length) for length in random.integers(0, 200, np.prod(shape, dtype=int))]
        )
        value = value.astype(object).reshape(shape)
    elif dtype == np.bool_:
        value = random.integers(0, 2, shape).astype(bool)
    elif dtype.itemsize == 1 and "int4" in dtype.name:
        value = random.integers(0, 8, shape).astype(dtype)
    else:
        value = np.frombuffer(random.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(
            shape
        )
    boxes = cut(draw, [(0, size) for size in shape], draw(st.integers(0, 5)))
    return value, draw(st.permutations(boxes)), draw(st.sampled_from([1, 1, 2, 3]))


def entries_of(
    make: Callable[..., Any],
    name: str,
    value: np.ndarray,
    boxes: list[list[tuple[int, int]]],
    replicas: int,
) -> list[Any]:
    entries = []
    for box in boxes:
        part = value[(..., *(slice(begin, end) for begin, end in box))]
        spec = ""
        if len(boxes) > 1:
            # A slice has no way to say "none of none".
            ranges = ":".join(f"{begin},{end - begin}" if end else "-" for begin, end in box)
            spec = " ".join(map(str, value.shape)) + " " + ranges
        entries += [make(name, tf.constant(part, shape=part.shape), spec) for _ in range(replicas)]
    return entries


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(values=st.lists(sharded_values(), min_size=1, max_size=6), threads=st.integers(0, 3))
def test_any_layout_gives_the_bytes_of_the_whole_values(
    *,
    values: list[Any],
    threads: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    here = tmp_path_factory.mktemp("bundles")
    with tf.Graph().as_default(), tf1.Session() as session:
        sharded = [entries_of(Entry, f"v{i}", *value) for i, value in enumerate(values)]
        whole = [
            Entry(f"v{i}", tf.constant(value, shape=value.shape))
            for i, (value, _, _) in enumerate(values)
        ]
        session.run(save(here / "ours", list(itertools.chain(*sharded)), threads=threads))
        session.run(save_stock(here / "stock", whole))
    assert read_bundle(here / "ours") == read_bundle(here / "stock")


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(values=st.lists(sharded_values(), min_size=1, max_size=4))
def test_slices_give_the_bytes_of_stock_slices(
    *,
    values: list[Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    here = tmp_path_factory.mktemp("bundles")
    with tf.Graph().as_default(), tf1.Session() as session:
        entries = [
            item
            for i, (value, boxes, _) in enumerate(values)
            for item in entries_of(Entry, f"v{i}", value, boxes, 1)
        ]
        session.run(save(here / "ours", entries, layout="slices"))
        session.run(save_stock(here / "stock", entries))
    assert read_bundle(here / "ours") == read_bundle(here / "stock")


def test_large_shards_on_several_threads_give_the_bytes_of_stock(
    *,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    value = np.random.default_rng(0).standard_normal((3001, 1001)).astype(np.float32)
    columns = entries_of(
        Entry, "columns", value, [[(0, 3001), (0, 400)], [(0, 3001), (400, 1001)]], 2
    )
    rows = entries_of(Entry, "rows", value, [[(0, 2999), (0, 1001)], [(2999, 3001), (0, 1001)]], 1)
    session.run(save(tmp_path / "ours", columns + rows, threads=3))
    session.run(save_stock(tmp_path / "stock", [Entry("columns", value), Entry("rows", value)]))
    assert read_bundle(tmp_path / "ours") == read_bundle(tmp_path / "stock")


def test_many_small_variables_give_the_bytes_of_stock(
    *,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    values = tf.unstack(tf.reshape(tf.range(1000 * 700, dtype=tf.float32), [1000, 700]))
    entries = [Entry(f"v{i:04}", value) for i, value in enumerate(values)]
    session.run(save(tmp_path / "ours", entries))
    session.run(save_stock(tmp_path / "stock", entries))
    assert read_bundle(tmp_path / "ours") == read_bundle(tmp_path / "stock")


@pytest.mark.parametrize("quantized", [tf.qint8, tf.quint8, tf.qint16, tf.quint16, tf.qint32])
def test_quantized_types_give_the_bytes_of_stock(
    *,
    quantized: tf.DType,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    plain = tf.as_dtype(quantized.name.removeprefix("q"))
    top, bottom = (tf.bitcast(tf.constant([low, low + 1], plain), quantized) for low in (1, 3))
    whole = tf.bitcast(tf.constant([1, 2, 3, 4], plain), quantized)
    session.run(save(tmp_path / "ours", [Entry("q", top, "4 0,2"), Entry("q", bottom, "4 2,2")]))
    session.run(save_stock(tmp_path / "stock", [Entry("q", whole)]))
    assert read_bundle(tmp_path / "ours") == read_bundle(tmp_path / "stock")


def test_variants_give_the_bytes_of_stock(
    *,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    elements = tf.raw_ops.TensorListFromTensor(
        tensor=tf.constant([[1.0, 2.0], [3.0, 4.0]]), element_shape=[2]
    )
    entries = [Entry("list", elements), Entry("after", tf.constant(1.0))]
    session.run(save(tmp_path / "ours", entries))
    session.run(save_stock(tmp_path / "stock", entries))
    assert read_bundle(tmp_path / "ours") == read_bundle(tmp_path / "stock")


@pytest.mark.parametrize(
    "dtype",
    [tf.float16, tf.uint16, tf.uint32, tf.uint64, tf.string, tf.dtypes.experimental.float8_e5m2],
)
def test_restorable_writes_slices_only_of_what_stock_cannot_cut(
    *,
    dtype: tf.DType,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    parts = [
        tf.as_string(tf.range(2)) if dtype == tf.string else tf.cast(tf.range(2.0), dtype)
        for _ in range(2)
    ]
    uncut = [Entry("h", parts[0], "4 0,2"), Entry("h", parts[1], "4 2,2")]
    one = Entry("one", parts[0], "2 -")
    floats = [Entry("f", tf.constant([1.0]), "2 0,1"), Entry("f", tf.constant([2.0]), "2 1,1")]
    session.run(save(tmp_path / "ours", [*uncut, one, *floats], layout="restorable"))
    session.run(save_stock(tmp_path / "stock", [*uncut, one, Entry("f", tf.constant([1.0, 2.0]))]))
    assert read_bundle(tmp_path / "ours") == read_bundle(tmp_path / "stock")


def test_an_absolute_file_uri_is_a_path(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    session.run(save(tmp_path / "path", [Entry("a", tf.constant(1.0))]))
    session.run(save(f"file://{tmp_path}/uri", [Entry("a", tf.constant(1.0))]))
    assert read_bundle(tmp_path / "uri") == read_bundle(tmp_path / "path")


def test_a_file_system_of_tensorflows_own_gets_the_same_bytes(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    value = tf.random.normal([700, 600], seed=1)
    parts = [
        Entry("a", value[:, :250], "700 600 -:0,250"),
        Entry("a", value[:, 250:], "700 600 -:250,350"),
    ]
    entries = [*parts, Entry("s", tf.constant(["x", "yy"])), Entry("t", tf.constant(1.0))]
    tf.io.gfile.makedirs("ram://autodist")
    session.run(
        [save("ram://autodist/ours", entries, threads=2), save(tmp_path / "posix", entries)]
    )
    assert read_bundle("ram://autodist/ours") == read_bundle(tmp_path / "posix")
    assert sorted(tf.io.gfile.listdir("ram://autodist")) == [
        "ours.data-00000-of-00001",
        "ours.index",
    ]


def test_the_means_of_replicas_are_those_of_wider_arithmetic(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    replicas = np.random.default_rng(1).standard_normal((3, 500, 700)).astype(np.float32)
    entries = [Entry("odd", tf.constant(True))]
    entries += [Entry("m", replica) for replica in replicas]
    entries += [Entry("s", replica, aggregation="SUM") for replica in replicas]
    entries += [Entry("o", replica, aggregation="ONLY_FIRST_REPLICA") for replica in replicas]
    session.run(save(tmp_path / "ours", entries))
    reader = tf.train.load_checkpoint(str(tmp_path / "ours"))
    total = replicas.astype(np.float64).sum(0)
    np.testing.assert_array_equal(reader.get_tensor("m"), (total / 3).astype(np.float32))
    np.testing.assert_array_equal(reader.get_tensor("s"), total.astype(np.float32))
    np.testing.assert_array_equal(reader.get_tensor("o"), replicas[0])
