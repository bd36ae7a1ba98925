"""Changes the seed that a replica's copy of a stateless random op takes; see `random_seeds`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.building.ops.builder import Builder
from autodist.graph.building.ops.random_seeds import seed_and_change
from autodist.private_apis import tf_graphs


def separate(builder: Builder, op: Any, inputs: list[Any], replica: int) -> list[Any]:
    """The inputs of the copy of a stateless random op for `replica`.

    Args:
      builder: of the transformed graph.
      op: the original op.
      inputs: those of replica 0's copy.
      replica: the replica, above 0.
    """
    index, change = seed_and_change(tf_graphs.argument_names(op.type), replica)
    seed = inputs[index]
    # In a loop of the v1 control flow a constant must wait for what belongs to the iteration.
    controls = [] if tf_graphs.is_at_top_level(op) else [seed.op]
    with builder.adding(f"replica_{replica}/{op.name}", seed.device, controls):
        changed = tf.bitwise.bitwise_xor(seed, tf.constant(change, seed.dtype))
    return [*inputs[:index], changed, *inputs[index + 1 :]]
