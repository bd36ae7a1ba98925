"""Saves of variables whose memory the program changes without TensorFlow's knowledge: every checksum is right.

A save writes the bytes of a dense variable from where they are, without a copy. It must not do so where the memory is
also that of a ref variable, which is updated in place, or of a NumPy array that was fed.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from support.save_ops import Entry, save

tf1 = tf.compat.v1

SIZE = 4 << 20  # 16 MB, so that it changes while it is written
SAVES = 20


def aligned(size: int) -> np.ndarray:
    """Zeros in memory that TensorFlow takes as it is."""
    memory = np.zeros(size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + size]


def feed_array(session: tf1.Session, variable: Any, rows: int) -> Callable[[], Any]:
    """Assigns a NumPy array, or the first of its rows. Returns what changes the array."""
    array = aligned(rows * SIZE).reshape(rows, SIZE) if rows else aligned(SIZE)
    fed = tf1.placeholder(tf.float32, array.shape)
    value = tf.unstack(fed)[0] if rows else tf.identity(fed)
    session.run(tf1.assign(variable, value), {fed: array})

    def change() -> None:
        array[:] += 1

    change()
    assert session.run(variable)[-1] == 1, "the variable has memory of its own"
    return change


def assign_ref_variable(session: tf1.Session, variable: Any) -> Callable[[], Any]:
    """Assigns a ref variable. Returns an update of that one, in place."""
    ref = tf1.get_variable("ref", initializer=tf.zeros([SIZE]), use_resource=False)
    update = tf1.assign_add(ref, tf.ones([SIZE]), use_locking=False)
    session.run(ref.initializer)
    session.run(tf1.assign(variable, ref))
    session.run(update.op)
    assert session.run(variable)[-1] == 1, "the variable has memory of its own"
    return session.make_callable(update.op)


WAYS = {
    "array": lambda session, variable: feed_array(session, variable, 0),
    "part of an array": lambda session, variable: feed_array(session, variable, 2),
    "ref variable": assign_ref_variable,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_sum_is_that_of_the_bytes_in_the_file(
    way: str, tmp_path: Path, session: tf1.Session
) -> None:
    variable = tf1.get_variable("v", initializer=tf.zeros([SIZE]), use_resource=True)
    session.run(variable.initializer)
    change = WAYS[way](session, variable)
    op = session.make_callable(save(tmp_path / "ckpt", [Entry("v", variable)], threads=2))
    is_over = threading.Event()
    changes = 0

    def keep_changing() -> None:
        nonlocal changes
        while not is_over.is_set():
            change()
            changes += 1

    thread = threading.Thread(target=keep_changing)
    thread.start()
    try:
        for _ in range(SAVES):
            op()
            # Reads all of it, which checks the sum.
            tf.train.load_checkpoint(str(tmp_path / "ckpt")).get_tensor("v")
    finally:
        is_over.set()
        thread.join()
    assert changes > 0
