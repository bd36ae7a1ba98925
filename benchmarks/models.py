"""Sessions that hold one float32 variable, lying as a benchmark asks.

The variables start at zero and are trained up to their values by one dense update, so that each shard and
each replica has a buffer of its own. An assignment alone would let them share what was fed, and a reader of
two replicas would read one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import AutoDist
from autodist.strategy import StrategyBuilder

if TYPE_CHECKING:
    import numpy as np

tf1 = tf.compat.v1

NAME = "v"


def single_node(values: np.ndarray) -> tuple[Any, Any]:
    """A session with the variable in one piece, and the variable."""
    with tf.Graph().as_default():
        variable, train = _variable_and_update(values)
        session = tf1.Session(config=_config(1))
        session.run(tf1.global_variables_initializer())
        session.run(train, {"values:0": values})
        return session, variable


def partitioned(values: np.ndarray, shard_count: int) -> tuple[Any, Any]:
    """A session with a `PartitionedVariable` cut along axis 0, and the variable."""
    with tf.Graph().as_default():
        variable = tf1.get_variable(
            NAME,
            values.shape,
            tf.float32,
            tf1.zeros_initializer(),
            partitioner=tf1.fixed_size_partitioner(shard_count),
            use_resource=True,
        )
        session = tf1.Session(config=_config(1))
        session.run(tf1.global_variables_initializer())
        begin = 0
        for shard in variable:
            fed = tf1.placeholder(tf.float32, shard.shape)
            end = begin + shard.shape[0]
            session.run(tf1.assign_add(shard, fed).op, {fed: values[begin:end]})
            begin = end
        return session, variable


def copies(values: np.ndarray, count: int) -> tuple[Any, Sequence[Any]]:
    """A session with `count` variables that all have the values, and the variables."""
    with tf.Graph().as_default():
        fed = tf1.placeholder(tf.float32, values.shape)
        made = [
            tf1.get_variable(
                f"{NAME}_{i}",
                values.shape,
                tf.float32,
                tf1.zeros_initializer(),
                use_resource=True,
            )
            for i in range(count)
        ]
        session = tf1.Session(config=_config(1))
        session.run(tf1.global_variables_initializer())
        session.run([tf1.assign_add(variable, fed).op for variable in made], {fed: values})
        return session, made


def distributed(
    values: np.ndarray, strategy: StrategyBuilder, cpus: Sequence[int]
) -> tuple[Any, Any]:
    """A distributed session of `AutoDist` over CPU devices, and the original graph's variable."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as spec:
        spec.write(f"nodes: [{{address: localhost, cpus: {list(cpus)}}}]")
        spec.flush()
        autodist = AutoDist(spec.name, strategy)
    with tf.Graph().as_default(), autodist.scope():
        variable, train = _variable_and_update(values)
        session = autodist.create_distributed_session(_config(len(cpus)))
        session.run(train, {"values:0": values})
        return session, variable


def _variable_and_update(values: np.ndarray) -> tuple[Any, Any]:
    fed = tf1.placeholder(tf.float32, values.shape, name="values")
    variable = tf1.get_variable(
        NAME, values.shape, tf.float32, tf1.zeros_initializer(), use_resource=True
    )
    return variable, tf1.assign_add(variable, fed).op


def _config(cpu_count: int) -> Any:
    return tf1.ConfigProto(device_count={"CPU": cpu_count})
