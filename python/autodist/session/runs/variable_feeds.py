"""Feeds a variable: for one run every read of it gives the fed value, as with a ref variable.

TensorFlow replaces a resource variable in a `feed_dict` by the one read that it keeps for fetches.
No other op takes that read, so the fed value would silently have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from autodist.errors import ArgumentError
from autodist.graph.original.ops import op_types
from autodist.graph.original.ops.functions import may_write
from autodist.private_apis import tf_graphs

# Op types that take a variable's handle without reading its value.
_VALUELESS = frozenset(
    {op_types.SHAPE, op_types.IS_INITIALIZED, op_types.DISABLE_COPY, op_types.DESTROY}
)


def fed_reads(graph: Any, feed_dict: Any) -> Any:
    """`feed_dict` with all reads of a variable in place of the variable.

    Args:
      graph: the original graph.
      feed_dict: as for `tf.compat.v1.Session.run`.

    Raises:
      ArgumentError: if an op takes the variable's value otherwise than by a read that can be fed.
    """
    if not isinstance(feed_dict, Mapping):
        return feed_dict
    handles = {key: op for key in feed_dict if (op := _handle_op(graph, key)) is not None}
    if not handles:
        return feed_dict
    spread: dict[Any, Any] = {}
    for key, value in feed_dict.items():
        if key in handles:
            spread.update(dict.fromkeys(_reads(key, handles[key]), value))
        else:
            spread[key] = value
    return spread


def _handle_op(graph: Any, key: Any) -> Any:
    """The `VarHandleOp` of the variable that a key of a `feed_dict` stands for.

    None for any other key.
    """
    if isinstance(key, str):
        try:
            key = graph.as_graph_element(key, allow_operation=False)
        except (KeyError, TypeError, ValueError):
            return None  # TensorFlow tells what is wrong with it.
    elif isinstance(key, tf.Variable):
        key = getattr(key, "handle", None)
    if not isinstance(key, tf.Tensor) or key.dtype != tf.resource:
        return None
    op = getattr(key, "op", None)  # A tensor of eager execution has none.
    return op if op is not None and op.type == op_types.HANDLE and op.graph is graph else None


def _reads(key: Any, handle_op: Any) -> list[Any]:
    """The tensors that hold the variable's value."""
    handle = handle_op.outputs[0]
    found = []
    for op in handle.consumers():
        if op.type == op_types.READ and tf_graphs.is_at_top_level(op):
            found.extend(op.outputs)
        elif op.type not in _VALUELESS and not _only_writes(op, handle):
            name = getattr(key, "name", key)
            raise ArgumentError(
                f"variable {name!r} cannot be fed: op {op.name!r} ({op.type}) takes its value from "
                "the variable itself. Set the variable with `load(value, session)`, or let the "
                "graph use `tf.compat.v1.placeholder_with_default(variable, variable.shape)` and "
                "feed that."
            )
    return found


def _only_writes(op: Any, handle: Any) -> bool:
    """Whether `op` is an update that has a rule; it works on the stored value, which is not fed."""
    return op_types.is_update(op.type) and any(
        given is handle and may_write(op, index) for index, given in enumerate(op.inputs)
    )
