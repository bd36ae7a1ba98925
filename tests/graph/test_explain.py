"""What is told of the decisions: `explain`, and warnings of what is chosen."""

import logging
from typing import Any

import pytest
import tensorflow as tf

import autodist
from autodist.errors import ArgumentError, GraphStateError

tf1 = tf.compat.v1


def normalise(hidden: Any) -> Any:
    with tf.name_scope("norm"):
        mean, variance = tf.nn.moments(hidden, [0])
        return tf.nn.batch_normalization(hidden, mean, variance, None, None, 1e-3)


def build() -> Any:
    x = tf1.placeholder(tf.float32, [None, 2], "x")
    z = tf1.placeholder(tf.float32, [None, 2], "z")
    v = tf1.get_variable("v", initializer=tf.eye(2))
    pairs = tf.matmul(x @ v, x @ v, transpose_b=True, name="pairs")
    lengths = tf.reduce_max(z, name="largest")
    hidden = normalise(z @ v / lengths)
    loss = tf.reduce_mean(pairs, name="near") + tf.reduce_mean(tf.nn.dropout(hidden, 0.5))
    return tf1.train.GradientDescentOptimizer(0.1).minimize(loss)


def test_roots_choices_and_variables_are_explained(
    distribute: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def build_two_losses() -> Any:
        x = tf1.placeholder(tf.float32, [None, 2], "x")
        z = tf1.placeholder(tf.float32, [None, 2], "z")
        v, u = (tf1.get_variable(name, initializer=tf.eye(2)) for name in ("v", "u"))
        pairs = tf.matmul(x @ v, x @ v, transpose_b=True, name="pairs")
        shares = z / tf.reduce_max(z, name="largest")
        hidden = normalise(shares @ u)
        optimizer = tf1.train.GradientDescentOptimizer(0.1)
        return [
            optimizer.minimize(tf.reduce_mean(pairs, name="near")),
            optimizer.minimize(tf.reduce_mean(tf.nn.dropout(hidden, 0.5))),
        ]

    with caplog.at_level(logging.WARNING, "autodist"):
        session, _ = distribute(build_two_losses)
    found = session.explain()
    by_name = {root.name: root for root in found.roots}
    assert by_name["z:0"].is_split
    assert not by_name["x:0"].is_split
    assert "'pairs' (MatMul)" in str(by_name["x:0"])
    assert "largest" in found.combined
    assert {choice.what for choice in found.choices} == {"statistics", "random numbers"}
    assert {variable.name for variable in found.variables} >= {"v", "u"}
    told = "\n".join(r.getMessage() for r in caplog.records)
    assert "own statistics" in told
    assert "norm/" in told
    assert "random numbers of its own" in told
    assert "pairs" in told
    assert "x:0" in str(found)
    with pytest.raises(GraphStateError, match="not built in the scope"):
        autodist.explain(tf.Graph())
    assert str(autodist.explain(session.graph)) == str(found)


def test_what_is_chosen_in_a_function_is_told_as_what_it_is(distribute: Any) -> None:
    @tf.function
    def noisy(rows: Any) -> Any:
        return rows * tf.random.uniform(tf.shape(rows), seed=3)

    def train(rows: Any) -> Any:
        w = tf1.get_variable("w", [2, 2])
        return tf1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(rows(w)))

    def build_both() -> Any:
        x = tf1.placeholder(tf.float32, [None, 2], "x")
        return train(lambda w: tf.square(tf.function(normalise)(noisy(x @ w))))

    session, _ = distribute(build_both)
    found = {(choice.op, choice.what) for choice in session.explain().choices}
    assert {what for _, what in found} == {"statistics", "random numbers"}
    assert len({op for op, _ in found}) == 2


def test_a_graph_is_explained_before_a_session_exists(make_autodist: Any) -> None:
    with tf.Graph().as_default() as graph:
        made = make_autodist()
        with made.scope():
            build()
            found = autodist.explain()
        assert [root.is_split for root in made.explain(graph).roots] == [False, False]
    assert found.replicas == 2


def test_the_statistics_are_checked(make_autodist: Any) -> None:
    with tf.Graph().as_default():
        made = make_autodist()
        with made.scope():
            build()
        with pytest.raises(ArgumentError, match="'replica' or 'global'"):
            made.create_distributed_session(batch_statistics="all")
