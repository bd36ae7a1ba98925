"""Reads the names and slices of a `SaveV2` or `RestoreV2`, which are constants of its graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf


def names_and_slices(op: Any, *, may_fold: bool = False) -> list[tuple[bytes, bytes]] | None:
    """Returns the name and slice of each value of a `SaveV2` or `RestoreV2`.

    `None` if they are computed.

    Args:
        op: The node.
        may_fold: Whether to compute them where TensorFlow can without a session. Tensors that are
            not constants cannot be fed from then on (`tf.get_static_value`, TF 2.21).
    """
    names, specs = (_strings(tensor, may_fold=may_fold) for tensor in op.inputs[1:3])
    return None if names is None or specs is None else list(zip(names, specs, strict=True))


def renamed(tensor: Any, names: Mapping[bytes, bytes]) -> Any:
    """Returns what to feed for the names of a `RestoreV2`, so that it reads other names.

    Args:
        tensor: The names, which are a constant.
        names: The other names, by those of the constant; names without one stay.
    """
    given = tf.make_ndarray(tensor.op.get_attr("value"))
    return np.array([names.get(bytes(name), bytes(name)) for name in given.ravel()], object)


def _strings(tensor: Any, *, may_fold: bool) -> list[bytes] | None:
    if tensor.op.type == "Const":
        value = tf.make_ndarray(tensor.op.get_attr("value"))
    elif may_fold:
        value = tf.get_static_value(tensor)
    else:
        value = None
    return None if value is None else [bytes(element) for element in value.ravel()]
