"""Restores that rename, leave out, grow and cast, into variables of one process."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Growth, RestoreOptions, Saver
from support.flexible_restores import (
    EMB,
    FORMER,
    KINDS,
    by_columns,
    by_hand,
    restored,
    stored,
    value_of,
    variable,
    whole,
)

tf1 = tf.compat.v1


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    return KINDS[request.param]


def test_another_name_is_read(tmp_path: Path, make: Any) -> None:
    value, report = restored(stored(tmp_path, {"old": EMB}), make("emb"), name_map={"emb": "old"})
    np.testing.assert_array_equal(value, EMB)
    assert report.renamed == {"emb": "old"}


@pytest.mark.parametrize("fills", [False, True])
def test_a_missing_variable_is_kept(tmp_path: Path, make: Any, *, fills: bool) -> None:
    prefix = stored(tmp_path, {"other": EMB})
    parts, other = make("emb"), variable("other", [6, 2])
    saver = Saver()
    with tf1.Session() as session:
        if fills:
            session.run(tf1.global_variables_initializer())
        report = saver.restore(session, prefix, options=RestoreOptions(missing="keep"))
        np.testing.assert_array_equal(session.run(other), EMB)
        if fills:
            np.testing.assert_array_equal(value_of(session, parts), np.ones([6, 2]))
        else:
            assert len(session.run(tf1.report_uninitialized_variables())) == len(parts)
    assert report.kept == ("emb",)
    assert report.restored == {"other": "other"}


def test_a_missing_variable_is_initialized(tmp_path: Path, make: Any) -> None:
    prefix = stored(tmp_path, {"other": EMB})
    variable("other", [6, 2])
    value, report = restored(prefix, make("emb"), missing="initialize")
    np.testing.assert_array_equal(value, np.ones([6, 2]))
    assert report.initialized == ("emb",)


@pytest.mark.parametrize(
    ("rest", "base"),
    [("initialize", 1), ("keep", FORMER), ("zeros", 0), (tf1.constant_initializer(9), 9)],
)
def test_a_variable_grows(tmp_path: Path, make: Any, rest: Any, base: float) -> None:
    prefix = stored(tmp_path, {"emb": EMB})
    value, report = restored(prefix, make("emb", 11), grow={"emb": Growth(rest=rest)})
    expected = np.concatenate([EMB, np.full([5, 2], base, np.float32)])
    np.testing.assert_array_equal(value, expected)
    assert (report.grown["emb"].taken_rows, report.grown["emb"].rows) == (6, 11)


def test_columns_grow(tmp_path: Path, make: Any) -> None:
    prefix = stored(tmp_path, {"emb": EMB[:, :1]})
    value, _ = restored(prefix, make("emb"), grow={"*": 1})
    np.testing.assert_array_equal(value, np.stack([EMB[:, 0], np.ones(6)], 1))


def test_grown_renamed_and_cast_at_once_with_its_slot(tmp_path: Path, make: Any) -> None:
    half = EMB.astype(np.float16)
    prefix = stored(tmp_path, {"old": half, "old/Momentum": -half, "unused": np.zeros(3)})
    emb = make("emb", 9)
    optimizer = tf1.train.MomentumOptimizer(1.0, 0.9)
    optimizer.minimize(tf.add_n([tf.reduce_sum(tf.identity(part)) for part in emb]))
    slot = [optimizer.get_slot(part, "momentum") for part in emb]
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        options = RestoreOptions(name_map={"emb": "old"}, grow={"emb": 0}, cast=True)
        report = saver.restore(session, prefix, options=options)
        for parts, sign, rest in ((emb, 1, 1), (slot, -1, 0)):
            expected = np.concatenate([sign * half.astype(np.float32), np.full([3, 2], rest)])
            np.testing.assert_array_equal(value_of(session, parts), expected)
    assert report.cast == {"emb": ("float16", "float32"), "emb/Momentum": ("float16", "float32")}
    assert report.unexpected == ("unused",)


@pytest.mark.parametrize("rest", ["zeros", tf1.constant_initializer(-9)])
def test_new_rows_of_a_slot_begin_as_the_optimizer_says(tmp_path: Path, rest: Any) -> None:
    """Zeros or negative numbers in Adagrad's accumulator would give infinite or no numbers."""
    prefix = stored(tmp_path, {"emb": EMB, "emb/Adagrad": EMB + 1})
    (emb,) = whole("emb", 9)
    optimizer = tf1.train.AdagradOptimizer(1.0, initial_accumulator_value=0.1)
    optimizer.minimize(tf.reduce_sum(emb))
    saver = Saver()
    with tf1.Session() as session:
        saver.restore(session, prefix, options=RestoreOptions(grow={"emb": Growth(rest=rest)}))
        slot = session.run(optimizer.get_slot(emb, "accumulator"))
    np.testing.assert_array_equal(slot[:6], EMB + 1)
    np.testing.assert_array_equal(slot[6:], np.full([3, 2], 0.1, np.float32))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64, tf.float32])
