"""Gives the random ops of each replica a seed of their own; with a seed, every run draws the same.

An op with a random state gets another seed attribute per replica. A stateless op draws by a seed or
key that it takes as an input, and the replicas may share that input. So replica r > 0 changes the
seed or key by a constant that depends on r. Replica 0 draws what stock TensorFlow draws.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autodist.graph.original.ops.random_op_types import has_seed
from autodist.private_apis import tf_graphs

tf1 = tf.compat.v1

_MAX_SEED = 2**31 - 1
# Odd and far from any seed that people write; 31 bits, so that it fits every dtype of seeds.
_STEP = 0x3C6EF372 + 1
_MASK = 2**31 - 1


def seeds_of_replica(attributes: Mapping[str, Any], replica: int) -> dict[str, Any]:
    """The attributes that give the copy for `replica` > 0 of an op its own random stream.

    Args:
      attributes: of the op.
      replica: the replica.
    """
    if not has_seed(attributes):
        return {}
    text = f"{attributes['seed'].i} {attributes['seed2'].i} {replica}".encode()
    return {"seed2": tf1.AttrValue(i=zlib.crc32(text) % _MAX_SEED + 1)}


def separate_node(definition: Any, node: Any, replica: int) -> None:
    """Changes a function so that the stateless random op `node` in it draws as `replica`."""
    names = tf_graphs.argument_names(node.op)
    index, change = seed_and_change(names, replica)
    dtype = tf.as_dtype(node.attr["Tseed"].type) if names[index] == "seed" else tf.uint64
    constant = definition.node_def.add(name=f"{node.name}/replica", op="Const")
    constant.attr["dtype"].type = dtype.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(change, dtype))
    changed = definition.node_def.add(name=f"{node.name}/seed_of_replica", op="BitwiseXor")
    changed.attr["T"].type = dtype.as_datatype_enum
    changed.input.extend([node.input[index], f"{constant.name}:output:0"])
    node.input[index] = f"{changed.name}:z:0"


def seed_and_change(arguments: list[str], replica: int) -> tuple[int, list[int]]:
    """The seed or key argument of a stateless random op, and the bits that a replica flips."""
    change = replica * _STEP & _MASK
    if "key" in arguments:
        return arguments.index("key"), [change]
    return arguments.index("seed"), [0, change]
