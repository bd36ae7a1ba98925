"""What a save writes of variables that change while it runs: dense ones as they were when it began, all at one instant.

The saves here wait, with the variables referred to, for a tensor that the test hands over when it has trained.
"""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import _native

tf1 = tf.compat.v1

TIMEOUT_SECONDS = 120


class HeldUpSave:
    """A save of variables, pinned per device, which is held up between its beginning and its end."""

    def __init__(
        self, ops: ModuleType, prefix: Path, entries: list[tuple[str, Any]], **attrs: Any
    ) -> None:
        begun, late = (tf1.FIFOQueue(1, [tf.float32], [[]]) for _ in range(2))
        devices: dict[str, list[int]] = {}
        for number, (_, variable) in enumerate(entries):
            devices.setdefault(variable.device, []).append(number)
        pins, order = [], []
        for device, numbers in devices.items():
            with tf.device(device):
                pins.append(ops.autodist_pin_variables([entries[i][1].handle for i in numbers]))
            order += numbers
        references = ops.autodist_reference_variables(pins, str(prefix))
        with tf.control_dependencies([references]):
            self._begin = begun.enqueue(0.0)
        self._save = ops.autodist_save(
            prefix=str(prefix), tensor_names=[name for name, _ in entries] + ["late"],
            shape_and_slices=[""] * (len(entries) + 1), aggregations=["MEAN"] * (len(entries) + 1),
            pins=[references], tensors=[late.dequeue()],
            value_index=[order.index(i) for i in range(len(entries))] + [len(entries)], **attrs,
        )  # fmt: skip
        self._begun, self._go_on = begun.dequeue(), late.enqueue(1.0)
        self._prefix = prefix

    def run(self, session: tf1.Session, updates: list[Any]) -> Callable[[str], Any]:
        """Runs updates, each to its end, between the beginning and the end; returns what reads the checkpoint."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            saved = pool.submit(session.run, [self._begin, self._save])
            session.run(self._begun)
            try:
                for update in updates:
                    session.run(
                        update, options=tf1.RunOptions(timeout_in_ms=TIMEOUT_SECONDS * 1000)
                    )
            finally:
                session.run(self._go_on)
            saved.result(TIMEOUT_SECONDS)
        return tf.train.load_checkpoint(str(self._prefix)).get_tensor


@pytest.fixture
def session() -> Iterator[tf1.Session]:
    """A session with two processors as devices."""
    config = tf1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), tf1.Session(config=config) as session:
        yield session


def make_variable(name: str, *, device: int = 0) -> Any:
    with tf.device(f"/cpu:{device}"):
        return tf1.get_variable(name, initializer=tf.zeros([3000, 2]), use_resource=True)


def make_shapeless_variable(name: str) -> Any:
    with tf.device("/cpu:1"):
        value = tf1.placeholder_with_default(tf.zeros([3000, 2]), None)
        return tf1.get_variable(name, initializer=value, validate_shape=False, use_resource=True)


def add_to_rows(variable: Any) -> tf.Operation:
    rows = variable.shape[0]
    return tf.raw_ops.ResourceScatterAdd(
        resource=variable.handle, indices=tf.range(rows), updates=tf.ones([rows, 2])
    )


@pytest.mark.parametrize("lock", ["block", "copy"])
def test_dense_variables_are_saved_as_they_were_at_first(
    tmp_path: Path, session: tf1.Session, ops: ModuleType, lock: str
) -> None:
    """On both devices; also one that is assigned another shape, or is updated by rows for the first time."""
    added, assigned, scattered = (
        make_variable("a"),
        make_shapeless_variable("b"),
        make_variable("c"),
    )
    save = HeldUpSave(
        ops, tmp_path / "m", [(v.op.name, v) for v in (added, assigned, scattered)], lock=lock
    )
    updates = [
        added.assign_add(tf.ones([3000, 2])).op,
        tf.raw_ops.AssignVariableOp(resource=assigned.handle, value=tf.ones([7])),
        add_to_rows(scattered),
    ]
    session.run(tf1.global_variables_initializer())
    with contextlib.closing(_native.ReportSlot(tmp_path / "m", is_save=True)) as slot:
        saved = save.run(session, [*updates, updates[0], updates[2]])
    for name in "abc":
        np.testing.assert_array_equal(saved(name), np.zeros([3000, 2]))
    assert slot.take_report().max_lock_seconds > 0
    assert session.run(added)[0, 0] == 2
    assert session.run(scattered)[0, 0] == 2
    saved = save.run(session, [updates[0]])
    np.testing.assert_array_equal(saved("a"), np.full([3000, 2], 2))
    np.testing.assert_array_equal(saved("b"), np.ones([7]))
    np.testing.assert_array_equal(saved("c"), np.full([3000, 2], 2))


def test_what_is_updated_by_rows_is_saved_as_it_is_when_it_is_written(
    tmp_path: Path, session: tf1.Session, ops: ModuleType
) -> None:
    table, dense = make_variable("table"), make_variable("dense")
    save = HeldUpSave(ops, tmp_path / "m", [("table", table), ("dense", dense)])
    update = add_to_rows(table)
    session.run(tf1.global_variables_initializer())
    session.run(update)
    saved = save.run(session, [update, dense.assign_add(tf.ones([3000, 2])).op])
    np.testing.assert_array_equal(saved("table"), np.full([3000, 2], 2))
    np.testing.assert_array_equal(saved("dense"), np.zeros([3000, 2]))


@pytest.mark.parametrize("lock", ["block", "copy"])
@pytest.mark.parametrize("by_rows", [(), (0,), (0, 1)])
def test_replicas_are_taken_at_one_instant(
    tmp_path: Path, session: tf1.Session, ops: ModuleType, by_rows: tuple[int, ...], lock: str
) -> None:
    """Of which some are updated by rows: then none is taken before the others."""
    replicas = [make_variable(f"r{i}", device=i) for i in range(2)]
    save = HeldUpSave(ops, tmp_path / "m", [("mean", replica) for replica in replicas], lock=lock)
    prepare = [add_to_rows(replicas[i]) for i in by_rows]
    update = tf.group(*(replica.assign_add(tf.ones([3000, 2])).op for replica in replicas))
    session.run(tf1.global_variables_initializer())
    session.run(prepare)
    saved = save.run(session, [update])
    expected = len(by_rows) / 2 + (1 if by_rows else 0)
    np.testing.assert_array_equal(saved("mean"), np.full([3000, 2], expected))


def test_strings_are_those_of_the_beginning(
    tmp_path: Path, session: tf1.Session, ops: ModuleType
) -> None:
    variable = tf1.get_variable("s", initializer=tf.fill([50], "before"), use_resource=True)
    save = HeldUpSave(ops, tmp_path / "m", [("s", variable)])
    update = variable.assign(tf.fill([50], "another, and longer")).op
    session.run(variable.initializer)
    assert set(save.run(session, [update])("s")) == {b"before"}
    assert set(save.run(session, [])("s")) == {b"another, and longer"}


def test_a_variable_that_loses_its_value_is_named(session: tf1.Session, ops: ModuleType) -> None:
    variable = make_variable("lost")
    pins = ops.autodist_pin_variables([variable.handle])
    with tf.control_dependencies([pins]):
        destroyed = tf.raw_ops.DestroyResourceOp(resource=variable.handle)
    with tf.control_dependencies([destroyed]):
        references = ops.autodist_reference_variables([tf.identity(pins)], "")
    session.run(variable.initializer)
    # The pin keeps it alive.
    session.run(references.op)
    with pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable lost"):
        session.run(references.op)


def test_references_are_taken_once(session: tf1.Session, ops: ModuleType, tmp_path: Path) -> None:
    variable = make_variable("v")
    references = ops.autodist_reference_variables(
        [ops.autodist_pin_variables([variable.handle])], ""
    )

    def save(name: str) -> Any:
        return ops.autodist_save(
            prefix=str(tmp_path / name), tensor_names=["v"], shape_and_slices=[""], aggregations=["MEAN"],
            pins=[references], tensors=[], value_index=[0],
        )  # fmt: skip

    both = [save("one"), save("two")]
    session.run(variable.initializer)
    with pytest.raises(tf.errors.FailedPreconditionError, match="can be taken by one op, once"):
        session.run(both)
