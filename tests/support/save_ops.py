"""The save op, stock TensorFlow's beside it, and the files that they write."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist import _native

SUFFIXES = (".index", ".data-00000-of-00001")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of a save: a variable or a value, and where it lies."""

    name: str
    value: Any
    slice: str = ""
    aggregation: str = "MEAN"


def save(prefix: Path | str, entries: Sequence[Entry], **attrs: Any) -> tf.Operation:
    """Makes an AutodistSave of some entries: resource variables are pinned, all else is a tensor."""
    ops = _native.ops()
    pinned = [entry for entry in entries if hasattr(entry.value, "handle")]
    others = [entry for entry in entries if not hasattr(entry.value, "handle")]
    pins = []
    if pinned:
        pins.append(ops.autodist_pin_variables(handles=[entry.value.handle for entry in pinned]))
    places = {id(entry): place for place, entry in enumerate([*pinned, *others])}
    return ops.autodist_save(
        prefix=str(prefix),
        tensor_names=tf.constant([entry.name for entry in entries], tf.string, [len(entries)]),
        shape_and_slices=tf.constant([entry.slice for entry in entries], tf.string, [len(entries)]),
        aggregations=tf.constant(
            [entry.aggregation for entry in entries], tf.string, [len(entries)]
        ),
        pins=pins,
        tensors=[entry.value for entry in others],
        value_index=[places[id(entry)] for entry in entries],
        **attrs,
    )


def save_stock(prefix: Path | str, entries: Sequence[Entry]) -> tf.Operation:
    """Makes stock TensorFlow's SaveV2 of the same entries."""
    return tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=[entry.name for entry in entries],
        shape_and_slices=[entry.slice for entry in entries],
        tensors=[entry.value for entry in entries],
    )


def read_bundle(prefix: Path | str) -> tuple[bytes, ...]:
    """The bytes of a bundle's index and data, on any file system."""
    return tuple(tf.io.gfile.GFile(str(prefix) + suffix, "rb").read() for suffix in SUFFIXES)
