"""The gradient of a table, as `tf.IndexedSlices`, has the rows of one node's, in the same order."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.graph.analysis.gradients import lookups, unproved
from autodist.strategy import PS, Parallax

tf1 = tf.compat.v1
F = tf.float64
look_up = tf.nn.embedding_lookup
Rows = Callable[[Any, Any], Any]


def _twice(table: Any, ids: Any) -> Any:
    return look_up(table, ids) * tf.sin(look_up(table, (ids + 1) % 6))


def _beside_constant_rows(table: Any, ids: Any) -> Any:
    return look_up(table, ids) * look_up(table, [2]) + tf.reduce_sum(look_up(table, [1, 2, 2]))


def _time_first(table: Any, ids: Any) -> Any:
    steps = tf.transpose(tf.stack([ids, (ids + 1) % 6, (ids + 2) % 6], 1))
    return tf.reduce_sum(look_up(table, steps), 0) * look_up(table, [3])


def _batches_behind_each_other(table: Any, ids: Any) -> Any:
    both = tf.concat([ids, (ids + 1) % 6], 0)
    first = look_up(table, both)[: tf.shape(ids)[0]]
    return first + look_up(table, tf.reduce_max(ids))


def _sampled(table: Any, ids: Any) -> Any:
    both = look_up(table, tf.concat([ids, tf.constant([0, 3, 5])], 0))
    true = tf.slice(both, [0, 0], tf.stack([tf.shape(ids)[0], -1]))
    negatives = tf.slice(both, tf.stack([tf.shape(ids)[0], 0]), [-1, -1])
    return true + tf.matmul(true, negatives, transpose_b=True)


def _in_a_loop(table: Any, ids: Any) -> Any:
    def body(step: Any, state: Any) -> Any:
        return step + 1, tf.tanh(state + look_up(table, ids) * look_up(table, step))

    return tf.while_loop(lambda i, _: i < 3, body, (0, look_up(table, ids)))[1]


def _in_a_branch(table: Any, ids: Any) -> Any:
    def branch(row: int) -> Any:
        return lambda: look_up(table, ids) * look_up(table, [row])

    return tf.cond(tf.reduce_sum(table) > 0.0, branch(1), branch(2))


def _in_a_function(table: Any, ids: Any) -> Any:
    return tf.function(lambda i: look_up(table, i) * look_up(table, [1]))(ids)


KNOWN = [_twice, _beside_constant_rows, _time_first, _batches_behind_each_other, _sampled]
HIDDEN = [_in_a_loop, _in_a_branch, _in_a_function]


def _loss(rows: Rows) -> tuple[Any, Any]:
    ids = tf1.placeholder(tf.int32, [None], "ids")
    labels = tf1.placeholder(F, [None, 3], "labels")
    initial = np.random.default_rng(1).normal(size=[6, 3])
    table = tf1.get_variable("table", initializer=initial, use_resource=True)
    return table, tf.reduce_mean(tf.square(rows(table, ids) - labels))


def _clipped(rows: Rows) -> dict[str, Any]:
    """What is clipped by the norm of all rows, and what the training makes of it."""
    table, loss = _loss(rows)
    optimizer = tf1.train.MomentumOptimizer(0.1, 0.9)
    gradient = optimizer.compute_gradients(loss)[0][0]
    (clipped,), norm = tf.clip_by_global_norm([gradient], 0.05)
    step = optimizer.apply_gradients([(clipped, table)])
    return {
        "norm": norm,
        "rows": gradient.values,
        "numbers": gradient.indices,
        "clipped": clipped.values,
        "step": step,
        "table": table,
    }


def _penalised(rows: Rows) -> dict[str, Any]:
    """A second derivative that goes back through single rows."""
    table, loss = _loss(rows)
    slices = tf.gradients(loss, table)[0]
    norms = tf.sqrt(tf.reduce_sum(slices.values**2, 1) + 1e-3)
    total = loss + tf.reduce_sum(norms * tf.sin(1.0 + tf.cast(slices.indices, F)))
    gradient = tf.convert_to_tensor(tf.gradients(total, table)[0])
    step = table.assign_sub(0.1 * gradient)
    return {"total": total, "gradient": gradient, "step": step.op, "table": table}


def _results(session: Any, built: dict[str, Any], count: int) -> list[Any]:
    found = []
    fetches = {k: v for k, v in built.items() if k not in ("step", "table")}
    for step in range(2):
        random = np.random.default_rng(step)
        feeds = {"ids:0": random.integers(0, 6, count), "labels:0": random.normal(size=[count, 3])}
        found.append(session.run(fetches, feeds))
        session.run(built["step"], feeds)
        found.append(session.run({"table": built["table"]}))
    return found


def _on_one_node(build: Callable[[], dict[str, Any]], count: int) -> list[Any]:
    with tf.Graph().as_default(), tf1.Session() as stock:
        built = build()
        stock.run(tf1.global_variables_initializer())
        return _results(stock, built, count)


def _assert_same(found: list[Any], expected: list[Any]) -> None:
    for got, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, 1e-9, 1e-12, err_msg=name)


@pytest.mark.parametrize("program", [_clipped, _penalised])
@pytest.mark.parametrize("rows", KNOWN)
def test_rows_of_known_lookups_are_those_of_one_node(
    distribute: Any, rows: Rows, program: Callable[[Rows], dict[str, Any]]
) -> None:
    session, built = distribute(lambda: program(rows), Parallax(), 3)
    assert all(root.is_split for root in session.explain().roots)
    for count in (7, 2):
        expected = _on_one_node(lambda: program(rows), count)
        session.run(tf1.global_variables_initializer())
        _assert_same(_results(session, built, count), expected)


@pytest.mark.parametrize("flow", ["v1", "v2"])
@pytest.mark.parametrize("rows", HIDDEN)
def test_a_norm_over_rows_of_hidden_lookups_keeps_the_batch_whole(
    distribute: Any, rows: Rows, flow: str
) -> None:
    was_v2 = tf1.control_flow_v2_enabled()
    (tf1.enable_control_flow_v2 if flow == "v2" else tf1.disable_control_flow_v2)()
    try:

        def build() -> dict[str, Any]:
            table, loss = _loss(rows)
            optimizer = tf1.train.MomentumOptimizer(0.1, 0.9)
            gradient = optimizer.compute_gradients(loss)[0][0]
            (clipped,), norm = tf.clip_by_global_norm([gradient], 0.05)
            step = optimizer.apply_gradients([(clipped, table)])
            return {"norm": norm, "step": step, "table": table}

        expected = _on_one_node(build, 7)
        session, built = distribute(build, PS(), 3)
        _assert_same(_results(session, built, 7), expected)
    finally:
        (tf1.enable_control_flow_v2 if was_v2 else tf1.disable_control_flow_v2)()


def test_an_optimizer_alone_takes_rows_of_hidden_lookups_from_the_replicas(distribute: Any) -> None:
    def build() -> dict[str, Any]:
        table, loss = _loss(_in_a_branch)
        optimizer = tf1.train.AdamOptimizer(0.1)
        gradients = optimizer.compute_gradients(loss)
        dense = tf.convert_to_tensor(gradients[0][0])
        step = optimizer.apply_gradients(gradients)
        return {"dense": dense, "step": step, "table": table, "slices": gradients[0][0]}

    expected = _on_one_node(build, 7)
    session, built = distribute(build, PS(), 3)
    assert all(root.is_split for root in session.explain().roots)
    slices = built.pop("slices")
    with pytest.raises(UnsupportedGraphError, match=r"order of its rows is not known.*convert_to"):
        session.run(slices, {"ids:0": [1, 2], "labels:0": np.ones([2, 3])})
    for values in expected:
        values.pop("slices", None)
    _assert_same(_results(session, built, 7), expected)


@pytest.fixture
def v1_control_flow() -> Iterator[None]:
    """In v2 loops the gradient is a dense tensor."""
    was_v2 = tf1.control_flow_v2_enabled()
    tf1.disable_control_flow_v2()
    yield
    if was_v2:
        tf1.enable_control_flow_v2()


@pytest.mark.usefixtures("v1_control_flow")
@pytest.mark.parametrize("rows", HIDDEN)
def test_what_is_in_the_order_of_hidden_rows_is_not_fetched(distribute: Any, rows: Rows) -> None:
    def build() -> dict[str, Any]:
        _, loss = _loss(rows)
        gradient = tf1.train.GradientDescentOptimizer(0.1).compute_gradients(loss)[0][0]
        unique, places = tf.unique(gradient.indices)
        sums = tf.math.unsorted_segment_sum(gradient.values, places, 6)
        return {"twice": gradient.values * 2.0, "numbers": unique, "sums": sums}

    session, built = distribute(build, PS(), 3)
    fed = {"ids:0": [1, 2, 0, 4], "labels:0": np.ones([4, 3])}
    assert all(root.is_split for root in session.explain().roots)
    for tensor in built.values():
        with pytest.raises(UnsupportedGraphError, match="order of its rows is not known"):
            session.run(tensor, fed)


@pytest.mark.usefixtures("v1_control_flow")
@pytest.mark.parametrize("rows", HIDDEN)
def test_a_norm_over_hidden_rows_added_later_is_refused(distribute: Any, rows: Rows) -> None:
    gradients = []

    def build() -> dict[str, Any]:
        table, loss = _loss(rows)
        optimizer = tf1.train.GradientDescentOptimizer(0.1)
        gradients.append(optimizer.compute_gradients(loss)[0][0])
        return {"step": optimizer.apply_gradients([(gradients[0], table)])}

    session, built = distribute(build, PS(), 3)
    assert all(root.is_split for root in session.explain().roots)
    fed = {"ids:0": [1, 2, 0, 4], "labels:0": np.ones([4, 3])}
    session.run(built["step"], fed)
    with session.graph.as_default():
        norm = tf.linalg.global_norm([gradients[0]])
    with pytest.raises(UnsupportedGraphError, match=r"order of its rows is not known.*before"):
        session.run(norm, fed)


@pytest.mark.usefixtures("v1_control_flow")
def test_hidden_rows_are_followed_once_when_the_graph_grows(
    distribute: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = []

    def follow(record: Any, batch: Any) -> Any:
        followed.append(record)
        return lookups.uses_of_rows(record, batch)

    def build() -> dict[str, Any]:
        table, loss = _loss(HIDDEN[0])
        optimizer = tf1.train.GradientDescentOptimizer(0.1)
        return {"loss": loss, "step": optimizer.minimize(loss, var_list=[table])}

    session, built = distribute(build, PS(), 3)
    fed = {"ids:0": [1, 2, 0, 4], "labels:0": np.ones([4, 3])}
    session.run(built["step"], fed)
    monkeypatch.setattr(unproved, "uses_of_rows", follow)
    with session.graph.as_default():
        doubled = 2.0 * built["loss"]
    assert session.run(doubled, fed) == pytest.approx(2 * session.run(built["loss"], fed))
    assert len(followed) == 1
