"""Variables of every kind, and checkpoints of stock TensorFlow, for restores that rename, grow and cast."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.saver import RestoreOptions, Saver

tf1 = tf.compat.v1

EMB = np.arange(12, dtype=np.float32).reshape(6, 2) / 7
FORMER = np.float32(-5)


def stored(directory: Path, values: dict[str, Any], name: str = "m") -> str:
    """Saves values with stock TensorFlow; returns the prefix."""
    with tf.Graph().as_default(), tf1.Session() as session:
        for key, value in values.items():
            tf1.get_variable(key, initializer=value, use_resource=True)
        session.run(tf1.global_variables_initializer())
        prefix = str(directory / name)
        return str(tf1.train.Saver().save(session, prefix, write_meta_graph=False))


def variable(name: str, shape: list[int], dtype: Any = tf.float32, **arguments: Any) -> Any:
    initializer = arguments.pop("initializer", tf1.constant_initializer(1))
    arguments.setdefault("use_resource", True)
    return tf1.get_variable(name, shape, dtype, initializer, **arguments)


def whole(name: str, rows: int = 6, dtype: Any = tf.float32) -> list[Any]:
    return [variable(name, [rows, 2], dtype)]


def ref(name: str, rows: int = 6, dtype: Any = tf.float32) -> list[Any]:
    return [variable(name, [rows, 2], dtype, use_resource=False)]


def by_hand(name: str, rows: int = 6, dtype: Any = tf.float32) -> list[Any]:
    parts = variable(name, [rows, 2], dtype, partitioner=tf1.fixed_size_partitioner(3))
    return list(parts)


def by_columns(name: str, rows: int = 6, dtype: Any = tf.float32) -> list[Any]:
    parts = variable(name, [rows, 2], dtype, partitioner=tf1.fixed_size_partitioner(2, axis=1))
    return list(parts)


KINDS: dict[str, Callable[..., list[Any]]] = {
    "whole": whole,
    "ref": ref,
    "by_hand": by_hand,
    "by_columns": by_columns,
}


def value_of(session: Any, parts: list[Any]) -> Any:
    axis = 1 if len(parts) == 2 else 0
    return np.concatenate(session.run(parts), axis)


def restored(prefix: str, parts: list[Any], *, fills: bool = True, **options: Any) -> Any:
    """The value of a variable after a restore, and the report."""
    saver = Saver()
    with tf1.Session() as session:
        if fills:
            session.run(tf1.global_variables_initializer())
            session.run(
                [
                    part.assign(tf.fill(part.shape, tf.cast(FORMER, part.dtype.base_dtype)))
                    for part in parts
                ]
            )
        report = saver.restore(session, prefix, options=RestoreOptions(**options))
        return value_of(session, parts), report
