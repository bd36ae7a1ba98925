"""The save of a model large enough for its speed to mean something: numbers at random, no training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.demo.measurement import Measurement, measure, save_with
from autodist.strategy import StrategyBuilder

tf1 = tf.compat.v1

_VARIABLES = 4
_COLUMNS = 128
_FLOAT_BYTES = 4


def measure_large_save(
    title: str,
    strategy_builder: StrategyBuilder,
    resource_spec: Path,
    *,
    mebibytes: int,
    directory: Path,
    rounds: Iterable[int],
) -> Measurement:
    """Times the save of a large distributed model beside TensorFlow's own of the same values.

    Args:
        title: the model and the strategy.
        strategy_builder: how to distribute it.
        resource_spec: on which devices.
        mebibytes: bytes of all its variables, in MiB.
        directory: an empty directory to write to.
        rounds: one item per turn.

    Raises:
        DemoError: the files differ.
    """
    rows = mebibytes * 2**20 // (_VARIABLES * _COLUMNS * _FLOAT_BYTES)
    with tf.Graph().as_default():
        autodist = AutoDist(str(resource_spec), strategy_builder)
        with autodist.scope():
            _build(rows)
            saver = Saver()
            session = autodist.create_distributed_session()
    with tf.Graph().as_default():
        _build(rows)
        stock_saver = tf1.train.Saver()
        init = tf1.global_variables_initializer()
        stock_session = tf1.Session()
    with session, stock_session:
        stock_session.run(init)
        ours, stock = save_with(saver, session), save_with(stock_saver, stock_session)
        return measure(title, ours, stock, directory, rounds)


def _build(rows: int) -> list[Any]:
    """Variables whose initial values are the same in every graph."""
    return [
        tf1.get_variable(
            f"block_{i}",
            initializer=tf.random.stateless_uniform([rows, _COLUMNS], seed=[i, 0]),
            use_resource=True,
        )
        for i in range(_VARIABLES)
    ]
