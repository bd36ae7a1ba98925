"""From a user's own partitioned graph, the files are stock's of the single-node graph."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.reports import transfer
from autodist.checkpoint.saver import Saver
from support.layouts import set_slice

tf1 = tf.compat.v1

# What stock TensorFlow can cut anew when it restores, and what it cannot.
RESTORABLE = [
    tf.float32,
    tf.float64,
    tf.bfloat16,
    tf.int8,
    tf.int16,
    tf.int32,
    tf.int64,
    tf.uint8,
    tf.bool,
    tf.complex64,
    tf.complex128,
]
NOT_RESTORABLE = [
    tf.float16,
    tf.uint16,
    tf.uint32,
    tf.uint64,
    tf.string,
    tf.dtypes.experimental.float8_e4m3fn,
    tf.dtypes.experimental.float8_e5m2,
]
OPTIMIZERS = {
    "adam": lambda: tf1.train.AdamOptimizer(0.1),
    "momentum": lambda: tf1.train.MomentumOptimizer(0.1, 0.9),
    "ftrl": lambda: tf1.train.FtrlOptimizer(0.1),
    "adagrad": lambda: tf1.train.AdagradOptimizer(0.1),
    "rmsprop": lambda: tf1.train.RMSPropOptimizer(0.1, momentum=0.9, centered=True),
    "adadelta": lambda: tf1.train.AdadeltaOptimizer(0.1),
}


def random_values(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Makes an array of any dtype that a variable can have."""
    generator = np.random.default_rng(seed)
    if dtype == tf.string:
        numbers = generator.integers(0, 10**6, shape)
        return np.vectorize(lambda n: b"x" * int(n % 40) + str(n).encode(), otypes=[object])(
            numbers
        )
    if dtype == tf.bool:
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.is_complex:
        real = generator.standard_normal(shape) + 1j * generator.standard_normal(shape)
        return real.astype(dtype.as_numpy_dtype)
    if dtype.is_floating:
        return np.asarray(generator.standard_normal(shape)).astype(dtype.as_numpy_dtype)
    return np.asarray(generator.integers(0, 100, shape)).astype(dtype.as_numpy_dtype)


def make_partitioned(name: str, value: Any, axis: int, count: int, **arguments: Any) -> Any:
    return tf1.get_variable(
        name,
        initializer=tf.constant(value),
        partitioner=tf1.fixed_size_partitioner(count, axis=axis),
        **arguments,
    )


def make_grid(name: str, value: Any, cuts: list[list[int]], *, use_resource: bool = True) -> Any:
    """A variable for each box of a grid; `cuts` are the borders along each dimension.

    A scalar is a variable of its own: TensorFlow has no slices of it.
    """
    slices = []
    for number, box in enumerate(itertools.product(*[list(itertools.pairwise(c)) for c in cuts])):
        part = value[tuple(slice(start, end) for start, end in box)]
        variable = tf1.get_variable(
            f"{name}_part_{number}", initializer=tf.constant(part), use_resource=use_resource
        )
        if not cuts:
            return [variable]
        set_slice(variable, name, value.shape, box)
        slices.append(variable)
    return slices


def save(saver: Any, prefix: Path, updates: Any = None) -> None:
    """Initialises, runs updates, and saves in a session of the default graph."""
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        if updates is not None:
            session.run(updates)
        saver.save(session, str(prefix))


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as graph:
        yield graph


@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "ref"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", RESTORABLE, ids=lambda dtype: dtype.name)
def test_partitioned_along_an_axis(
    dtype: Any,
    axis: int,
    use_resource: bool,
    tmp_path: Path,
    assert_single_node_files: Any,
) -> None:
    values = {"v": random_values(dtype, (7, 5)), "a": random_values(dtype, (3,), 1)}
    make_partitioned("v", values["v"], axis, 3, use_resource=use_resource)
    tf1.get_variable("a", initializer=tf.constant(values["a"]), use_resource=use_resource)

    save(Saver(), tmp_path / "ours" / "m")

    assert_single_node_files(tmp_path / "ours" / "m", values)


