"""Tells which variables our ops read and write where they are."""

from __future__ import annotations

import functools
import os

import tensorflow as tf

_ACCELERATORS = "AUTODIST_ACCELERATORS"


def is_in_place(device: str, dtype: tf.DType) -> bool:
    """Tells whether the ops of a task read and write a variable in place.

    They do so in the memory of a processor, and of a GPU, whose memory they copy block by block.
    `AUTODIST_ACCELERATORS` lists other types of devices, with commas between them; if it is empty,
    all accelerators are read and written by TensorFlow's own copies of whole values. The graph
    passes have the same rule (`cc/passes/read_in_place.h`).

    Args:
        device: The device of the variable; a whole name, or a partial one with the type.
        dtype: The dtype of the variable.
    """
    kind = _type_of(device)
    if kind == "CPU":
        return True
    listed = os.environ.get(_ACCELERATORS, "GPU").split(",")
    return bool(kind) and kind in listed and dtype.base_dtype not in (tf.string, tf.variant)


@functools.lru_cache(maxsize=10_000)
def _type_of(device: str) -> str:
    return str(tf.DeviceSpec.from_string(device).device_type or "")
