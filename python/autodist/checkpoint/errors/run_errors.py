"""Shortens the errors of runs: leaves out stacks, names of generated nodes and terms of gRPC.

TensorFlow puts Python stacks of the node before and after the message. For a node of a saver these
stacks lie inside TensorFlow and this package, so they do not help the user.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# The errors that a run may raise if a task is lost.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)

_STACKS = "Graph execution error:"
# The last line of a node's stack.
_NODE = "Node: "
_NOISE = ("[[", "Additional GRPC error information", ":UNKNOWN:", ":{")


def text_of(error: Any) -> str:
    """Returns the message of an error of a run, without stacks and nodes.

    Args:
        error: A `tf.errors.OpError`.
    """
    lines = str(error.message).splitlines()
    if lines and lines[0] == _STACKS:
        ends = [number for number, line in enumerate(lines) if line.startswith(_NODE)]
        lines = lines[max(ends, default=0) + 1 :]
    kept = [line for line in lines if line.strip(" =") and not line.strip().startswith(_NOISE)]
    # All tasks that waited for a lost task report it in the same words.
    return "\n".join(dict.fromkeys(kept))


def without_stacks(error: Any) -> Any:
    """Returns an error of the same type that says only what failed.

    Args:
        error: A `tf.errors.OpError`.
    """
    return type(error)(None, None, text_of(error))