@pytest.mark.parametrize("origin", [tf.float32, tf.bfloat16, tf.float16])
def test_floats_are_cast_as_by_numpy(tmp_path: Path, dtype: Any, origin: Any) -> None:
    value = EMB.astype(origin.as_numpy_dtype)
    prefix = stored(tmp_path, {"emb": value})
    found, report = restored(prefix, by_hand("emb", dtype=dtype), cast=True)
    assert found.dtype == dtype.as_numpy_dtype
    assert found.tobytes() == value.astype(dtype.as_numpy_dtype).tobytes()
    assert bool(report.cast) == (dtype != origin)


def test_slices_of_any_dtype_are_cast(tmp_path: Path) -> None:
    """Stock TensorFlow cannot read slices of float16 as a whole."""
    with tf.Graph().as_default(), tf1.Session() as session:
        by_hand("emb", dtype=tf.float16)
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(session, str(tmp_path / "m"), write_meta_graph=False)
    value, _ = restored(prefix, by_columns("emb"), cast=True)
    np.testing.assert_array_equal(value, np.ones([6, 2]))


def test_a_finalized_graph_is_restored(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"old": EMB.astype(np.float64)})
    parts = by_hand("emb", 8)
    saver = Saver(
        restore_options=RestoreOptions(name_map=[("e.*", "old")], grow={"emb": 0}, cast=True)
    )
    tf1.get_default_graph().finalize()
    with tf1.Session() as session:
        saver.restore(session, prefix)
        np.testing.assert_array_equal(value_of(session, parts)[:6], EMB)


@pytest.mark.parametrize("sharded", [False, True])
def test_every_saver_may_be_flexible(tmp_path: Path, *, sharded: bool) -> None:
    prefix = stored(tmp_path, {"emb": EMB.reshape(3, 4), "text": np.array([b"a", b"bc"])})
    emb, extra = variable("emb", [6, 2]), variable("extra", [2])
    text = variable("other", [2], tf.string, initializer=tf1.constant_initializer("x"))
    saver = Saver(reshape=True, sharded=sharded)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        options = RestoreOptions(missing="keep", name_map={"other": "text"})
        saver.restore(session, prefix, options=options)
        np.testing.assert_array_equal(session.run(emb), EMB)
        assert session.run(text).tolist() == [b"a", b"bc"]
        np.testing.assert_array_equal(session.run(extra), np.ones(2))