@pytest.mark.parametrize("dtype", NOT_RESTORABLE, ids=lambda dtype: dtype.name)
def test_what_stock_cannot_cut_anew_is_whole_when_asked_for(
    dtype: Any,
    tmp_path: Path,
    assert_single_node_files: Any,
) -> None:
    value = random_values(dtype, (7, 5))
    make_partitioned("v", value, 0, 3)
    save(Saver(layout="original"), tmp_path / "ours" / "m")
    assert_single_node_files(tmp_path / "ours" / "m", {"v": value})


@pytest.mark.parametrize("dtype", NOT_RESTORABLE, ids=lambda dtype: dtype.name)
def test_what_stock_cannot_cut_anew_is_written_as_stock_writes_it(
    dtype: Any, tmp_path: Path, assert_same_bundle: Any
) -> None:
    make_partitioned("v", random_values(dtype, (7, 5)), 0, 3)
    ours, stock = Saver(), tf1.train.Saver()
    save(ours, tmp_path / "ours" / "m")
    save(stock, tmp_path / "stock" / "m")
    assert_same_bundle(tmp_path / "ours" / "m", tmp_path / "stock" / "m")


def test_strings_whole(
    tmp_path: Path,
    assert_single_node_files: Any,
) -> None:
    value = random_values(tf.string, (6, 2))
    tf1.get_variable("v", initializer=tf.constant(value))
    save(Saver(), tmp_path / "ours" / "m")
    assert_single_node_files(tmp_path / "ours" / "m", {"v": value})


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.int64], ids=lambda d: d.name)
def test_layout_slices_is_what_stock_writes_from_the_same_graph(
    dtype: Any, tmp_path: Path, assert_same_bundle: Any
) -> None:
    make_partitioned("v", random_values(dtype, (7, 5)), 1, 2)
    make_partitioned("u", random_values(dtype, (13,)), 0, 12)
    tf1.get_variable("w", initializer=tf.constant(random_values(dtype, ())))
    ours, stock = Saver(layout="slices"), tf1.train.Saver()
    save(ours, tmp_path / "ours" / "m")
    save(stock, tmp_path / "stock" / "m")
    assert_same_bundle(tmp_path / "ours" / "m", tmp_path / "stock" / "m")


@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "ref"])
def test_a_grid_of_two_by_four_slices(
    use_resource: bool,
    tmp_path: Path,
    assert_single_node_files: Any,
) -> None:
    value = random_values(tf.float32, (6, 9))
    slices = make_grid("v", value, [[0, 2, 6], [0, 1, 4, 5, 9]], use_resource=use_resource)
    save(Saver(slices), tmp_path / "ours" / "m")
    assert_single_node_files(tmp_path / "ours" / "m", {"v": value})


@pytest.mark.parametrize("layout", [None, "slices"])
def test_slices_that_are_not_all_there_are_saved_as_stock_saves_them(
    layout: str | None, tmp_path: Path, assert_same_bundle: Any
) -> None:
    value = random_values(tf.float32, (6, 9))
    first, _, last = make_grid("v", value, [[0, 2, 4, 6], [0, 9]])
    ours, stock = Saver([first, last], layout=layout), tf1.train.Saver([first, last])
    save(stock, tmp_path / "stock" / "m")
    save(ours, tmp_path / "ours" / "m")
    assert_same_bundle(tmp_path / "ours" / "m", tmp_path / "stock" / "m")
    with tf1.Session() as session:
        ours.restore(session, str(tmp_path / "ours" / "m"))
        assert (session.run(last.read_value()) == value[4:]).all()


def test_slices_that_are_not_all_there_make_no_whole_variable(tmp_path: Path) -> None:
    first, _ = make_grid("v", random_values(tf.float32, (6, 9)), [[0, 4, 6], [0, 9]])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rows \[4, 6\) are missing"):
        save(Saver([first], layout="original"), tmp_path / "ours" / "m")


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Any, list[list[int]]]:
    """A value of any dtype, of up to four dimensions, and the borders of a grid over it."""
    shape = draw(st.lists(st.integers(1, 7), min_size=0, max_size=4))
    dtype = draw(st.sampled_from([*RESTORABLE, *NOT_RESTORABLE]))
    cuts = [
        [
            0,
            *sorted(
                draw(st.sets(st.integers(1, size - 1), max_size=3) if size > 1 else st.just(()))
            ),
            size,
        ]
        for size in shape
    ]
    return random_values(dtype, tuple(shape), draw(st.integers(0, 1000))), cuts


