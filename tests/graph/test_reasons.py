"""Why a variable does not lie as the strategy would have it: in the layout table, and in the log."""

import logging
from typing import Any

import pytest
import tensorflow as tf

from autodist.strategy import PS, AllReduce, PartitionedPS
from autodist.strategy.base import Devices, GraphItem, Placement, Strategy, StrategyBuilder
from support.equivalence import training

tf1 = tf.compat.v1
CUTTING = PartitionedPS(min_variable_bytes=0)


def build_captured() -> None:
    """A variable that a function takes whole, one that can be cut, a scalar."""
    x = tf1.placeholder(tf.float32, [None, 4], "x")
    captured = tf1.get_variable("captured", [4, 4])
    free = tf1.get_variable("free", [4, 4])

    @tf.function
    def layer(x: Any) -> Any:
        return tf.matmul(x, captured)

    loss = tf.reduce_mean(layer(x) + tf.matmul(x, free))
    tf1.train.MomentumOptimizer(0.1, 0.9).minimize(loss, tf1.train.get_or_create_global_step())


def build_averages() -> None:
    x = tf1.placeholder(tf.float32, [None, 4], "x")
    how = tf.VariableAggregation.MEAN
    average = tf1.get_variable("average", [4], trainable=False, aggregation=how)
    tf1.get_variable("v", [4])

    def step() -> Any:
        with tf.control_dependencies([average.assign(tf.reduce_mean(x, 0))]):
            return x * 2.0

    with training.control_flow(v2=True):
        tf.reduce_sum(tf.cond(tf1.placeholder_with_default(True, []), step, lambda: x))


def build_accumulator() -> None:
    x = tf1.placeholder(tf.float32, [None, 4], "x")
    v = tf1.get_variable("v", [4])
    loss = tf.reduce_mean(x * v)
    (gradient,) = tf.gradients(loss, [v])
    tf.cond(tf.reduce_sum(gradient) > 0, lambda: v.assign_sub(gradient), v.read_value)


class Whole(StrategyBuilder):
    """Cuts one variable and says nothing of the others."""

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        cut = CUTTING.build(graph_item, resource_spec).placements
        return Strategy(
            tuple(p if p.grid else Placement(None, p.devices, "mine") for p in cut),
        )


def reasons(session: Any) -> dict[str, str]:
    return {name: reason for name, _, reason in session.layout_table()}


@pytest.mark.parametrize("strategy", [CUTTING, Whole()], ids=["ours", "a user's"])
def test_why_a_variable_is_not_cut_is_logged_and_in_the_table(
    strategy: StrategyBuilder, distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "autodist"):
        session, _ = distribute(build_captured, strategy)
    assert "(StatefulPartitionedCall) needs the whole variable" in reasons(session)["captured"]
    assert "whole" in reasons(session)["captured/Momentum"]
    (logged,) = [r.message for r in caplog.records if "'captured'" in r.message]
    assert logged.startswith("variable 'captured' stays whole: op ")
    assert "needs the whole variable" in logged
    assert not any("'free'" in r.message or "global_step" in r.message for r in caplog.records)


def test_a_strategy_that_cuts_nothing_logs_no_reasons(
    distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "autodist"):
        session, _ = distribute(build_captured, PS())
    assert "needs the whole variable" in reasons(session)["captured"]
    assert not any("stays" in r.message for r in caplog.records)


def test_a_variable_with_values_of_the_replicas_is_not_cut(
    distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "autodist"):
        distribute(build_averages, CUTTING)
    logged = [r.message for r in caplog.records if "stays" in r.message]
    assert logged == [
        "variable 'average' stays whole: each replica updates a copy of its own with its own values"
    ]


def test_why_a_variable_is_not_copied_is_logged(
    distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "autodist"):
        session, _ = distribute(build_accumulator, AllReduce())
    assert reasons(session)["v"].startswith("shared by all replicas: op ")
    assert any("'v' stays shared by all replicas: op" in r.message for r in caplog.records)


def test_only_the_first_of_many_reasons_are_logged(
    distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], "x")
        tables = [tf1.get_variable(f"table_{i}", [4, 4]) for i in range(13)]
        tf.function(lambda: tf.add_n([tf.matmul(x, table) for table in tables]))()

    with caplog.at_level(logging.INFO, "autodist"):
        distribute(build, CUTTING)
    assert sum("stays whole" in r.message for r in caplog.records) == 10
    assert any(r.message.startswith("and 3 more variables") for r in caplog.records)