def test_tables_are_restored_under_another_name(tmp_path: Path) -> None:
    def table(name: str) -> Any:
        return tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.float32, 0.0, empty_key=-1, deleted_key=-2, name=name
        )

    with tf.Graph().as_default(), tf1.Session() as session:
        session.run(table("old").insert(tf.constant([3], tf.int64), [5.0]))
        prefix = tf1.train.Saver().save(session, str(tmp_path / "m"), write_meta_graph=False)
    made, weights = table("new"), variable("weights", [2])
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        options = RestoreOptions(
            missing="initialize", name_map=lambda name: name.replace("new", "old")
        )
        saver.restore(session, prefix, options=options)
        assert session.run(made.lookup(tf.constant([3], tf.int64))).tolist() == [5.0]
        np.testing.assert_array_equal(session.run(weights), np.ones(2))


def test_an_object_based_checkpoint_is_read_by_names(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        emb = variable("model/emb", [6, 2], initializer=tf1.constant_initializer(EMB))
        session.run(tf1.global_variables_initializer())
        with session.as_default():
            prefix = tf.train.Checkpoint(emb=emb).save(str(tmp_path / "c"))
    value, report = restored(
        prefix, by_hand("emb", 7), name_map={"emb": "model/emb"}, grow={"emb": 0}
    )
    np.testing.assert_array_equal(value[:6], EMB)
    assert report.restored["emb"].endswith(".ATTRIBUTES/VARIABLE_VALUE")


def test_a_checkpoint_of_the_v1_format_is_renamed_and_cast(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        variable("old", [6, 2])
        variable("same", [2], initializer=tf1.constant_initializer(4))
        session.run(tf1.global_variables_initializer())
        saver = tf1.train.Saver(write_version=tf1.train.SaverDef.V1)
        prefix = saver.save(session, str(tmp_path / "v1"), write_meta_graph=False)
    same = variable("same", [2])
    value, _ = restored(prefix, whole("emb", dtype=tf.float64), name_map={"emb": "old"}, cast=True)
    np.testing.assert_array_equal(value, np.ones([6, 2]))
    assert same.shape == [2]


def test_each_option_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prefix = stored(tmp_path, {"old": EMB, "half": np.float16(3), "unused": np.float32(1)})
    variable("half", [])
    variable("a", [2])
    variable("b", [2])
    with caplog.at_level(logging.INFO, logger="autodist"):
        restored(
            prefix,
            whole("emb", 8),
            missing="keep",
            unexpected="warn",
            name_map={"emb": "old"},
            grow={"emb": 0},
            cast=True,
        )
    # Every value is made, so no line tells of values that were read as they are stored.
    lines = [record.getMessage().removeprefix(prefix + ": ") for record in caplog.records]
    assert lines == [
        "name_map: 1 read under another name: emb <- old",
        "grow: 1 grown: emb (6 of 8 rows of axis 0 from 6 stored ones, the rest: initialize)",
        "cast: 1 cast: half (float16 -> float32)",
        "missing='keep': 2 not in the checkpoint, not changed: a, b",
        "no variable takes 1 name of the checkpoint: unused",
    ]
    assert caplog.records[-1].levelno == logging.WARNING


def test_a_dry_run_touches_nothing(tmp_path: Path, make: Any) -> None:
    prefix = stored(tmp_path, {"emb": EMB, "unused": EMB})
    variable("extra", [3])
    value, report = restored(
        prefix, make("emb", 8), missing="initialize", grow={"emb": 0}, dry_run=True
    )
    np.testing.assert_array_equal(value, np.full([8, 2], FORMER))
    assert report.is_dry_run
    assert (report.initialized, report.unexpected) == (("extra",), ("unused",))
    assert "6 of 8 rows of axis 0" in str(report)


def test_a_dry_run_alone_tells_what_a_restore_would_do(tmp_path: Path) -> None:
    value, report = restored(stored(tmp_path, {"emb": EMB}), whole("emb"), dry_run=True)
    np.testing.assert_array_equal(value, np.full([6, 2], FORMER))
    assert report.restored == {"emb": "emb"}


def test_without_options_nothing_is_returned(tmp_path: Path) -> None:
    value, report = restored(stored(tmp_path, {"emb": EMB}), whole("emb"))
    np.testing.assert_array_equal(value, EMB)
    assert report is None
