"""Measures the save of a large model of random numbers, without training."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.demo.steps.gathering import gathered_save, own_buffers
from autodist.demo.steps.measurement import Measurement, Saves, measure, save_with
from autodist.strategy import AllReduce, PartitionedPS, StrategyBuilder

tf1 = tf.compat.v1

_VARIABLES = 4
_COLUMNS = 128
_FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Distribution:
    """How the large model is distributed.

    Attributes:
        name: of the strategy.
        strategy_builder: the strategy.
        shard_count: how many shards that gives each variable.
        replica_count: how many replicas of each shard.
    """

    name: str
    strategy_builder: StrategyBuilder
    shard_count: int
    replica_count: int


def distributions(replicas: int) -> tuple[Distribution, ...]:
    """How the large model is distributed where there are so many replicas."""
    return (
        Distribution("PartitionedPS", PartitionedPS(num_shards=8), 8, 1),
        Distribution("AllReduce", AllReduce(), 1, replicas),
    )


def measure_large_save(
    distribution: Distribution,
    resource_spec: Path,
    mebibytes: int,
    directory: Path,
    rounds: Iterable[int],
) -> Measurement:
    """Times the save of a large distributed model beside TensorFlow's own of the same values.

    Args:
        distribution: how the model is distributed.
        resource_spec: on which devices.
        mebibytes: bytes of all its variables, in MiB.
        directory: an empty directory to write to.
        rounds: one item per turn.

    Raises:
        DemoError: the files differ.
    """
    rows = mebibytes * 2**20 // (_VARIABLES * _COLUMNS * _FLOAT_BYTES)
    values = {
        f"block_{i}": functools.partial(
            tf.random.stateless_uniform, [rows, _COLUMNS], seed=[i, 0], dtype=tf.float32
        )
        for i in range(_VARIABLES)
    }
    with tf.Graph().as_default():
        autodist = AutoDist(str(resource_spec), distribution.strategy_builder)
        with autodist.scope():
            update = _build(values)
            saver = Saver()
            session = autodist.create_distributed_session()
    with tf.Graph().as_default():
        stock_update = _build(values)
        stock_saver = tf1.train.Saver()
        init = tf1.global_variables_initializer()
        stock_session = tf1.Session()
    count = distribution.replica_count
    gathering_session, gathered = gathered_save(values, distribution.shard_count, count)
    with session, stock_session, gathering_session:
        session.run(update)
        stock_session.run(init)
        stock_session.run(stock_update)
        # Stock TensorFlow's mean of three equal numbers need not be that number.
        is_exact = count & (count - 1) == 0
        saves = Saves(
            save_with(saver, session),
            save_with(stock_saver, stock_session),
            gathered if is_exact else None,
            session,
        )
        return measure(f"{mebibytes} MiB, {distribution.name}", saves, directory, rounds)


def _build(values: Mapping[str, Callable[[], Any]]) -> Any:
    """Makes variables with the same initial values in every graph.

    Returns an update that changes nothing.
    """
    variables = [
        tf1.get_variable(name, initializer=value(), use_resource=True)
        for name, value in values.items()
    ]
    return own_buffers(variables)
