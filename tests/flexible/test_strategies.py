"""Flexible restores in a distributed session of each strategy, beside what NumPy says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import Growth, RestoreOptions, Saver
from support.specs import write_local_spec
from support.strategies import CUTS

tf1 = tf.compat.v1

RNG = np.random.default_rng(5)
STORED = {
    "old/emb": RNG.random((7, 4), np.float32),
    "old/emb/Adam": RNG.random((7, 4), np.float32),
    "old/emb/Adam_1": RNG.random((7, 4), np.float32),
    "old/dense": RNG.random((4, 6)),
    "old/bias": RNG.random(6, np.float32).astype(np.float16),
    "old/same": RNG.random(6, np.float32),
}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("stored") / "m"
    with tf.Graph().as_default(), tf1.Session() as session:
        for name, value in STORED.items():
            tf1.get_variable(name, initializer=value, use_resource=True)
        session.run(tf1.global_variables_initializer())
        return str(tf1.train.Saver().save(session, str(path), write_meta_graph=False))


def build() -> tuple[Any, Any]:
    """A model with rows, columns and slots; returns its training op and its inputs."""
    ids = tf1.placeholder(tf.int64, [None], name="ids")
    emb = tf1.get_variable("emb", [11, 4], initializer=tf1.constant_initializer(0.5))
    dense = tf1.get_variable("dense", [4, 6], initializer=tf1.ones_initializer())
    bias = tf1.get_variable("bias", [6], initializer=tf1.zeros_initializer())
    same = tf1.get_variable("same", [6], initializer=tf1.zeros_initializer())
    head = tf1.get_variable("head", [6, 1], initializer=tf1.constant_initializer(0.25))
    rows = tf.nn.embedding_lookup(emb, ids)
    loss = tf.reduce_mean(tf.matmul(tf.matmul(rows, dense) + bias * same, head))
    return tf1.train.AdamOptimizer(0.1).minimize(loss), ids


OPTIONS: dict[str, Any] = {
    "name_map": [("((emb|dense|bias|same)(/Adam(_1)?)?)", r"old/\1")],
    "grow": {"emb": 0},
    "cast": True,
}


def expected(missing: str, former: dict[str, Any]) -> dict[str, Any]:
    """What the variables hold after the restore, by NumPy."""
    initial = {"head": np.full([6, 1], 0.25, np.float32)}
    values = {
        name: value if missing == "keep" else initial.get(name, np.zeros_like(value))
        for name, value in former.items()
    }
    if missing == "initialize":
        values["beta1_power"], values["beta2_power"] = np.float32(0.9), np.float32(0.999)
    for name, rest in (("emb", 0.5), ("emb/Adam", 0), ("emb/Adam_1", 0)):
        values[name] = np.full([11, 4], rest, np.float32)
        values[name][:7] = STORED["old/" + name]
    for name in ("dense", "bias", "same"):
        values[name] = STORED["old/" + name].astype(np.float32)
    return values


@pytest.mark.parametrize("strategy", CUTS)
def test_missing_renamed_grown_and_cast(tmp_path: Path, prefix: str, strategy: str) -> None:
    autodist = AutoDist(write_local_spec(tmp_path), CUTS[strategy]())
    with tf.Graph().as_default(), autodist.scope():
        train_op, ids = build()
        saver = Saver()
        session = autodist.create_distributed_session()
        variables = {v.op.name: v for v in tf1.global_variables()}
        session.run(train_op, {ids: [1, 2, 9, 9]})
        for missing in ("keep", "initialize"):
            former = session.run(variables)
            with pytest.raises(tf.errors.NotFoundError, match="lacks"):
                saver.restore(session, prefix, options=RestoreOptions(**OPTIONS))
            assert_same(session.run(variables), former)
            report = saver.restore(
                session, prefix, options=RestoreOptions(missing=missing, **OPTIONS)
            )
            assert set(report.renamed) == {name.removeprefix("old/") for name in STORED}
            assert_same(session.run(variables), expected(missing, former))
            session.run(train_op, {ids: [1, 2, 9, 9]})
        # What was grown is saved as a whole.
        path = saver.save(session, str(tmp_path / "again"), write_meta_graph=False)
        assert tf.train.load_variable(path, "emb").shape == (11, 4)


@pytest.mark.parametrize("strategy", ["PS", "PartitionedPS_7", "PartitionedPS_axis_1", "AllReduce"])
def test_vocabularies_and_present_rows(tmp_path: Path, prefix: str, strategy: str) -> None:
    (tmp_path / "new").write_text("".join(f"{word}\n" for word in "gxbyazcwd"))
    (tmp_path / "old").write_text("".join(f"{word}\n" for word in "abcdefg"))
    growth = Growth(
        rest="keep",
        new_vocabulary=str(tmp_path / "new"),
        old_vocabulary=str(tmp_path / "old"),
        num_oov_buckets=2,
    )
    autodist = AutoDist(write_local_spec(tmp_path), CUTS[strategy]())
    with tf.Graph().as_default(), autodist.scope():
        emb = tf1.get_variable("emb", [11, 4], initializer=tf1.random_uniform_initializer())
        saver = Saver()
        session = autodist.create_distributed_session()
        former = session.run(emb)
        options = RestoreOptions(name_map={"emb": "old/emb"}, grow={"e*": growth})
        saver.restore(session, prefix, options=options)
        wanted = former.copy()
        for row, word in enumerate("gxbyazcwd"):
            if word in "abcdefg":
                wanted[row] = STORED["old/emb"]["abcdefg".index(word)]
        np.testing.assert_array_equal(session.run(emb), wanted)


def assert_same(values: dict[str, Any], others: dict[str, Any]) -> None:
    assert set(values) == set(others)
    for name, value in values.items():
        assert np.asarray(value).tobytes() == np.asarray(others[name]).tobytes(), name