@hypothesis.settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(variables=st.lists(layouts(), min_size=1, max_size=4))
def test_any_grids(
    variables: list[tuple[Any, list[list[int]]]],
    tmp_path_factory: pytest.TempPathFactory,
    assert_single_node_files: Any,
    assert_same_bundle: Any,
) -> None:
    directory = tmp_path_factory.mktemp("grids")
    with tf.Graph().as_default():
        var_list = {}
        for number, (value, cuts) in enumerate(variables):
            grid = make_grid(f"v{number}", value, cuts)
            var_list[f"v{number}"] = grid if cuts else grid[0]
        original, slices = Saver(var_list, layout="original"), Saver(var_list, layout="slices")
        stock = tf1.train.Saver(var_list)
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            for saver, name in ((original, "original"), (slices, "slices"), (stock, "stock")):
                saver.save(session, str(directory / name / "m"))
    values = {f"v{number}": value for number, (value, _) in enumerate(variables)}
    assert_single_node_files(directory / "original" / "m", values)
    assert_same_bundle(directory / "slices" / "m", directory / "stock" / "m")


def build_training(optimizer: Any, partitioner: Any) -> Any:
    """A dense layer over a looked-up embedding; the train op is returned."""
    with tf1.variable_scope("model", partitioner=partitioner):
        table = tf1.get_variable(
            "table", [11, 4], initializer=tf.random_uniform_initializer(seed=1)
        )
        kernel = tf1.get_variable("kernel", [4, 6], initializer=tf.ones_initializer())
    looked_up = tf1.nn.embedding_lookup(table, tf.constant([0, 3, 3, 10]), partition_strategy="div")
    loss = tf.reduce_sum(tf.square(tf.matmul(looked_up, tf.convert_to_tensor(kernel))))
    return optimizer.minimize(loss, tf1.train.get_or_create_global_step())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_slots_are_saved_as_those_of_the_whole_variable(
    optimizer: str, tmp_path: Path, assert_same_bundle: Any
) -> None:
    with tf.Graph().as_default():
        train = build_training(OPTIMIZERS[optimizer](), tf1.fixed_size_partitioner(3))
        sliced, ours = tf1.train.Saver(), Saver()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            session.run([train])
            session.run([train])
            ours.save(session, str(tmp_path / "ours" / "m"))
            sliced.save(session, str(tmp_path / "sliced" / "m"))

    with tf.Graph().as_default():
        build_training(OPTIMIZERS[optimizer](), None)
        stock = tf1.train.Saver()
        with tf1.Session() as session:
            stock.restore(session, str(tmp_path / "sliced" / "m"))
            stock.save(session, str(tmp_path / "stock" / "m"))
    assert_same_bundle(tmp_path / "ours" / "m", tmp_path / "stock" / "m")


def test_a_second_save_replaces_the_first(tmp_path: Path, assert_single_node_files: Any) -> None:
    variable = make_partitioned("v", np.arange(8.0), 0, 3)
    saver = Saver()
    updates = [part.assign(tf.ones_like(part)) for part in variable]
    save(saver, tmp_path / "ours" / "m")
    save(saver, tmp_path / "ours" / "m", updates)
    assert_single_node_files(tmp_path / "ours" / "m", {"v": np.ones(8)})


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 5}, {"lock": "copy"}], ids=str)
def test_options_do_not_change_the_files(
    options: dict[str, Any],
    tmp_path: Path,
    assert_single_node_files: Any,
) -> None:
    value = random_values(tf.float32, (300, 700))
    make_partitioned("v", value, 1, 3)
    save(Saver(**options), tmp_path / "ours" / "m")
    assert_single_node_files(tmp_path / "ours" / "m", {"v": value})


def test_our_op_did_the_work(tmp_path: Path) -> None:
    make_partitioned("v", np.arange(12.0, dtype=np.float32).reshape(6, 2), 0, 3)
    with transfer.collected() as reports:
        save(Saver(), tmp_path / "m")
    (report,) = reports
    assert (report.variable_count, report.shard_count, report.value_count) == (1, 3, 3)
