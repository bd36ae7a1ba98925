"""A logical variable is one variable, in however many pieces and copies it lies."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import AllReduce, PartitionedPS

tf1 = tf.compat.v1
START = np.arange(15.0).reshape(5, 3)
LAYOUTS = {
    "cut": lambda: PartitionedPS(3, min_variable_bytes=0),
    "cut along axis 1": lambda: PartitionedPS(2, axis=1, min_variable_bytes=0),
    "copied": AllReduce,
}


@pytest.fixture(params=LAYOUTS)
def strategy(request: pytest.FixtureRequest) -> Any:
    return LAYOUTS[request.param]()


def build_variable() -> Any:
    return tf1.get_variable("v", initializer=tf.constant(START))


def read_copies(session: Any, name: str, *, is_whole: bool = False) -> list[np.ndarray]:
    """Every copy of variable `name`, each in one piece; `is_whole`: it is not cut."""
    transformer = session._transformer
    placed = next(v for v in transformer.variables if v.logical.name == name)
    assert placed.copy_count > 1 or (placed.shard_count == 1) == is_whole
    with transformer.graph.as_default():
        reads = [
            [tf.raw_ops.ReadVariableOp(resource=h, dtype=placed.logical.dtype) for h in row]
            for row in placed.handles
        ]
    rows = session._runner.run(lambda inner: inner.run(reads))
    axis = placed.grid.cut_axes[0] if placed.grid is not None else 0
    return [np.concatenate(row, axis) for row in rows]


def assert_holds(session: Any, variable: Any, expected: np.ndarray, **how: bool) -> None:
    np.testing.assert_array_equal(session.run(variable), expected)
    for copy in read_copies(session, variable.op.name, **how):
        np.testing.assert_array_equal(copy, expected)


def test_the_session_initialises_it(strategy: Any, distribute: Any) -> None:
    session, v = distribute(build_variable, strategy)
    assert_holds(session, v, START)
    assert session.run(tf1.report_uninitialized_variables()).size == 0


def test_load_sets_it(strategy: Any, distribute: Any) -> None:
    session, v = distribute(build_variable, strategy)
    v.load(START + 7.0, session)
    assert_holds(session, v, START + 7.0)


def test_eval_reads_it(strategy: Any, distribute: Any) -> None:
    session, v = distribute(build_variable, strategy)
    np.testing.assert_array_equal(v.eval(session), START)
    with session.as_default():
        np.testing.assert_array_equal((v * 2.0).eval(), 2 * START)


ROWS = np.array([4, 0, 2, 0])
UPDATES = np.arange(12.0).reshape(4, 3) + 1.0


def scatter(kind: str) -> Callable[[Any], Any]:
    return lambda v: getattr(v, f"scatter_{kind}")(tf.IndexedSlices(UPDATES, ROWS))


def expect_scattered(combine: Callable[..., None]) -> np.ndarray:
    expected = START.copy()
    combine(expected, ROWS, UPDATES)
    return expected


WRITES: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "assign": (lambda v: v.assign(START * 3.0), START * 3.0),
    "assign, not read": (lambda v: v.assign(START * 3.0, read_value=False), START * 3.0),
    "assign itself doubled": (lambda v: v.assign(v * 2.0), START * 2.0),
    "assign_add": (lambda v: v.assign_add(tf.ones([5, 3], tf.float64)), START + 1.0),
    "assign_sub": (lambda v: v.assign_sub(START), START - START),
    "tf1.assign": (lambda v: tf1.assign(v, START + 1), START + 1),
    "tf1.assign_add": (lambda v: tf1.assign_add(v, START), START * 2),
    "scatter_add": (scatter("add"), expect_scattered(np.add.at)),
    "scatter_sub": (scatter("sub"), expect_scattered(np.subtract.at)),
    "scatter_mul": (scatter("mul"), expect_scattered(np.multiply.at)),
    "scatter_div": (scatter("div"), expect_scattered(np.divide.at)),
    "scatter_min": (scatter("min"), expect_scattered(np.minimum.at)),
    "scatter_max": (scatter("max"), expect_scattered(np.maximum.at)),
    "scatter_update of a row": (
        lambda v: v.scatter_update(
            tf.IndexedSlices(tf.fill([1, 3], tf.constant(9.0, tf.float64)), [3])
        ),
        np.where(np.arange(5)[:, None] == 3, 9.0, START),
    ),
    "scatter_add of a scalar": (
        lambda v: tf1.scatter_add(v, [1, 4], tf.constant(2.0, tf.float64)),
        START + np.where(np.isin(np.arange(5), [1, 4])[:, None], 2.0, 0.0),
    ),
    "slice assign": (
        lambda v: v[1:3].assign(np.zeros([2, 3])),
        np.where(np.isin(np.arange(5), [1, 2])[:, None], 0, START),
    ),
    "scatter_nd_add": (
        lambda v: v.scatter_nd_add([[4, 2], [0, 0]], np.array([1.0, 2.0])),
        START + np.eye(15)[14].reshape(5, 3) + 2 * np.eye(15)[0].reshape(5, 3),
    ),
}


# No strategy cuts a variable that is updated so.
NEEDS_WHOLE = {"slice assign", "scatter_nd_add"}


@pytest.mark.parametrize("write", WRITES)
def test_an_update_reaches_every_piece_of_it(write: str, strategy: Any, distribute: Any) -> None:
    make, expected = WRITES[write]

    def build() -> Any:
        v = build_variable()
        return v, tf.group(make(v))

    session, (v, update) = distribute(build, strategy)
    session.run(update)
    assert (expected != START).any()
    assert_holds(session, v, expected, is_whole=write in NEEDS_WHOLE)


@pytest.mark.parametrize("write", ["assign", "assign_add", "assign itself doubled", "scatter_add"])
def test_an_update_that_is_made_later_reaches_it_too(
    write: str, strategy: Any, distribute: Any
) -> None:
    session, v = distribute(build_variable, strategy)
    session.run(v)
    make, expected = WRITES[write]
    session.run(make(v))
    assert_holds(session, v, expected)


def test_what_an_update_returns_is_the_new_value(strategy: Any, distribute: Any) -> None:
    session, v = distribute(build_variable, strategy)
    np.testing.assert_array_equal(session.run(v.assign_add(START)), 2 * START)


READS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "gather": (lambda v: tf.gather(v, [[4, 0], [1, 1]]), START[[[4, 0], [1, 1]]]),
    "sparse_read": (lambda v: v.sparse_read([3, 2]), START[[3, 2]]),
    "gather of nothing": (lambda v: tf.gather(v, tf.zeros([0], tf.int32)), START[:0]),
    "gather of one": (lambda v: tf.gather(v, 4), START[4]),
    "gather_nd": (lambda v: tf.gather_nd(v, [[4, 1], [0, 2]]), START[[4, 0], [1, 2]]),
    "gather along axis 1": (lambda v: tf.gather(v, [2, 0], axis=1), START[:, [2, 0]]),
    "slice": (lambda v: v[1:4, ::2], START[1:4, ::2]),
    "shape": (tf.shape, [5, 3]),
    "initial_value": (lambda v: v.initial_value, START),
    "is_initialized": (tf1.is_variable_initialized, True),
    "transpose": (lambda v: tf.matmul(v, v, transpose_a=True), START.T @ START),
    "sum": (lambda v: tf.reduce_sum(tf.square(v)), (START**2).sum()),
}


@pytest.mark.parametrize("read", READS)
def test_what_is_read_is_what_the_whole_variable_gives(
    read: str, strategy: Any, distribute: Any
) -> None:
    make, expected = READS[read]

    def build() -> Any:
        v = build_variable()
        return make(v)

    session, value = distribute(build, strategy)
    np.testing.assert_allclose(session.run(value), expected, rtol=1e-12)


def test_an_index_outside_of_it_is_refused_as_in_stock(strategy: Any, distribute: Any) -> None:
    session, rows = distribute(lambda: tf.gather(build_variable(), [0, 5]), strategy)
    with pytest.raises(tf.errors.InvalidArgumentError, match="indices"):
        session.run(rows)


def test_variables_may_start_from_other_variables(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        v = build_variable()
        w = tf1.get_variable("w", initializer=v.initial_value * 2.0)
        return w, tf1.get_variable("u", initializer=w.initial_value + v.initial_value)

    session, (w, u) = distribute(build, strategy)
    assert_holds(session, w, 2 * START)
    assert_holds(session, u, 3 * START)


def test_variables_may_start_from_the_value_of_others(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        v = build_variable()
        return tf1.get_variable("w", initializer=tf.identity(v) * 2.0)

    session, w = distribute(build, strategy)
    assert_holds(session, w, 2 * START)


def test_copies_of_random_initial_values_are_equal(distribute: Any) -> None:
    def build() -> Any:
        return tf1.get_variable("v", [5, 3], initializer=tf1.random_normal_initializer())

    session, _ = distribute(build, AllReduce(), 3)
    first, second, third = read_copies(session, "v")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)
    assert first.std() > 0


def test_seeded_initial_values_are_those_of_one_node(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        return tf1.get_variable("v", [5, 3], initializer=tf1.glorot_uniform_initializer(seed=3))

    with tf.Graph().as_default(), tf1.Session() as stock:
        tf1.set_random_seed(1)
        v = build()
        stock.run(v.initializer)
        expected = stock.run(v)

    def build_seeded() -> Any:
        tf1.set_random_seed(1)
        return build()

    session, v = distribute(build_seeded, strategy)
    np.testing.assert_array_equal(session.run(v), expected)


def test_string_and_integer_variables_are_kept(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        words = tf1.get_variable("words", initializer=tf.constant(["a", "bb", "ccc"]))
        numbers = tf1.get_variable("numbers", initializer=tf.constant([5, 6, 7], tf.int64))
        flag = tf1.get_variable("flag", initializer=tf.constant(True))
        return words, numbers, flag

    session, built = distribute(build, strategy)
    words, numbers, flag = session.run(built)
    assert words.tolist() == [b"a", b"bb", b"ccc"]
    assert numbers.tolist() == [5, 6, 7]
    assert flag
    session.run(built[0].assign(["d", "e", "f"]))
    assert session.run(built[0]).tolist() == [b"d", b"e", b"f"]


def test_a_global_step_counts_steps_not_replicas(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        step = tf1.train.get_or_create_global_step()
        return step, tf1.assign_add(step, 1)

    session, (step, count) = distribute(build, strategy)
    for _ in range(3):
        session.run(count)
    assert session.run(step) == 3


def test_the_layout_table_names_every_variable(distribute: Any) -> None:
    session, _ = distribute(build_variable, PartitionedPS(2, min_variable_bytes=0))
    ((name, layout, reason),) = session.layout_table()
    assert name == "v"
    assert "2 shards, 1 replica; axis 0: [3, 2]" in layout
    assert reason == "2 shards along axis 0"


def test_all_plain_reads_of_a_step_see_the_same_value(strategy: Any, distribute: Any) -> None:
    """On several devices a read could otherwise come after an update that the same step makes."""

    def build() -> Any:
        v = build_variable()
        return v, v * 2.0, v.assign(v + 1.0), v.assign_add(tf.ones_like(v))

    session, (_, doubled, assigned, added) = distribute(build, strategy)
    values = session.run([doubled, assigned, added])
    np.testing.assert_array_equal(values[0], 2 * START)

    placed = next(p for p in session._transformer.variables if p.logical.name == "v")
    for handle in (handle for row in placed.handles for handle in row):
        reads = [op for op in handle.consumers() if op.type == "ReadVariableOp"]
        plain = [op for op in reads if not op.control_inputs]
        updates = [op for op in handle.consumers() if op.type == "AssignAddVariableOp"]
        assert len(plain) == 1
        assert updates
        assert all(plain[0] in op.control_inputs for op in updates)


def test_a_plain_read_can_be_fed_alone(strategy: Any, distribute: Any) -> None:
    def build() -> Any:
        v = build_variable()
        one, other = v.value(), v.value()
        return one, one + 0.0, other + 0.0

    session, (one, from_one, from_other) = distribute(build, strategy)
    got = session.run([from_one, from_other], {one: np.zeros([5, 3])})
    np.testing.assert_array_equal(got, [np.zeros([5, 3]), START])
