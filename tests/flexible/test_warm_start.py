"""The same vocabularies, by us and by `tf.compat.v1.train.warm_start`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import RestoreOptions, Saver

tf1 = tf.compat.v1

VALUES = np.random.default_rng(8).random((6, 3), np.float32)


def build(shape: list[int], parts: int) -> Any:
    partitioner = tf1.fixed_size_partitioner(parts) if parts > 1 else None
    made = tf1.get_variable(
        "emb",
        shape,
        initializer=tf1.ones_initializer(),
        partitioner=partitioner,
        use_resource=True,
    )
    return tf.convert_to_tensor(made)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("backup", [None, tf1.random_uniform_initializer(7, 7)])
# Along columns TensorFlow takes no note of `old_vocab_size`.
@pytest.mark.parametrize(("axis", "old_size"), [(0, -1), (0, 4), (1, -1)])
def test_both_warm_start_alike(
    tmp_path: Path, parts: int, axis: int, backup: Any, old_size: int
) -> None:
    stored = VALUES if axis == 0 else VALUES.T
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("emb", initializer=stored)
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(session, str(tmp_path / "m"), write_meta_graph=False)
    (tmp_path / "new").write_text("f\nx\na\ny\nb\n")
    (tmp_path / "old").write_text("a\nb\nc\nd\ne\nf\n")
    info = tf1.train.VocabInfo(
        str(tmp_path / "new"), 5, 2, str(tmp_path / "old"), old_size, backup, axis
    )
    shape = [7, 3] if axis == 0 else [3, 7]
    with tf.Graph().as_default(), tf1.Session() as session:
        value = build(shape, parts)
        tf1.train.warm_start(prefix, var_name_to_vocab_info={"emb": info})
        session.run(tf1.global_variables_initializer())
        session.run(tf1.tables_initializer())
        by_stock = session.run(value)
    with tf.Graph().as_default(), tf1.Session() as session:
        value = build(shape, parts)
        Saver().restore(session, prefix, options=RestoreOptions(grow={"emb": info}))
        by_us = session.run(value)
    np.testing.assert_array_equal(by_us, by_stock)
