"""Stateless random ops: each replica draws numbers of its own, and the same ones in every run.

An op with a random state of its own gets another seed attribute per replica (`builder`). What a stateless op draws
depends only on its inputs, a seed or a key made from one, and these may be the same for all replicas. So replica r > 0
draws with the seed or key changed by a constant that depends on r. Replica 0 draws what stock TensorFlow draws.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.graph import op_kinds

if TYPE_CHECKING:
    from autodist.graph.builder import Builder

_STATELESS = re.compile(
    r"Stateless(Random(?!Get)\w+|TruncatedNormal(V2)?|ParameterizedTruncatedNormal|Multinomial|Shuffle"
    r"|SampleDistortedBoundingBox)"
)
# Odd and far from any seed that people write; 31 bits, so that it fits every dtype of seeds.
_STEP = 0x3C6EF372 + 1
_MASK = 2**31 - 1


def is_stateless(op: Any) -> bool:
    """Whether `op` draws random numbers that depend on its inputs alone."""
    return _STATELESS.fullmatch(op.type) is not None


def separate(builder: Builder, op: Any, inputs: list[Any], replica: int) -> list[Any]:
    """The inputs of the copy of a stateless random op for `replica`; `inputs` are those of the original."""
    names = op_kinds.argument_names(op)
    index = names.index("key" if "key" in names else "seed")
    change = [replica * _STEP & _MASK] if names[index] == "key" else [0, replica * _STEP & _MASK]
    seed = inputs[index]
    with builder.adding(f"replica_{replica}/{op.name}", seed.device):
        changed = tf.bitwise.bitwise_xor(seed, tf.constant(change, seed.dtype))
    return [*inputs[:index], changed, *inputs[index + 1 :]]
