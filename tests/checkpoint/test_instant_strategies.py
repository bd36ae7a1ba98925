"""Saves of one instant in a distributed session: the bytes of any save, whatever the layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import SaveOptions, Saver
from support.specs import write_local_spec
from support.strategies import STRATEGIES

tf1 = tf.compat.v1
ROWS, COLUMNS = 6000, 64  # 1.5 MB


def _data(path: str) -> bytes:
    return Path(f"{path}.data-00000-of-00001").read_bytes()


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_bytes_are_those_of_any_save(strategy: str, tmp_path: Path) -> None:
    autodist = AutoDist(write_local_spec(tmp_path), STRATEGIES[strategy]())
    with tf.Graph().as_default(), autodist.scope():
        rows = tf1.placeholder(tf.int64, [None])
        table = tf1.get_variable("table", [ROWS, COLUMNS])
        weights = tf1.get_variable("weights", [COLUMNS, COLUMNS])
        loss = tf.reduce_mean(tf.matmul(tf.gather(table, rows), weights) ** 2)
        train = tf1.train.AdagradOptimizer(0.1).minimize(loss)
        savers = {
            method: Saver(options=SaveOptions(consistency="instant", snapshot_method=method))
            for method in ("pages", "fork", "copy")
        }
        usual = Saver()
        with autodist.create_distributed_session() as session:
            draws = np.random.default_rng(0)
            for _ in range(3):
                session.run(train, {rows: draws.integers(0, ROWS, 64)})
            wanted = _data(usual.save(session, str(tmp_path / "m")))
            for method, saver in savers.items():
                found = _data(saver.save(session, str(tmp_path / method)))
                assert found == wanted, method


@pytest.mark.parametrize("strategy", ["AllReduce", "PartitionedPS"])
def test_training_goes_on_meanwhile(strategy: str, tmp_path: Path) -> None:
    autodist = AutoDist(write_local_spec(tmp_path), STRATEGIES[strategy]())
    with tf.Graph().as_default(), autodist.scope():
        table: Any = tf1.get_variable("table", [ROWS, COLUMNS], initializer=tf1.zeros_initializer())
        train = tf1.scatter_add(table, tf.range(ROWS), tf.ones([ROWS, COLUMNS]))
        saver = Saver(options=SaveOptions(snapshot_method="pages"))
        with autodist.create_distributed_session() as session:
            session.run(train)
            for number in range(1, 4):
                handle = saver.save_async(session, str(tmp_path / "m"), number)
                session.run(train)
                saved = tf.train.load_variable(handle.result(), "table")
                assert (saved == number).all()
