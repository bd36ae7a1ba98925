"""The error of a node that does not answer.

Not in `autodist.errors`, which imports no TensorFlow.
"""

from __future__ import annotations

import tensorflow as tf

from autodist.errors import AutoDistError


class NodeUnavailableError(AutoDistError, tf.errors.UnavailableError):
    """A node of the cluster does not answer, or is another process than it was.

    Attributes:
      nodes: `(address, task)` of each such node, as `("10.0.0.2:15000", "/job:worker/task:1")`.
    """

    def __init__(self, message: str, nodes: tuple[tuple[str, str], ...]) -> None:
        tf.errors.UnavailableError.__init__(self, None, None, message)
        self.nodes = nodes
