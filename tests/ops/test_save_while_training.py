"""Saves taken while other threads update the variables without pause: nothing torn, every checksum right."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import _native
from support.save_ops import Entry, save

tf1 = tf.compat.v1

ROWS, COLUMNS = 6000, 100  # 2.4 MB: several blocks
SAVES = 100


def make_variable(name: str) -> Any:
    return tf1.get_variable(name, initializer=tf.zeros([ROWS, COLUMNS]), use_resource=True)


def add_to_all_rows(variable: Any) -> tf.Operation:
    return tf.raw_ops.ResourceScatterAdd(
        resource=variable.handle, indices=tf.range(ROWS), updates=tf.ones([ROWS, COLUMNS])
    )


def momentum_step_on_all_rows(variable: Any, slot: Any, use_locking: bool) -> tf.Operation:
    return tf.raw_ops.ResourceSparseApplyMomentum(
        var=variable.handle, accum=slot.handle, lr=1.0, grad=tf.ones([ROWS, COLUMNS]), indices=tf.range(ROWS),
        momentum=0.5, use_locking=use_locking,
    )  # fmt: skip


def dense_step(variable: Any) -> tf.Operation:
    return tf.raw_ops.ResourceApplyGradientDescent(
        var=variable.handle, alpha=1.0, delta=tf.ones([ROWS, COLUMNS])
    )


@contextlib.contextmanager
def running(session: tf1.Session, updates: list[tf.Operation]) -> Iterator[None]:
    """Runs each update over and over in a thread of its own."""
    is_over = threading.Event()
    failures = []

    def run(step: Callable[[], Any]) -> None:
        try:
            while not is_over.is_set():
                step()
        except tf.errors.OpError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(session.make_callable(op),)) for op in updates]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert not failures


def assert_uniform_shards(prefix: Path) -> None:
    """Reads every tensor, which checks its sum, and looks for rows of another step than the first."""
    reader = tf.train.load_checkpoint(str(prefix))
    for name in reader.get_variable_to_shape_map():
        value = reader.get_tensor(name)
        for shard in (value[:, :COLUMNS], value[:, COLUMNS:]):
            assert shard.size == 0 or np.ptp(shard) == 0, f"{name} is torn in {prefix}"


@pytest.mark.parametrize("lock", ["block", "copy"])
def test_every_variable_is_saved_as_it_was_at_one_instant(
    lock: str,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    names = (
        "scattered",
        "hogwild",
        "hogwild_slot",
        "locked",
        "locked_slot",
        "dense",
        "mixed",
        "mixed_slot",
        "left",
        "right",
    )
    variables = {name: make_variable(name) for name in (*names, "replica_0", "replica_1")}
    updates = [
        # One thread each where updates hold the lock as readers: two would lose each other's additions.
        add_to_all_rows(variables["scattered"]),
        momentum_step_on_all_rows(
            variables["hogwild"], variables["hogwild_slot"], use_locking=False
        ),
        *[
            momentum_step_on_all_rows(
                variables["locked"], variables["locked_slot"], use_locking=True
            )
        ]
        * 2,
        dense_step(variables["dense"]),
        dense_step(variables["mixed"]),
        momentum_step_on_all_rows(variables["mixed"], variables["mixed_slot"], use_locking=True),
        *[add_to_all_rows(variables[name]) for name in ("left", "right", "replica_0", "replica_1")],
    ]
    entries = [Entry(name, variables[name]) for name in names[:-2]]
    halves = {
        name: f"{ROWS} {2 * COLUMNS} -:{at},{COLUMNS}"
        for name, at in (("left", 0), ("right", COLUMNS))
    }
    entries += [Entry("columns", variables[name], place) for name, place in halves.items()]
    entries += [Entry("mean", variables[name]) for name in ("replica_1", "replica_0")]
    prefixes = [tmp_path / f"ckpt-{i}" for i in range(4)]
    saves = [
        session.make_callable(save(prefix, entries, lock=lock, threads=2)) for prefix in prefixes
    ]
    session.run(tf1.global_variables_initializer())
    with running(session, updates):
        for i in range(SAVES):
            saves[i % 4]()
            assert_uniform_shards(prefixes[i % 4])
        with contextlib.closing(_native.ReportSlot(prefixes[0], is_save=True)) as slot:
            saves[0]()
    assert slot.take_report().max_lock_seconds < 10


def test_a_dense_variable_is_not_copied_for_a_save(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    variable = make_variable("dense")
    op = save(tmp_path / "ckpt", [Entry("dense", variable)])
    session.run(variable.initializer)
    locked = []
    for _ in range(5):
        with contextlib.closing(_native.ReportSlot(tmp_path / "ckpt", is_save=True)) as slot:
            session.run(op)
        locked.append(slot.take_report().max_lock_seconds)
    # Another process may run meanwhile, but not each time.
    assert 0 < min(locked) < 0.001


def test_one_variable_as_several_replicas_is_locked_once(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    variable = make_variable("sparse")
    op = save(
        tmp_path / "ckpt",
        [Entry("mean", variable), Entry("mean", variable), Entry("again", variable)],
    )
    session.run(variable.initializer)
    session.run(add_to_all_rows(variable))
    session.run(op)
    np.testing.assert_array_equal(
        tf.train.load_checkpoint(str(tmp_path / "ckpt")).get_tensor("mean"), 1
    )


def test_a_variable_assigned_another_shape_is_refused_or_saved_whole(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    value = tf1.placeholder_with_default(tf.zeros([ROWS]), [None])
    variable = tf1.get_variable("v", initializer=value, validate_shape=False, use_resource=True)
    assignments = [
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tf.zeros([rows]))
        for rows in (ROWS, 2 * ROWS)
    ]
    op = session.make_callable(
        save(tmp_path / "ckpt", [Entry(f"v{i}", variable) for i in range(50)])
    )
    session.run(variable.initializer)
    with running(session, assignments):
        for _ in range(50):
            with contextlib.suppress(
                tf.errors.FailedPreconditionError, tf.errors.InvalidArgumentError
            ):
                op()
    op()
    assert len(tf.train.list_variables(str(tmp_path / "ckpt"))) == 50


def test_string_variables_are_saved_while_they_are_scattered_into(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    variable = tf1.get_variable("s", initializer=tf.fill([1000], "start"), use_resource=True)
    updates = [
        tf.raw_ops.ResourceScatterUpdate(
            resource=variable.handle, indices=tf.range(1000), updates=tf.fill([1000], text)
        )
        for text in ("a", "much longer than what fits in place")
    ]
    op = session.make_callable(save(tmp_path / "ckpt", [Entry("s", variable)]))
    session.run(variable.initializer)
    session.run(updates[0])
    with running(session, updates):
        for _ in range(30):
            op()
            strings = tf.train.load_checkpoint(str(tmp_path / "ckpt")).get_tensor("s")
            assert len(set(strings.tolist())) == 1
