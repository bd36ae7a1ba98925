"""The ways of stock TensorFlow to save and restore.

All return a function that works on a checkpoint with the prefix `checks.PREFIX` in a directory.
What can be built beforehand is built beforehand: the function only runs it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from contenders.models import Held, Piece
from measuring.checks import PREFIX

tf1 = tf.compat.v1

Work = Callable[[Path], None]


def gather_and_save(held: Held) -> Work:
    """Joins the shards of each variable in one tensor, and saves that by stock `SaveV2`."""
    with held.graph.as_default():
        return _save_tensors(held, {name: _concat(pieces) for name, pieces in held.by_name()})


def mean_and_save(copies: Sequence[Held]) -> Work:
    """The mean of each variable, then stock `SaveV2`: at least one more copy of each."""
    with copies[0].graph.as_default():
        reads = [{p.name: p.variable.read_value() for p in held.pieces} for held in copies]
        # In pairs, so that the sum of four equal values is exact.
        means = {
            name: _sum_in_pairs([of_copy[name] for of_copy in reads]) / len(copies)
            for name, _ in copies[0].by_name()
        }
        return _save_tensors(copies[0], means)


def saver_save(held: Held, *, is_sharded: bool = False) -> Work:
    """TensorFlow's own `Saver`, which writes shards as slices.

    With `sharded=True`, a file for each device.
    """
    saver = _stock_saver(held, is_sharded=is_sharded)

    def save(directory: Path) -> None:
        saver.save(held.session, str(directory / PREFIX), write_meta_graph=False, write_state=False)

    return save


def saver_restore(held: Held, *, is_sharded: bool = False) -> Work:
    """TensorFlow's own `Saver`."""
    saver = _stock_saver(held, is_sharded=is_sharded)
    return lambda directory: saver.restore(held.session, str(directory / PREFIX))


def restore_and_assign(copies: Sequence[Held]) -> Work:
    """Reads by stock `RestoreV2` and assigns to each copy, as `tf.distribute` does."""
    session = copies[0].session
    with copies[0].graph.as_default():
        prefix = tf1.placeholder(tf.string, [])
        names = [name for name, _ in copies[0].by_name()]
        read = tf.raw_ops.RestoreV2(
            prefix=prefix,
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            dtypes=[tf.float32] * len(names),
        )
        tensors = dict(zip(names, read, strict=True))
        assigns = [p.variable.assign(tensors[p.name]).op for held in copies for p in held.pieces]
        run = session.make_callable(tf.group(*assigns), feed_list=[prefix])
    return lambda directory: run(str(directory / PREFIX))


def _stock_saver(held: Held, *, is_sharded: bool) -> Any:
    with held.graph.as_default():
        return tf1.train.Saver(held.variables, sharded=is_sharded)


def _save_tensors(held: Held, tensors: Mapping[str, Any]) -> Work:
    prefix = tf1.placeholder(tf.string, [])
    save_op = tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    run = held.session.make_callable(save_op, feed_list=[prefix])
    return lambda directory: run(str(directory / PREFIX))


def _concat(pieces: Sequence[Piece], axis: int = 0) -> Any:
    """The whole of a variable, from pieces that tile a box, in row-major order."""
    if len(pieces) == 1:
        return pieces[0].variable.read_value()
    starts = sorted({piece.box.start[axis] for piece in pieces})
    if len(starts) == 1:
        return _concat(pieces, axis + 1)
    parts = [
        _concat([piece for piece in pieces if piece.box.start[axis] == start], axis + 1)
        for start in starts
    ]
    return tf.concat(parts, axis)


def _sum_in_pairs(tensors: Sequence[Any]) -> Any:
    if len(tensors) == 1:
        return tensors[0]
    half = math.ceil(len(tensors) / 2)
    return operator.add(_sum_in_pairs(tensors[:half]), _sum_in_pairs(tensors[half:]))
