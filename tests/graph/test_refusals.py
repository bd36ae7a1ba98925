"""What cannot be distributed is refused by name, before a session exists or when it is met."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from autodist.errors import ArgumentError, GraphStateError, UnsupportedGraphError
from autodist.layout import Grid
from autodist.strategy import (
    AllReduce,
    Devices,
    GraphItem,
    PartitionedPS,
    Placement,
    Strategy,
    StrategyBuilder,
)

tf1 = tf.compat.v1


def build_variable() -> Any:
    return tf1.get_variable("v", initializer=tf.ones([4, 3]))


def test_a_ref_variable_is_refused(distribute: Any) -> None:
    def build() -> Any:
        return tf1.get_variable("old", initializer=1.0, use_resource=False)

    with pytest.raises(UnsupportedGraphError, match="variable 'old' is a ref variable"):
        distribute(build)


def build_second_derivative(second: Any) -> Any:
    v = build_variable()
    x = tf1.placeholder(tf.float32, [None, 4], "x")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(x @ v))
        gradient = tf.gradients(loss, v)[0]
        penalty = second(gradient)
    return tape.gradient(penalty, v) if second is tf.nn.l2_loss else tf.gradients(penalty, v)


def test_a_second_derivative_by_a_tape_is_refused(distribute: Any) -> None:
    with pytest.raises(UnsupportedGraphError, match=r"GradientTape .* gradient 'gradients/"):
        distribute(lambda: build_second_derivative(tf.nn.l2_loss))


def test_a_second_derivative_of_single_rows_of_a_gradient_is_refused(distribute: Any) -> None:
    with pytest.raises(UnsupportedGraphError, match=r"goes back .* as tf.IndexedSlices"):
        distribute(lambda: build_second_derivative(lambda g: tf.reduce_sum(tf.gather(g, [1, 2]))))


def test_an_update_of_what_is_split_because_the_user_said_so_is_refused(
    graph: Any, make_autodist: Any
) -> None:
    autodist = make_autodist()
    with autodist.scope():
        x = tf1.placeholder(tf.float32, [4], "x")
        v = tf1.get_variable("v", initializer=1.0, trainable=False)
        v.assign(tf.ensure_shape(tf1.py_func(np.max, [x], tf.float32), []), name="update")
        with pytest.raises(
            UnsupportedGraphError, match=r"'v' is updated by op 'update'.*'PyFunc'.*batch_dims"
        ):
            autodist.create_distributed_session(batch_dims={x: 0})


OPTIONS_WITHOUT_EFFECT = {
    "gradient_accumulation_steps": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "ema_overwrite_frequency": lambda: keras.optimizers.Adam(
        0.1, use_ema=True, ema_overwrite_frequency=3
    ),
    "SGD.ema_overwrite_frequency": lambda: tf_keras.optimizers.SGD(
        0.1, use_ema=True, ema_overwrite_frequency=3
    ),
}


@pytest.mark.parametrize("option", OPTIONS_WITHOUT_EFFECT)
def test_an_option_of_keras_that_does_nothing_in_a_graph_is_refused(
    option: str, distribute: Any
) -> None:
    def build() -> Any:
        pair = (tf.ones([4, 3]), build_variable())
        return OPTIONS_WITHOUT_EFFECT[option]().apply_gradients([pair])

    with pytest.raises(
        UnsupportedGraphError, match=rf"{option.rsplit('.', maxsplit=1)[-1]}=\d\) has no effect"
    ):
        distribute(build)


class Decide(StrategyBuilder):
    """Gives every group the same placement, or none."""

    def __init__(self, grid: Grid | None, *devices: tuple[str, ...]) -> None:
        self.placement = Placement(grid, devices)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        return Strategy((self.placement,) * len(graph_item.groups))


class DecideNothing(StrategyBuilder):
    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        return Strategy(())


CPU = ("/device:CPU:0",)
BAD_STRATEGIES = {
    "no placements": (DecideNothing(), "DecideNothing.build returned 0 placements for 1 groups"),
    "grid of another shape": (
        Decide(Grid(((2, 1), (3,))), CPU * 2),
        r"shape \(3, 3\); .* \(4, 3\)",
    ),
    "grid of another rank": (Decide(Grid(((2, 2),)), CPU * 2), r"shape \(4,\); .* \(4, 3\)"),
    "too few devices": (Decide(Grid(((2, 2), (3,))), CPU), "2 shards and 1 devices"),
    "too many devices": (Decide(None, CPU * 2), "1 shards and 2 devices"),
    "no copies": (Decide(None), "'v'"),
    "as many copies as neither one nor all": (Decide(None, CPU, CPU, CPU), "'v'"),
    "a device that does not exist": (Decide(None, ("/device:CPU:9",)), "'v'"),
    "not a device": (Decide(None, ("nowhere",)), "'v'"),
}


@pytest.mark.parametrize("name", BAD_STRATEGIES)
def test_a_strategy_that_does_not_fit_is_refused(name: str, distribute: Any) -> None:
    strategy, message = BAD_STRATEGIES[name]
    with pytest.raises(ArgumentError, match=message):
        distribute(build_variable, strategy)


def test_a_cut_of_what_must_stay_whole_is_refused(distribute: Any) -> None:
    def build() -> Any:
        v = build_variable()
        return tf.function(lambda: tf.reduce_sum(v))()

    with pytest.raises(
        ArgumentError, match="cuts variable 'v' into 2 shards, but it must stay whole"
    ):
        distribute(build, Decide(Grid(((2, 2), (3,))), CPU * 2))


def test_a_strategy_may_bring_a_grid_of_its_own(distribute: Any) -> None:
    grid = Grid(((3, 0, 1), (2, 1)))
    session, v = distribute(build_variable, Decide(grid, CPU * 6))
    assert session.run(v).tolist() == np.ones([4, 3]).tolist()
    assert "axis 0: [3, 0, 1], axis 1: [2, 1]" in session.layout_table()[0][1]


def test_copies_of_shards_are_kept_alike(distribute: Any) -> None:
    cpus = ("/device:CPU:0", "/device:CPU:1")
    strategy = Decide(Grid(((2, 2), (3,))), cpus, cpus[::-1])

    def build() -> Any:
        v = build_variable()
        x = tf1.placeholder(tf.float32, [None, 4], "x")
        return v, tf1.train.MomentumOptimizer(1.0, 0.9).minimize(tf.reduce_mean(x @ v))

    session, (v, train) = distribute(build, strategy)
    for _ in range(2):
        session.run(train, {"x:0": np.ones([3, 4])})
    np.testing.assert_allclose(session.run(v), np.full([4, 3], 1 - (1 + 1.9) / 3), rtol=1e-5)


def test_an_op_that_needs_a_cut_variable_whole_is_refused_once_the_session_exists(
    distribute: Any,
) -> None:
    session, v = distribute(build_variable, PartitionedPS(2, min_variable_bytes=0))
    total = tf.function(lambda: tf.reduce_sum(v))()
    with pytest.raises(
        UnsupportedGraphError,
        match=r"needs the whole variable.*holds variable 'v' cut.*Create the op before",
    ):
        session.run(total)


def test_an_update_that_needs_the_whole_batch_is_refused_once_the_session_exists(
    distribute: Any,
) -> None:
    def build() -> Any:
        v = tf1.get_variable("v", initializer=tf.zeros([2]))
        return tf1.placeholder(tf.float32, [None, 2], "x"), v

    session, (x, v) = distribute(build)
    session.run(v.assign(tf.reduce_mean(x, 0)), {x: [[1.0, 2.0], [3.0, 4.0], [8.0, 3.0]]})
    assert session.run(v).tolist() == [4.0, 3.0]
    made = tf1.py_func(lambda rows: np.median(rows, 0), [x], tf.float32)
    update = v.assign(tf.ensure_shape(made, [2]))
    with pytest.raises(UnsupportedGraphError, match=r"needs all of 'x:0'.*PyFunc.*already splits"):
        session.run(update, {x: [[1.0, 2.0]]})


@pytest.mark.parametrize("has_session", [False, True])
def test_a_gradient_taken_outside_of_the_scope_is_refused(
    has_session: bool, make_autodist: Any, graph: Any
) -> None:
    autodist = make_autodist(AllReduce())
    with autodist.scope():
        x, v = tf1.placeholder(tf.float32, [None], "x"), tf1.get_variable("v", initializer=1.0)
        session = autodist.create_distributed_session() if has_session else None
    train = tf1.train.AdamOptimizer().minimize(tf.reduce_mean(x * v))
    run = autodist.create_distributed_session if session is None else lambda: session.run(train)
    with pytest.raises(UnsupportedGraphError, match=r"ResourceApplyAdam.*inside the scope"):
        run()


def test_a_second_graph_is_refused(make_autodist: Any) -> None:
    autodist = make_autodist(AllReduce())
    with tf.Graph().as_default(), autodist.scope():
        build_variable()
    with (
        tf.Graph().as_default(),
        pytest.raises(GraphStateError, match=r"[Oo]ne AutoDist per graph"),
        autodist.scope(),
    ):
        pass


def test_a_session_without_a_scope_is_refused(make_autodist: Any) -> None:
    with pytest.raises(GraphStateError, match="no graph to distribute"):
        make_autodist().create_distributed_session()
