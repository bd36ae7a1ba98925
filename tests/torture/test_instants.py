"""Many saves of one instant in a row, while variables are updated, assigned, resized and destroyed.

Each of some threads drives a chain of counters: `first` by rows, then `total` of all threads, then `sum` by rows in
an Adagrad step that also moves `weight`. At each instant

    sum <= first <= sum + 1                        of each thread
    all sums <= total <= all firsts <= all sums + threads
    weight is what Adagrad makes of that sum       of each thread

and each variable has one value in all places. A save that reads one after the other does not see that.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import SaveOptions, Saver
from support.threads import training
from support.torture.harness import IS_FULL

tf1 = tf.compat.v1
SAVES = 200 if IS_FULL else 10
THREADS = 3
ROWS, COLUMNS = 1000, 120  # More than what is copied at once, so that pages are protected.
RATE = 0.25


def _table(name: str, rows: int = ROWS) -> Any:
    return tf1.get_variable(
        name, [rows, COLUMNS], use_resource=True, initializer=tf1.zeros_initializer()
    )


def _adagrad(weight: Any, total: Any, rows: int) -> Any:
    """Adds 1 to `total`, in place, and moves `weight`."""
    return tf.raw_ops.ResourceSparseApplyAdagradV2(
        var=weight.handle,
        accum=total.handle,
        lr=RATE,
        epsilon=0.0,
        grad=tf.ones([rows, COLUMNS]),
        indices=tf.range(rows),
    )


class Chain:
    """The counters of one thread."""

    def __init__(self, number: int, total: Any) -> None:
        self.names = [f"{kind}{number}" for kind in ("first", "sum", "weight")]
        first, sums, weight = (_table(name) for name in self.names)
        added = tf.raw_ops.ResourceScatterAdd(
            resource=first.handle, indices=tf.range(ROWS), updates=tf.ones([ROWS, COLUMNS])
        )
        with tf.control_dependencies([added]):
            counted = tf1.assign_add(total, tf.ones([ROWS, COLUMNS])).op
        with tf.control_dependencies([counted]):
            self.step = _adagrad(weight, sums, ROWS)


def _of_any_shape(name: str) -> Any:
    return tf1.get_variable(
        name, initializer=tf.ones([1, COLUMNS]), use_resource=True, validate_shape=False
    )


class Model:
    """Chains, and variables that are assigned, resized and destroyed meanwhile."""

    def __init__(self) -> None:
        self.total = _table("total")
        self.chains = [Chain(number, self.total) for number in range(THREADS)]
        assigned, resized, destroyed = _table("assigned"), _of_any_shape("resized"), _table("gone")
        random = tf.random.uniform([], 1, 2 * ROWS, tf.int32)
        rows = tf.cast(random, tf.float32)
        given = tf.fill([ROWS, COLUMNS], rows)
        resize = tf.raw_ops.AssignVariableOp(
            resource=resized.handle, value=tf.fill([random, COLUMNS], rows)
        )
        with tf.control_dependencies([resize]):
            # It stays one that is updated in place.
            touch = tf.raw_ops.ResourceScatterAdd(
                resource=resized.handle, indices=[0], updates=tf.zeros([1, COLUMNS])
            )
        destroy = tf.raw_ops.DestroyResourceOp(resource=destroyed.handle)
        with tf.control_dependencies([destroy]):
            make = tf.raw_ops.AssignVariableOp(resource=destroyed.handle, value=given)
        self.disturbances = [tf.group(tf1.assign(assigned, given), touch), make]


def _reference(counts: set[int]) -> Callable[[int], np.ndarray]:
    """Returns a function that says what Adagrad makes of the weight after so many steps."""
    weights = {}
    with tf.Graph().as_default(), tf1.Session() as session:
        weight, total = _table("weight", 1), _table("sum", 1)
        step = _adagrad(weight, total, 1)
        session.run(tf1.global_variables_initializer())
        for count in range(max(counts) + 1):
            if count in counts:
                weights[count] = session.run(weight)
            session.run(step)
    return weights.__getitem__


def _check(path: str, seen: list[tuple[int, np.ndarray]]) -> None:
    """Checks a checkpoint; notes the sums, and the weights that go with them."""
    reader = tf.train.load_checkpoint(path)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    numbers = {}
    for name, value in values.items():
        if name.startswith("weight"):
            assert np.array_equal(value, np.broadcast_to(value[0], value.shape)), name
        else:
            assert value.min() == value.max(), name
            numbers[name] = int(value[0, 0])
    assert len(values["resized"]) == numbers["resized"]
    firsts = [numbers[f"first{i}"] for i in range(THREADS)]
    sums = [numbers[f"sum{i}"] for i in range(THREADS)]
    for first, done in zip(firsts, sums, strict=True):
        assert done <= first <= done + 1
    assert sum(sums) <= numbers["total"] <= sum(firsts) <= sum(sums) + THREADS
    seen += [(done, values[f"weight{i}"][:1]) for i, done in enumerate(sums)]


@contextlib.contextmanager
def _running(session: Any, steps: list[Any]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for step in steps:
            stack.enter_context(training(session, step))
        yield


@pytest.mark.parametrize("method", ["pages", "pages and a file", "fork", "copy"])
def test_each_of_many_saves_is_of_one_instant(method: str, tmp_path: Path) -> None:
    seen: list[tuple[int, np.ndarray]] = []
    refused = 0
    with tf.Graph().as_default(), tf1.Session() as session:
        model = Model()
        options = SaveOptions(
            consistency="instant",
            snapshot_method=method.partition(" ")[0],
            snapshot_memory_bytes=1 << 16 if "file" in method else 64 << 20,
        )
        saver = Saver(max_to_keep=1, options=options)
        session.run(tf1.global_variables_initializer())
        steps = [chain.step for chain in model.chains]
        for step in [*steps, *model.disturbances]:
            session.run(step)
        with _running(session, [*steps, *model.disturbances]):
            saved = 0
            while saved < SAVES:
                try:
                    path = saver.save(session, str(tmp_path / "m"), saved)
                except tf.errors.FailedPreconditionError as error:
                    # It was destroyed at that time, or resized again and again.
                    if "gone" not in str(error) and "change their size" not in str(error):
                        raise
                    refused += 1
                    assert refused < 20 * SAVES
                    continue
                _check(path, seen)
                saved += 1
                assert len(list(tmp_path.glob("m-*.index"))) == 1
    weight_after = _reference({count for count, _ in seen})
    wrong = [count for count, weight in seen if not np.array_equal(weight, weight_after(count))]
    assert wrong == []
    assert len({count for count, _ in seen}) > 1
