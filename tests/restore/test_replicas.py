"""Under AutoDist: replicas are read once, and every strategy restores what any other saved."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.reports import transfer
from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce
from support.specs import write_local_spec
from support.strategies import STRATEGIES

tf1 = tf.compat.v1


@pytest.fixture
def spec(tmp_path: Path) -> str:
    return write_local_spec(tmp_path, 3)


def build() -> tuple[Any, Any, Any]:
    """A placeholder, a training step of Adam with an embedding, and all variables."""
    ids = tf1.placeholder(tf.int32, [None], "ids")
    table = tf1.get_variable("table", [7, 4], initializer=tf1.random_normal_initializer(seed=1))
    w = tf1.get_variable("w", [4, 5], initializer=tf1.random_normal_initializer(seed=2))
    loss = tf.reduce_mean(tf.square(tf.nn.embedding_lookup(table, ids) @ w))
    train = tf1.train.AdamOptimizer(0.1).minimize(loss, tf1.train.get_or_create_global_step())
    return ids, train, tf1.global_variables()


def values_of(session: Any, variables: Any) -> dict[str, Any]:
    return session.run({variable.op.name: variable for variable in variables})


def test_every_strategy_restores_what_any_other_saved(spec: str, tmp_path: Path) -> None:
    saved: dict[str, dict[str, Any]] = {}
    for steps, (name, strategy) in enumerate(STRATEGIES.items(), 1):
        autodist = AutoDist(spec, strategy())
        with tf.Graph().as_default(), autodist.scope():
            ids, train, variables = build()
            saver = Saver()
            with autodist.create_distributed_session() as session:
                for _ in range(steps):
                    session.run(train, {ids: np.arange(6) % 7})
                saver.save(session, str(tmp_path / name), write_meta_graph=False)
                saved[name] = values_of(session, variables)
    for strategy in STRATEGIES.values():
        autodist = AutoDist(spec, strategy())
        with tf.Graph().as_default(), autodist.scope():
            ids, train, variables = build()
            savers = {2: Saver(), 1: Saver(verify="swap")}  # by how often each byte is read
            with autodist.create_distributed_session() as session:
                for (name, expected), (passes, saver) in itertools.product(
                    saved.items(), savers.items()
                ):
                    with transfer.collected() as reports:
                        saver.restore(session, str(tmp_path / name))
                    restored = values_of(session, variables)
                    assert restored.keys() == expected.keys()
                    for variable, value in expected.items():
                        np.testing.assert_array_equal(restored[variable], value)
                    size_bytes = sum(value.nbytes for value in expected.values())
                    assert [report.byte_count for report in reports] == [passes * size_bytes]
                    session.run(train, {ids: np.arange(6) % 7})


def test_each_replica_gets_the_value_that_is_read_once(spec: str, tmp_path: Path) -> None:
    autodist = AutoDist(spec, AllReduce())
    with tf.Graph().as_default(), autodist.scope():
        ids, train, variables = build()
        saver = Saver()
        with autodist.create_distributed_session() as session:
            session.run(train, {ids: np.arange(6)})
            prefix = saver.save(session, str(tmp_path / "m"), write_meta_graph=False)
            expected = values_of(session, variables)
            session.run(train, {ids: np.arange(6)})
            with transfer.collected() as reports:
                saver.restore(session, prefix)
            (report,) = reports
            assert report.value_count > len(expected)
            # The mean of three replicas is any of them only where they are equal.
            again = saver.save(session, str(tmp_path / "again"), write_meta_graph=False)
        data = [Path(p + ".data-00000-of-00001").read_bytes() for p in (prefix, again)]
        assert data[0] == data[1]
