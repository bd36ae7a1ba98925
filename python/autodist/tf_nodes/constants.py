"""Reads the names and slices of a `SaveV2` or `RestoreV2`, which are constants of its graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def names_and_slices(op: Any, *, may_fold: bool = False) -> list[tuple[bytes, bytes]] | None:
    """Returns the name and slice of each value of a `SaveV2` or `RestoreV2`.

    `None` if they are computed.

    Args:
        op: The node.
        may_fold: Whether to compute them where TensorFlow can without a session. The tensors cannot
            be fed from then on (`tf.get_static_value`, TF 2.21).
    """
    names, specs = (_strings(tensor, may_fold=may_fold) for tensor in op.inputs[1:3])
    return None if names is None or specs is None else list(zip(names, specs, strict=True))


def _strings(tensor: Any, *, may_fold: bool) -> list[bytes] | None:
    if may_fold:
        value = tf.get_static_value(tensor)
    elif tensor.op.type == "Const":
        value = tf.make_ndarray(tensor.op.get_attr("value"))
    else:
        value = None
    return None if value is None else [bytes(element) for element in value.ravel()]
