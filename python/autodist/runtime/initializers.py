"""In which order the variables of a graph are initialised.

A variable may start from the value of another, as slots and moving averages do. Its initializer
then reads that one, and must run after the other's has.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph import op_kinds


def initializer_stages(graph: Any) -> list[list[Any]]:
    """The initializers of all global and local variables, in stages: each reads only what earlier ones wrote.

    Args:
      graph: the original graph.

    Returns:
      Lists of ops. Variables that start from each other in a ring share the last stage.
    """
    keys = tf.compat.v1.GraphKeys
    variables = graph.get_collection(keys.GLOBAL_VARIABLES)
    variables += graph.get_collection(keys.LOCAL_VARIABLES)
    waiting = {v.handle.op: v.initializer for v in variables}
    sources = {handle: _variables_read(init) - {handle} for handle, init in waiting.items()}
    stages = []
    while waiting:
        ready = [h for h in waiting if not sources[h] & waiting.keys()] or list(waiting)
        stages.append([waiting.pop(handle) for handle in ready])
    return stages


def _variables_read(initializer: Any) -> set[Any]:
    """The handles of the variables that an initializer depends on."""
    found, pending, seen = set(), [initializer], {initializer}
    while pending:
        op = pending.pop()
        if op.type == op_kinds.HANDLE:
            found.add(op)
        for source in [t.op for t in op.inputs] + list(op.control_inputs):
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return found
