"""Every dtype, from every stored layout and writer, into every other layout."""

import os
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.reports import transfer
from autodist.checkpoint.saver import Saver
from support import layouts

tf1 = tf.compat.v1

# `make torture` tries more of them.
EXAMPLES = 400 if os.environ.get("AUTODIST_TORTURE") == "full" else 20

HALF_BYTES = (tf.dtypes.experimental.int4, tf.dtypes.experimental.uint4)


def cuts_of(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Borders along each dimension, in any number and of any distance."""
    return st.tuples(
        *[
            st.sets(st.integers(1, max(1, length - 1)), max_size=3).map(
                lambda inner, length=length: (
                    sorted({0, length, *inner} - {length + 1}) if length > 1 else [0, length]
                )
            )
            for length in shape
        ]
    )


@st.composite
def variables(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """A value, the cuts it is stored with, and those it is wanted with."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5, 7]), max_size=3)))
    value = layouts.random_values(
        draw(st.sampled_from(layouts.DTYPES + layouts.FLOAT8)), shape, draw(st.integers(0, 99))
    )
    return value, draw(cuts_of(shape)), draw(cuts_of(shape))


@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    cases=st.lists(variables(), min_size=1, max_size=3),
    writer=st.sampled_from(sorted(layouts.WRITERS)),
    is_initialized=st.booleans(),
    use_resource=st.booleans(),
    verify=st.sampled_from(["before", "during", "swap"]),
    threads=st.integers(0, 3),
)
def test_any_layout_is_restored_from_any_other(  # noqa: PLR0917 given by name
    cases: Any,
    writer: str,
    is_initialized: bool,
    use_resource: bool,
    verify: str,
    threads: int,
    tmp_path: Path,
) -> None:
    values = {f"v{number}": value for number, (value, _, _) in enumerate(cases)}
    # TensorFlow has no ref variables of float8.
    float8 = {dtype.as_numpy_dtype for dtype in layouts.FLOAT8}
    use_resource = use_resource or any(value.dtype.type in float8 for value in values.values())
    stored = {f"v{number}": cuts for number, (_, cuts, _) in enumerate(cases)}
    prefix = layouts.WRITERS[writer](str(tmp_path / "m"), values, stored)
    with tf.Graph().as_default(), tf1.Session() as session:
        made = [
            layouts.make_variables(
                f"v{number}", layouts.blank(value), wanted, use_resource=use_resource
            )
            for number, (value, _, wanted) in enumerate(cases)
        ]
        if is_initialized:
            session.run(tf1.global_variables_initializer())
        Saver(verify=verify, threads=threads).restore(session, prefix)
        for (value, _, wanted), parts in zip(cases, session.run(made), strict=True):
            for part, expected in zip(parts, layouts.boxes_of(value, wanted), strict=True):
                layouts.assert_same(part, expected)


@pytest.mark.parametrize("verify", ["before", "during", "swap"])
@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "ref"])
@pytest.mark.parametrize("is_initialized", [True, False])
def test_every_dtype_from_columns_into_rows(
    is_initialized: bool, use_resource: bool, verify: str, tmp_path: Path
) -> None:
    shape = (6, 10)
    # TensorFlow has no ref variables of float8.
    dtypes = layouts.DTYPES + (layouts.FLOAT8 if use_resource else [])
    values = {dtype.name: layouts.random_values(dtype, shape) for dtype in dtypes}
    columns, rows = [[0, 6], layouts.evenly(10, 3)], [[0, 1, 4, 6], [0, 10]]
    prefix = layouts.WRITERS["stock"](str(tmp_path / "m"), values, dict.fromkeys(values, columns))
    with tf1.Session() as session:
        made = {
            name: layouts.make_variables(
                name, layouts.blank(value), rows, use_resource=use_resource
            )
            for name, value in values.items()
        }
        if is_initialized:
            session.run(tf1.global_variables_initializer())
        Saver(verify=verify).restore(session, prefix)
        read = session.run(made)
    for name, value in values.items():
        for part, expected in zip(read[name], layouts.boxes_of(value, rows), strict=True):
            layouts.assert_same(part, expected)


