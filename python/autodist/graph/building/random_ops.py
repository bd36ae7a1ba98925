"""Random ops: each replica draws numbers of its own, and with a seed the same ones in every run.

An op with a random state of its own gets another seed attribute per replica. What a stateless op draws
depends only on its inputs, a seed or a key made from one, and these may be the same for all replicas. So replica r > 0
draws with the seed or key changed by a constant that depends on r. Replica 0 draws what stock TensorFlow draws.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.private_apis import tf_internals

if TYPE_CHECKING:
    from autodist.graph.building.builder import Builder

tf1 = tf.compat.v1

_STATELESS = re.compile(
    r"Stateless(Random(?!Get)\w+|TruncatedNormal(V2)?|ParameterizedTruncatedNormal|Multinomial|Shuffle"
    r"|SampleDistortedBoundingBox)"
)
# The attributes of an op that has a random state.
_STATE = frozenset({"seed", "seed2"})
_MAX_SEED = 2**31 - 1
# Odd and far from any seed that people write; 31 bits, so that it fits every dtype of seeds.
_STEP = 0x3C6EF372 + 1
_MASK = 2**31 - 1


def is_stateless(op_type: str) -> bool:
    """Whether ops of this type draw random numbers that depend on their inputs alone."""
    return _STATELESS.fullmatch(op_type) is not None


def draws(op_type: str, attributes: Collection[str]) -> bool:
    """Whether an op of this type, with attributes of these names, draws random numbers."""
    return is_stateless(op_type) or _STATE.issubset(attributes)


def has_seed(attributes: Mapping[str, Any]) -> bool:
    """Whether these are the attributes of an op that draws random numbers by a seed, the same in every run."""
    if "seed" not in attributes or "seed2" not in attributes:
        return False
    return bool(attributes["seed"].i or attributes["seed2"].i)


def seeds_of_replica(attributes: Mapping[str, Any], replica: int) -> dict[str, Any]:
    """The attributes that give the copy for `replica` > 0 of an op with these attributes its own random stream."""
    if not has_seed(attributes):
        return {}
    text = f"{attributes['seed'].i} {attributes['seed2'].i} {replica}".encode()
    return {"seed2": tf1.AttrValue(i=zlib.crc32(text) % _MAX_SEED + 1)}


def separate(builder: Builder, op: Any, inputs: list[Any], replica: int) -> list[Any]:
    """The inputs of the copy of a stateless random op for `replica`; `inputs` are those of the original."""
    index, change = _seed_and_change(tf_internals.argument_names(op.type), replica)
    seed = inputs[index]
    # In a loop of the v1 control flow a constant must wait for what belongs to the iteration.
    controls = [] if tf_internals.is_at_top_level(op) else [seed.op]
    with builder.adding(f"replica_{replica}/{op.name}", seed.device, controls):
        changed = tf.bitwise.bitwise_xor(seed, tf.constant(change, seed.dtype))
    return [*inputs[:index], changed, *inputs[index + 1 :]]


def separate_node(definition: Any, node: Any, replica: int) -> None:
    """Has the stateless random op `node` of the function `definition` draw the numbers of `replica`."""
    names = tf_internals.argument_names(node.op)
    index, change = _seed_and_change(names, replica)
    dtype = tf.as_dtype(node.attr["Tseed"].type) if names[index] == "seed" else tf.uint64
    constant = definition.node_def.add(name=f"{node.name}/replica", op="Const")
    constant.attr["dtype"].type = dtype.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(change, dtype))
    changed = definition.node_def.add(name=f"{node.name}/seed_of_replica", op="BitwiseXor")
    changed.attr["T"].type = dtype.as_datatype_enum
    changed.input.extend([node.input[index], f"{constant.name}:output:0"])
    node.input[index] = f"{changed.name}:z:0"


def _seed_and_change(arguments: list[str], replica: int) -> tuple[int, list[int]]:
    """Which argument of a stateless random op is its seed or key, and what a replica changes in it, bit by bit."""
    change = replica * _STEP & _MASK
    if "key" in arguments:
        return arguments.index("key"), [change]
    return arguments.index("seed"), [0, change]
