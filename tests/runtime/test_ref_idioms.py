"""What programs do with ref variables, in the scope: as on one node, where variables are ref variables, or refused."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import AutoDist
from autodist.errors import ArgumentError, UnsupportedGraphError
from autodist.strategy import PS, PartitionedPS
from support.specs import write_local_spec
from support.strategies import STRATEGIES

tf1 = tf.compat.v1


@pytest.fixture
def spec(tmp_path: Path) -> str:
    return write_local_spec(tmp_path)


def slices() -> Any:
    return tf.IndexedSlices(tf.constant([9.0]), tf.constant([1]))


@contextlib.contextmanager
def control_flow(v2: bool) -> Iterator[None]:
    before = tf1.control_flow_v2_enabled()
    (tf1.enable_control_flow_v2 if v2 else tf1.disable_control_flow_v2)()
    try:
        yield
    finally:
        (tf1.enable_control_flow_v2 if before else tf1.disable_control_flow_v2)()


def after(update: Any, read: Callable[[], Any]) -> Any:
    with tf1.control_dependencies([update]):
        return read()


def in_a_loop(v: Any) -> Any:
    def body(i: Any) -> Any:
        return after(v.assign_add(tf.ones_like(v)), lambda: i + 1)

    return tf.while_loop(lambda i: i < 3, body, [0])


def copied_initial(v: Any) -> Any:
    return tf1.Variable(v.initialized_value() * 2.0, name="copied")


# Each takes a variable that holds [1, 2, 3], and returns what is run or fetched.
IDIOMS: dict[str, Callable[[Any], Any]] = {
    "if v": lambda v: tf.constant(1 if v else 0),
    "not v": lambda v: tf.constant(1 if not v else 0),
    "v or w": lambda v: (v or None) + 1.0,
    "v and w": lambda v: (v and v) + 1.0,
    "if v for zeros": lambda v: tf.constant(1 if tf1.Variable([0.0, 0.0]) else 0),
    "v is None, v == None": lambda v: tf.constant([v is None, v == None, v != None]),  # noqa: E711
    "v == w": lambda v: tf.constant([v == tf1.Variable(1.0), v != tf1.Variable(1.0)]),
    "v in list": lambda v: tf.constant([v in tf1.global_variables(), v in [None, 1]]),
    "v in set and dict": lambda v: tf.constant([v in {v, None}, {v: True}[v]]),
    "list.index": lambda v: tf.constant([tf1.Variable(1.0), v].index(v)),
    "isinstance": lambda v: tf.constant(
        [isinstance(v, tf1.Variable), isinstance(v, tf.Variable), tf.is_tensor(v)]
    ),
    "initialized_value": lambda v: v.initialized_value(),
    "initialized_value in an initial value": copied_initial,
    "the variable in an initial value": lambda v: tf1.Variable(v * 2.0),
    "initial_value": lambda v: v.initial_value,
    "op": lambda v: v.op,
    "op.outputs": lambda v: v.op.outputs[0],
    "the tensor by name": lambda v: v.graph.get_tensor_by_name(v.name),
    "name and shapes": lambda v: tf.constant(
        [*v.shape.as_list(), len(v.get_shape()), v.ref() == v.ref()]
    ),
    "value, read_value": lambda v: v.value() + v.read_value(),
    "convert": tf.convert_to_tensor,
    "operators": lambda v: tf.stack([v + 1, 1 - v, v * v, -v, abs(v), v / 2, v**2]),
    "indexing": lambda v: [v[1], v[1:], tf.gather(v, [2, 0]), tf.gather_nd(v, [[1]])],
    "assign": lambda v: v.assign([4.0, 5.0, 6.0]),
    "tf.assign": lambda v: tf1.assign(v, [4.0, 5.0, 6.0], use_locking=True),
    "assign.op": lambda v: v.assign([4.0, 5.0, 6.0]).op,
    "assign_add": lambda v: v.assign_add([1.0, 1.0, 1.0]),
    "tf.assign_add": lambda v: tf1.assign_add(v, [1.0, 1.0, 1.0]),
    "tf.assign_sub": lambda v: tf1.assign_sub(v, [1.0, 1.0, 1.0]),
    "assign of another": lambda v: v.assign(tf1.Variable([7.0, 8.0, 9.0])),
    "what an assignment returns": lambda v: v.assign([4.0, 5.0, 6.0]) * 2.0,
    "a slice assigned": lambda v: v[1:].assign([8.0, 9.0]),
    "scatter_update": lambda v: v.scatter_update(slices()),
    "scatter_add": lambda v: v.scatter_add(slices()),
    "tf.scatter_update": lambda v: tf1.scatter_update(v, [1], [9.0]),
    "tf.scatter_add": lambda v: tf1.scatter_add(v, [1], [9.0]),
    "tf.scatter_sub": lambda v: tf1.scatter_sub(v, [1], [9.0]),
    "tf.scatter_mul": lambda v: tf1.scatter_mul(v, [1], [9.0]),
    "tf.scatter_nd_update": lambda v: tf1.scatter_nd_update(v, [[1]], [9.0]),
    "tf.scatter_nd_add": lambda v: tf1.scatter_nd_add(v, [[1]], [9.0]),
    "count_up_to": lambda v: tf1.Variable(0).count_up_to(3),
    "tf.count_up_to": lambda v: tf1.count_up_to(tf1.Variable(0), 3),
    "is_variable_initialized": tf1.is_variable_initialized,
    "assert_variables_initialized": lambda v: tf1.assert_variables_initialized([v]),
    "report_uninitialized_variables": lambda v: tf1.report_uninitialized_variables([v]),
    "variables_initializer": lambda v: tf1.variables_initializer([v]),
    "initializer": lambda v: v.initializer,
    "a control dependency on it": lambda v: after(v, lambda: tf.constant(1.0)),
    "read after an assignment": lambda v: after(v.assign([4.0, 5.0, 6.0]), lambda: tf.identity(v)),
    "group": lambda v: tf.group(v, v.assign([4.0, 5.0, 6.0])),
    "gradients": lambda v: tf1.gradients(v * v, v)[0],
    "a loop variable": lambda v: tf.while_loop(lambda a: a[0] < 9.0, lambda a: a + 1.0, [v]),
    "returned by a branch": lambda v: tf1.cond(tf.constant(value=True), lambda: v, lambda: v + 1.0),
    "a moving average": lambda v: tf1.train.ExponentialMovingAverage(0.5).apply([v]),
    "py_func": lambda v: tf1.py_func(lambda a: a * 2, [v], tf.float32),
    "map_fn": lambda v: tf.map_fn(lambda a: a * 2, v),
    "from_proto": lambda v: tf1.Variable.from_proto(v.to_proto()) + 1.0,
}


def outcomes(open_session: Callable[[], Any]) -> dict[str, Any]:
    """What each idiom gives, and what its variable holds afterwards."""
    wanted = {}
    for number, (name, idiom) in enumerate(IDIOMS.items()):
        v = tf1.get_variable(f"v_{number}", initializer=tf.constant([1.0, 2.0, 3.0]))
        wanted[name] = idiom(v), v
    found = {}
    with open_session() as session:
        for name, (element, v) in wanted.items():
            found[name] = session.run(element), v.eval(session=session)
    return found


@pytest.fixture(scope="module")
def of_ref_variables() -> dict[str, Any]:
    def open_session() -> Any:
        session = tf1.Session()
        # TensorFlow initialises variables in no order, also those whose initial values read others.
        variables = tf1.global_variables()
        first = [v.initializer for v in variables if v.op.name.removeprefix("v_").isdigit()]
        session.run(first)
        session.run([v.initializer for v in variables if v.initializer not in first])
        return session

    with tf.Graph().as_default():
        before = tf1.resource_variables_enabled()
        tf1.disable_resource_variables()
        try:
            return outcomes(open_session)
        finally:
            if before:
                tf1.enable_resource_variables()


@pytest.mark.parametrize("strategy", ["PSLoadBalancing", "AllReduce", "PartitionedPS"])
def test_an_idiom_gives_what_it_gives_for_ref_variables(
    strategy: str, spec: str, of_ref_variables: dict[str, Any]
) -> None:
    with tf.Graph().as_default():
        autodist = AutoDist(spec, STRATEGIES[strategy]())
        with autodist.scope():
            found = outcomes(autodist.create_distributed_session)
    for name, expected in of_ref_variables.items():
        tf.nest.map_structure(
            lambda a, b, name=name: np.testing.assert_array_equal(a, b, name), found[name], expected
        )


REFUSED = {
    "_ref": (lambda v: v._ref(), r"resource variable.*read_value"),
    "+=": (lambda v: v.__iadd__(1.0), r"variable\.assign_add"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_told(name: str, spec: str) -> None:
    use, text = REFUSED[name]
    with tf.Graph().as_default(), AutoDist(spec).scope():
        v = tf1.get_variable("v", initializer=1.0)
        with pytest.raises((AttributeError, RuntimeError), match=text):
            use(v)
        assert not hasattr(v, "_ref")


def test_a_ref_variable_is_refused(spec: str) -> None:
    with tf.Graph().as_default(), AutoDist(spec).scope() as autodist:
        tf1.get_variable("v", initializer=1.0, use_resource=False)
        with pytest.raises(UnsupportedGraphError, match="'v' is a ref variable"):
            autodist.create_distributed_session()


def test_truth_is_tensorflows_again_outside_of_the_scope(spec: str) -> None:
    with tf.Graph().as_default():
        with AutoDist(spec).scope():
            v = tf1.get_variable("v", initializer=1.0)
            with tf.Graph().as_default():
                other = tf1.get_variable("other", initializer=1.0, use_resource=True)
                with pytest.raises(TypeError, match="bool"):
                    bool(other)
        with pytest.raises(TypeError, match="bool"):
            bool(v)
        with pytest.raises(NotImplementedError):
            v.initialized_value()


def test_random_values_are_drawn_once_for_a_copy(spec: str) -> None:
    with (
        tf.Graph().as_default(),
        AutoDist(spec, PartitionedPS(2, min_variable_bytes=0)).scope() as a,
    ):
        v = tf1.get_variable("v", initializer=tf.random.normal([50]))
        w = tf1.get_variable("w", initializer=v.initialized_value())
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            first, second = session.run([v, w])
            np.testing.assert_array_equal(first, second)
        with a.create_distributed_session() as session:
            first, second = session.run([v, w])
            np.testing.assert_array_equal(first, second)


def build_step() -> dict[str, Any]:
    x = tf1.placeholder(tf.float32, [None, 4], "x")
    w = tf1.get_variable("w", [4, 6], initializer=tf1.constant_initializer(0.1))
    # One that no collection holds.
    count = tf1.Variable(0.0, trainable=False, collections=[])
    step = tf1.train.get_or_create_global_step()
    loss = tf.reduce_mean(tf.square(x @ w - 1.0))
    return {
        "train": tf1.train.AdamOptimizer(0.1).minimize(loss, global_step=step),
        "step": step,
        "step by name": "global_step:0",
        "w": w,
        "count": count,
        "counted": count.assign_add(1.0).op,
        "loss": loss,
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_variable_beside_the_training_step_has_the_value_after_it(
    strategy: str, spec: str
) -> None:
    with tf.Graph().as_default(), AutoDist(spec, STRATEGIES[strategy]()).scope() as autodist:
        built = build_step()
        # Stock TensorFlow's takes the read that is fetched.
        tf1.train.Saver([*tf1.global_variables(), built["count"]])
        session = autodist.create_distributed_session()
        session.run(built["count"].initializer)
        x = np.random.default_rng(1).normal(size=(5, 4))
        for number in range(1, 31):
            fetched = session.run(built, {"x:0": x})
            assert fetched["step"] == fetched["step by name"] == fetched["count"] == number
            np.testing.assert_array_equal(fetched["w"], session.run(built["w"]))
        session.close()


@pytest.mark.parametrize("v2", [False, True])
def test_it_is_read_after_what_the_run_asks_for_and_no_more(spec: str, v2: bool) -> None:
    # Updates in branches and loops, updates that a fed tensor leaves out, and ops that are added later.
    with tf.Graph().as_default(), AutoDist(spec, PS()).scope() as autodist, control_flow(v2):
        condition = tf1.placeholder(tf.bool, [], "condition")
        v = tf1.get_variable("v", initializer=1.0)
        taken = tf1.cond(condition, lambda: v.assign_add(10.0).op, lambda: tf.no_op())  # noqa: PLW0108
        looped = in_a_loop(v)
        inside: list[Any] = []

        def update() -> Any:
            inside.append(v.assign_add(100.0).op)
            return after(inside[0], lambda: tf.constant(1.0))

        branches = tf1.cond(condition, update, lambda: tf.constant(2.0))
        # An op of a branch by itself: what waits for it is not run where the branch is not taken.
        by_itself = tf.no_op() if v2 else tf.group(*inside)
        assigned = v.assign(5.0) * 2.0
        behind = assigned + 1.0
        session = autodist.create_distributed_session()

        for _ in range(2):  # As TensorFlow takes it apart, and as it is remembered.
            session.run(v.initializer)
            assert session.run([taken, v], {condition: True})[1] == 11.0
            assert session.run([taken, v], {condition: False})[1] == 11.0
            assert session.run([looped, v])[1] == 14.0
            assert session.run([by_itself, v], {condition: False})[1] == 14.0
            assert session.run([branches, v], {condition: False}) == [2.0, 14.0]
            assert session.run([branches, v], {condition: True}) == [1.0, 114.0]
            assert session.run([behind, v]) == [11.0, 5.0]
            session.run(v.assign(6.0))
            assert session.run([behind, v], {assigned: 1.0}) == [2.0, 6.0]
            assert session.run([v, "v:0"]) == [6.0, 6.0]
        later = v.assign_add(0.5)
        assert session.run([v, later.op, {"again": v}]) == [6.5, None, {"again": 6.5}]
        session.close()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_read_that_an_update_waits_for_has_the_value_before_it(strategy: str, spec: str) -> None:
    def build() -> list[Any]:
        v = tf1.get_variable("v", [4, 3], initializer=tf1.zeros_initializer())
        built = []
        for read in (v.value(), tf.raw_ops.ReadVariableOp(resource=v.handle, dtype=tf.float32)):
            with tf1.control_dependencies([read]):
                # What is run need not be the update itself.
                built.append([read, tf.group(v.assign_add(tf.ones([4, 3])), name="step")])
        return built

    with tf.Graph().as_default(), tf1.Session() as stock:
        built = build()
        stock.run(tf1.global_variables_initializer())
        expected = [stock.run(fetches)[0] for fetches in built * 3]
    with tf.Graph().as_default(), AutoDist(spec, STRATEGIES[strategy]()).scope() as autodist:
        built = build()
        with autodist.create_distributed_session() as session:
            found = [session.run(fetches)[0] for fetches in built * 3]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.ravel(found)[::12], np.arange(6.0))


@pytest.mark.parametrize("strategy", ["PS", "AllReduce", "PartitionedPS"])
def test_a_fed_variable_is_fed_wherever_it_is_read(strategy: str, spec: str) -> None:
    with tf.Graph().as_default(), AutoDist(spec, STRATEGIES[strategy]()).scope() as autodist:
        x = tf1.placeholder(tf.float32, [None, 4], "x")
        rate = tf1.get_variable("rate", initializer=0.5, trainable=False)
        w = tf1.get_variable("w", initializer=tf.ones([4]))
        used = w * 2.0
        loss = tf.reduce_mean(tf.reduce_sum(x * w, 1))
        train = tf1.train.GradientDescentOptimizer(rate).minimize(loss, var_list=[w])
        session = autodist.create_distributed_session()
        rows = np.ones([6, 4], np.float32)
        for key in (w, w.name, w.handle):
            for _ in range(2):
                given = {key: np.full([4], 3.0), x: rows}
                np.testing.assert_array_equal(session.run(used, given), np.full([4], 6.0))
                assert session.run([loss, w], given)[0] == 12.0
        np.testing.assert_array_equal(session.run(w), np.ones([4]))
        session.run(train, {x: rows, rate: 0.25})
        np.testing.assert_array_equal(session.run(w), np.full([4], 0.75))
        assert loss.eval({x: rows, w: np.zeros([4])}, session) == 0.0
        assert session.make_callable(used, [w])(np.full([4], 4.0)).tolist() == [8.0] * 4
        session.close()


def test_a_variable_that_is_read_by_rows_cannot_be_fed(spec: str) -> None:
    with tf.Graph().as_default(), AutoDist(spec).scope() as autodist:
        table = tf1.get_variable("table", initializer=tf.ones([4, 2]))
        rows = tf.gather(table, [1])
        session = autodist.create_distributed_session()
        with pytest.raises(
            ArgumentError, match=r"'table:0' cannot be fed: op .*ResourceGather.*load"
        ):
            session.run(rows, {table: np.zeros([4, 2])})
        session.close()
