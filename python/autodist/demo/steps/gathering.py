"""Saves a distributed model without autodist: gathers shards, averages replicas, `SaveV2`.

TensorFlow has to do this to write the same files from the same shards and replicas. Meanwhile the
whole model is in memory once more. One shard or replica is one variable, placed on the devices in
turn.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from autodist.demo.steps.measurement import Save
from autodist.layout import Grid

tf1 = tf.compat.v1


def gathered_save(
    initial_values: Mapping[str, Callable[[], Any]], shard_count: int, replica_count: int
) -> tuple[Any, Save]:
    """A session with shards and replicas of variables, and the save of the whole variables.

    Args:
        initial_values: by name, a function that returns the initial value of a variable that is
            not a scalar.
        shard_count: how many shards along the first dimension.
        replica_count: how many equal replicas of each shard.
    """
    with tf.Graph().as_default() as graph:
        wholes = {
            name: _whole(name, initial_value, shard_count, replica_count)
            for name, initial_value in initial_values.items()
        }
        prefix = tf1.placeholder(tf.string, [])
        save_op = tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=list(wholes),
            shape_and_slices=[""] * len(wholes),
            tensors=list(wholes.values()),
        )
        init = tf1.global_variables_initializer()
        update = own_buffers(tf1.global_variables())
    session = tf1.Session(graph=graph, config=tf1.ConfigProto(device_count={"CPU": 2}))
    session.run(init)
    session.run(update)

    def save(path: str) -> None:
        session.run(save_op, {prefix: path})

    return session, save


def own_buffers(variables: Sequence[Any]) -> Any:
    """Returns an update by zero, which gives each variable its own buffer, as a step would.

    Until then, variables that were initialised with the same tensor share its buffer.
    """
    return tf.group(*(variable.assign_add(tf.zeros(variable.shape)) for variable in variables))


def _whole(
    name: str, initial_value: Callable[[], Any], shard_count: int, replica_count: int
) -> Any:
    """The mean over the replicas of all shards, put together."""
    value = initial_value()
    grid = Grid.along(tuple(value.shape), 0, shard_count)
    shards = []
    for index, box in enumerate(grid.boxes()):
        part = tf.slice(value, box.start, box.extent)
        replicas = []
        for replica in range(replica_count):
            with tf.device(f"/device:CPU:{(index + replica) % 2}"):
                shard_name = f"{name}/shard_{index}/replica_{replica}"
                variable = tf1.get_variable(shard_name, initializer=part, use_resource=True)
                replicas.append(variable.read_value())
        total = functools.reduce(operator.add, replicas)
        shards.append(total / replica_count if replica_count > 1 else total)
    return tf.concat(shards, axis=0) if shard_count > 1 else shards[0]