def test_quantised_and_half_byte_variables(tmp_path: Path) -> None:
    numbers = np.arange(12).reshape(4, 3) % 7
    dtypes = {dtype: layouts.BITCAST.get(dtype) for dtype in [*layouts.BITCAST, *HALF_BYTES]}

    def tensor_of(dtype: Any, rows: Any) -> Any:
        if dtypes[dtype] is None:
            return tf.cast(tf.constant(rows, tf.int8), dtype)
        return tf.bitcast(tf.constant(rows, dtypes[dtype]), dtype)

    prefix = str(tmp_path / "m")
    write = tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=[dtype.name for dtype in dtypes],
        shape_and_slices=[""] * len(dtypes),
        tensors=[tensor_of(dtype, numbers) for dtype in dtypes],
    )
    parts = []
    for dtype, same_bits in dtypes.items():
        for row in (0, 1):
            rows = slice(row, 3 * row + 1)
            variable = tf1.get_variable(
                f"{dtype.name}_{row}",
                initializer=tensor_of(dtype, numbers[rows] * 0),
                use_resource=True,
            )
            variable._set_save_slice_info(
                tf.Variable.SaveSliceInfo(dtype.name, [4, 3], [row, 0], variable.shape.as_list())
            )
            is_bitcast = same_bits is not None
            readable = tf.bitcast(variable, same_bits) if is_bitcast else tf.cast(variable, tf.int8)
            parts.append((variable, readable, numbers[rows]))
    with tf1.Session() as session:
        session.run(write)
        Saver([variable for variable, _, _ in parts]).restore(session, prefix)
        for _, readable, expected in parts:
            np.testing.assert_array_equal(session.run(readable), expected)


def test_a_byte_is_read_once_whatever_the_shards(tmp_path: Path) -> None:
    value = layouts.random_values(tf.float32, (64, 96))
    prefix = layouts.WRITERS["ours"](
        str(tmp_path / "m"), {"v": value}, {"v": layouts.whole([64, 96])}
    )
    for cuts in ([layouts.evenly(64, 32), [0, 96]], [[0, 64], layouts.evenly(96, 32)]):
        for is_initialized in (False, True):
            with tf.Graph().as_default(), tf1.Session() as session:
                layouts.make_variables("v", value, cuts)
                if is_initialized:
                    session.run(tf1.global_variables_initializer())
                with transfer.collected() as reports:
                    Saver().restore(session, prefix)
            (report,) = reports
            assert report.byte_count == value.nbytes * (2 if is_initialized else 1)
            assert report.value_count == 32
            assert report.variable_count == 1


@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "ref"])
@pytest.mark.parametrize(
    "arguments",
    [{"sharded": True}, {"restore_sequentially": True}, {"write_version": 1}],
    ids=["sharded", "restore_sequentially", "v1"],
)
@pytest.mark.filterwarnings("ignore")
def test_the_ways_of_savers(arguments: dict[str, Any], use_resource: bool, tmp_path: Path) -> None:
    values = {f"v{n}": layouts.random_values(tf.float32, (5, n + 1), n) for n in range(4)}
    cuts = {name: [[0, 2, 5], [0, value.shape[1]]] for name, value in values.items()}
    made = {
        name: layouts.make_variables(name, value, cuts[name], use_resource=use_resource)
        for name, value in values.items()
    }
    clear = [tf1.assign(v, tf.zeros_like(v)) for parts in made.values() for v in parts]
    saver = Saver(**arguments)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        prefix = saver.save(session, str(tmp_path / "m"))
        session.run(clear)
        saver.restore(session, prefix)
        for name, parts in session.run(made).items():
            for part, expected in zip(
                parts, layouts.boxes_of(values[name], cuts[name]), strict=True
            ):
                layouts.assert_same(part, expected)
        session.run(clear)
        tf1.train.Saver(**arguments).restore(session, prefix)


@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "ref"])
def test_reshape(use_resource: bool, tmp_path: Path) -> None:
    value = layouts.random_values(tf.float32, (4, 6))
    prefix = layouts.WRITERS["ours"](str(tmp_path / "m"), {"v": value}, {"v": [[0, 1, 4], [0, 6]]})
    variable = tf1.get_variable("v", initializer=tf.zeros([8, 3]), use_resource=use_resource)
    with tf1.Session() as session:
        with pytest.raises(tf.errors.InvalidArgumentError):
            Saver().restore(session, prefix)
        Saver(reshape=True).restore(session, prefix)
        layouts.assert_same(session.run(variable), value.reshape(8, 3))


def test_iterators_and_tables_beside_variables(tmp_path: Path) -> None:
    iterator = tf1.data.make_initializable_iterator(tf.data.Dataset.range(100))
    following = iterator.get_next()
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    fill = table.insert(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
    forget = table.remove(tf.constant(["a", "b"]))
    looked_up = table.lookup(tf.constant(["b", "c"]))
    [v] = layouts.make_variables("v", np.float32([1, 2]), [[0, 2]])
    clear = v.assign([0, 0])
    saveable = tf.data.experimental.make_saveable_from_iterator(iterator)
    saver = Saver([v, saveable, *tf1.get_collection(tf1.GraphKeys.SAVEABLE_OBJECTS)])
    with tf1.Session() as session:
        session.run([tf1.global_variables_initializer(), iterator.initializer, fill])
        for expected in range(7):
            assert session.run(following) == expected
        prefix = saver.save(session, str(tmp_path / "m"))
        session.run([following, forget, clear])
        saver.restore(session, prefix)
        assert session.run(following) == 7
        assert session.run(looked_up).tolist() == [2, -1]
        assert session.run(v).tolist() == [1, 2]
