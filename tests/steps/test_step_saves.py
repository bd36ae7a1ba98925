"""Saves of one step: the step counter is what the weights and slots have seen, exactly."""

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import autodist
from autodist import strategy
from autodist.checkpoint.saver import SaveOptions, Saver
from support.specs import write_local_spec
from support.threads import running

tf1 = tf.compat.v1
COUNT = 100 if os.environ.get("AUTODIST_TORTURE") == "full" else 8
TRAINERS, ROWS, COLUMNS = 3, 700, 64


class Job:
    """A job of several trainers.

    A step adds one to the rows of its trainer in two tables, to all of a dense variable, and to `global_step`. Updates
    of the same rows at once would lose some, as in any asynchronous job.
    """

    def __init__(self, *, use_resource: bool = True) -> None:
        def zeros(name: str) -> Any:
            return tf1.get_variable(
                name,
                [TRAINERS * ROWS, COLUMNS],
                initializer=tf1.zeros_initializer(),
                use_resource=use_resource,
            )

        self.table, self.slot, self.dense = zeros("table"), zeros("slot"), zeros("dense")
        self.step = tf1.train.get_or_create_global_step()
        self.train = [self._train_op(number) for number in range(TRAINERS)]
        self.init = tf1.global_variables_initializer()

    def _train_op(self, number: int) -> Any:
        rows = tf.range(number * ROWS, (number + 1) * ROWS)
        ones = tf.ones([ROWS, COLUMNS])
        with tf.control_dependencies([tf1.scatter_add(self.table, rows, ones)]):
            first = tf1.assign_add(self.dense, tf.ones(self.dense.shape), use_locking=True).op
        with tf.control_dependencies([tf1.scatter_add(self.slot, rows, ones)]):
            second = tf1.assign_add(self.step, 1, use_locking=True).op
        return tf.group(first, second)


def check(path: str) -> int:
    """Checks that a checkpoint holds whole steps; returns how many."""
    reader = tf.train.load_checkpoint(path)
    step = int(reader.get_tensor("global_step"))
    assert path.endswith(f"-{step}")
    table, slot, dense = (reader.get_tensor(name) for name in ("table", "slot", "dense"))
    by_trainer = table.reshape([TRAINERS, -1])
    assert np.all(by_trainer == by_trainer[:, :1])
    assert by_trainer[:, 0].sum() == step
    assert np.array_equal(slot, table)
    assert np.all(dense == step)
    return step


@contextlib.contextmanager
def training(session: Any, train: list[Any]) -> Iterator[None]:
    """Runs steps over and over, each in a thread of its own."""
    is_over = threading.Event()

    def work(op: Any) -> None:
        while not is_over.is_set():
            session.run(op)

    with contextlib.ExitStack() as trainers:
        for op in train:
            trainers.enter_context(running(functools.partial(work, op)))
        trainers.callback(is_over.set)
        yield


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize("is_async", [False, True])
def test_threads_of_an_asynchronous_job(is_async: bool, use_resource: bool, tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        job = Job(use_resource=use_resource)
        saver = Saver(options=SaveOptions(consistency="step"))
        session.run(job.init)
        session.run(job.train)
        steps = []
        with training(session, job.train):
            for _ in range(COUNT):
                if is_async:
                    handle = saver.save_async(
                        session, str(tmp_path / "m"), job.step, consistency="step"
                    )
                    path = handle.result()
                    assert path == f"{tmp_path / 'm'}-{handle.global_step}"
                else:
                    path = saver.save(session, str(tmp_path / "m"), job.step)
                steps.append(check(path))
        assert steps == sorted(steps)
        assert steps[-1] > steps[0]


class Model:
    """A small model with an optimizer that has slots: its loss is linear, so that all values follow from the step."""

    def __init__(self) -> None:
        self.x = tf1.placeholder(tf.float64, [None, 4], name="x")
        self.weights = tf1.get_variable(
            "weights", [4], tf.float64, tf1.zeros_initializer(), use_resource=True
        )
        self.loss = tf.reduce_mean(tf.reduce_sum(self.x * self.weights, axis=1))
        self.step = tf1.train.get_or_create_global_step()
        optimizer = tf1.train.MomentumOptimizer(1.0, 1.0)
        self.train = optimizer.minimize(self.loss, self.step)


def check_model(path: str) -> None:
    reader = tf.train.load_checkpoint(path)
    step = int(reader.get_tensor("global_step"))
    assert path.endswith(f"-{step}")
    # The gradient is one at each step: the momentum is the step, the weights their sum.
    assert np.all(reader.get_tensor("weights/Momentum") == step)
    assert np.all(reader.get_tensor("weights") == -step * (step + 1) / 2)


@pytest.mark.parametrize("builder", [strategy.AllReduce, strategy.PS, strategy.PartitionedPS])
def test_a_synchronous_job_in_a_distributed_session(builder: Any, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        scope = autodist.AutoDist(write_local_spec(tmp_path), builder())
        with scope.scope():
            model = Model()
            saver = Saver()
            session = scope.create_distributed_session()
        feeds = {model.x: np.ones([4, 4])}

        def work() -> None:
            while not is_over.is_set():
                session.run(model.train, feeds)

        is_over = threading.Event()
        with session, running(work):
            try:
                for _ in range(COUNT):
                    path = saver.save(session, str(tmp_path / "m"), model.step, consistency="step")
                    check_model(path)
            finally:
                is_over.set()


def test_training_goes_on_while_a_save_in_the_background_writes(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        job = Job()
        large = tf1.get_variable("large", [32 << 20], initializer=tf1.zeros_initializer())
        saver = Saver(threads=1)
        session.run([job.init, large.initializer])
        are_beside = []
        for _ in range(20):
            handle = saver.save_async(session, str(tmp_path / "m"), job.step, consistency="step")
            session.run(job.train)
            are_beside.append(not handle.done())
            check(handle.result())
            if any(are_beside):
                break
        assert any(are_beside)


def error_of_save(saver: Any, session: Any, prefix: str) -> str | None:
    try:
        saver.save(session, prefix, consistency="step")
    except tf.errors.DeadlineExceededError as error:
        message: str = error.message
        return message
    return None


def test_a_step_that_does_not_end_fails_the_save_and_training_goes_on(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        job = Job()
        queue = tf.queue.FIFOQueue(1, [tf.int64], [[]])
        take, give = queue.dequeue(), queue.enqueue(tf.constant(1, tf.int64))
        saver = Saver(timeout_seconds=1)
        session.run(job.init)
        has_begun = threading.Event()

        def starve() -> None:
            has_begun.set()
            session.run(take)

        with training(session, job.train[:1]), running(starve):
            try:
                has_begun.wait()
                error = None
                while error is None:
                    # Until that run is on its way.
                    for file in tmp_path.iterdir():
                        file.unlink()
                    error = error_of_save(saver, session, str(tmp_path / "m"))
                assert "these did not end within 1 s" in error
                assert list(tmp_path.iterdir()) == []
                before = session.run(job.step)
                while session.run(job.step) == before:
                    pass
            finally:
                session.run(give)
        check(saver.save(session, str(tmp_path / "m"), job.step, consistency="step"))
