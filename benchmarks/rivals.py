"""The ways to save without `autodist`, and what the file system alone allows.

All return a function that writes a checkpoint with the prefix `checks.PREFIX` into a directory. What can
be built beforehand is built beforehand: the function only runs it.
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from checks import DATA, PREFIX

if TYPE_CHECKING:
    import numpy as np

tf1 = tf.compat.v1

Save = Callable[[Path], None]

_BLOCK_BYTES = 1 << 20


def concat_and_save(session: Any, name: str, shards: Sequence[Any]) -> Save:
    """The shards in one tensor, then stock `SaveV2`: a whole variable, one more copy of it."""
    return _save_tensor(session, name, tf.concat([shard.read_value() for shard in shards], axis=0))


def mean_and_save(session: Any, name: str, replicas: Sequence[Any]) -> Save:
    """The mean in one tensor, then stock `SaveV2`: a whole variable, at least one more copy of it."""
    total = functools.reduce(operator.add, [replica.read_value() for replica in replicas])
    return _save_tensor(session, name, total / len(replicas))


def stock_saver(session: Any, variables: Sequence[Any]) -> Save:
    """TensorFlow's own `Saver`; it writes a `PartitionedVariable` as slices."""
    saver = tf1.train.Saver(variables)

    def save(directory: Path) -> None:
        saver.save(session, str(directory / PREFIX), write_meta_graph=False, write_state=False)

    return save


def bare_writes(values: np.ndarray, threads: int) -> Save:
    """The limit: the bytes by `pwrite` in blocks of 1 MiB straight from memory, no checksum, no index.

    On tmpfs it is not quite the floor. Linux lets one `pwrite` at a time into a file (6.18, `i_rwsem`), so two
    threads are no faster than one, and a writer whose block is in the processor's cache holds that lock for
    less time: the same block again and again took 0.150 s where this took 0.168.
    """
    source = memoryview(values).cast("B")
    cuts = [source.nbytes * i // threads for i in range(threads + 1)]
    pool = concurrent.futures.ThreadPoolExecutor(threads)

    def write_part(descriptor: int, begin: int, end: int) -> None:
        while begin < end:
            begin += os.pwrite(descriptor, source[begin : min(begin + _BLOCK_BYTES, end)], begin)

    def save(directory: Path) -> None:
        descriptor = os.open(directory / DATA, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            parts = [
                pool.submit(write_part, descriptor, begin, end)
                for begin, end in itertools.pairwise(cuts)
            ]
            for part in parts:
                part.result()
        finally:
            os.close(descriptor)

    return save


def _save_tensor(session: Any, name: str, tensor: Any) -> Save:
    prefix = tf1.placeholder(tf.string, [])
    save_op = tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=[name], shape_and_slices=[""], tensors=[tensor]
    )
    run = session.make_callable(save_op, feed_list=[prefix])

    def save(directory: Path) -> None:
        run(str(directory / PREFIX))

    return save
