"""`AsyncCheckpointSaverHook` beside TensorFlow's `CheckpointSaverHook`: the same checkpoints, in the background."""

import contextlib
import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import autodist
from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.errors import ArgumentError, GraphStateError
from support.threads import running

tf1 = tf.compat.v1


class Listener(tf1.train.CheckpointSaverListener):
    """Notes what it is called with; holds saves back at their end while it is told to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.asked: list[int] = []
        self.saved: list[int] = []
        self.ended: list[int] = []
        self.may_end = threading.Event()
        self.may_end.set()
        self.stops_at: int | None = None

    def before_save(self, session: Any, global_step_value: int) -> None:
        self.asked.append(int(global_step_value))

    def after_save(self, session: Any, global_step_value: int) -> bool:
        latest = tf.train.latest_checkpoint(self._directory)
        assert latest == f"{self._directory / 'model.ckpt'}-{global_step_value}"
        # It is all there.
        assert tf.train.load_checkpoint(latest).get_tensor("global_step") == global_step_value
        self.may_end.wait()
        self.saved.append(int(global_step_value))
        return self.stops_at is not None and global_step_value >= self.stops_at

    def end(self, session: Any, global_step_value: int) -> None:
        self.ended.append(int(global_step_value))


@pytest.fixture
def listener(tmp_path: Path) -> Listener:
    return Listener(tmp_path)


@contextlib.contextmanager
def job(hook: Any, **arguments: Any) -> Iterator[tuple[Any, Any]]:
    """A monitored session in which each step adds one to `weights`, and to `global_step`; yields its step too."""
    with tf.Graph().as_default():
        weights = tf1.get_variable(
            "weights", [100], initializer=tf1.zeros_initializer(), use_resource=True
        )
        step = tf1.train.get_or_create_global_step()
        with tf.control_dependencies([tf1.assign_add(weights, tf.ones([100]))]):
            train = tf1.assign_add(step, 1).op
        with tf1.train.MonitoredTrainingSession(
            hooks=[hook], save_checkpoint_secs=None, log_step_count_steps=None, **arguments
        ) as session:
            yield session, train


def make_hook(directory: Path, listener: Any = None, **arguments: Any) -> Any:
    arguments = {"save_steps": 2, "when_busy": "wait", **arguments}
    listeners = None if listener is None else [listener]
    return autodist.AsyncCheckpointSaverHook(str(directory), listeners=listeners, **arguments)


def steps_in(directory: Path) -> list[int]:
    state = tf.train.get_checkpoint_state(str(directory))
    return [int(path.rpartition("-")[2]) for path in state.all_model_checkpoint_paths]


def files_in(directory: Path) -> set[str]:
    names = {path.name for path in directory.iterdir()}
    return {name for name in names if not name.startswith("events.")}


@pytest.mark.parametrize("consistency", ["shard", "instant", "step"])
def test_it_saves_what_stock_saves(consistency: str, tmp_path: Path, listener: Listener) -> None:
    ours, stock = tmp_path, tmp_path / "stock"
    for hook in (
        make_hook(ours, listener, consistency=consistency),
        tf1.train.CheckpointSaverHook(str(stock), save_steps=2),
    ):
        with job(hook) as (session, train):
            for _ in range(7):
                session.run(train)
    assert steps_in(ours) == steps_in(stock)
    assert listener.asked == listener.saved == steps_in(stock) == [0, 2, 4, 6, 7]
    assert listener.ended == [7]
    assert files_in(ours) - {"stock"} == files_in(stock)
    for step in steps_in(stock):
        reader = tf.train.load_checkpoint(str(ours / f"model.ckpt-{step}"))
        assert np.all(reader.get_tensor("weights") == step)


def test_a_session_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    for last in (3, 6):
        with job(make_hook(tmp_path), checkpoint_dir=str(tmp_path)) as (session, train):
            for _ in range(3):
                session.run(train)
        assert steps_in(tmp_path)[-1] == last


@pytest.mark.parametrize("place", ["saver", "scaffold", "collection"])
def test_it_finds_its_saver(place: str, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        step = tf1.train.get_or_create_global_step()
        other = tf1.get_variable("other", [2], use_resource=True)
        saver = Saver([step])
        scaffold = tf1.train.Scaffold(saver=saver if place == "scaffold" else None)
        if place == "collection":
            tf1.add_to_collection(tf1.GraphKeys.SAVERS, saver)
        hook = make_hook(
            tmp_path,
            saver=saver if place == "saver" else None,
            scaffold=scaffold if place == "scaffold" else None,
        )
        del other
        with tf1.train.MonitoredTrainingSession(
            hooks=[hook], scaffold=scaffold, save_checkpoint_secs=None
        ):
            pass
    assert [name for name, _ in tf.train.list_variables(str(tmp_path))] == ["global_step"]


@pytest.mark.parametrize(
    ("when_busy", "expected"),
    [("skip", [0, 6]), ("queue", [0, 5, 6]), ("wait", [0, 2, 4, 6])],
)
def test_one_save_runs_at_a_time(
    when_busy: str, expected: list[int], tmp_path: Path, listener: Listener
) -> None:
    listener.may_end.clear()
    with job(make_hook(tmp_path, listener, when_busy=when_busy)) as (session, train):
        if when_busy == "wait":
            threading.Timer(0.2, listener.may_end.set).start()
        for _ in range(4):
            session.run(train)
        listener.may_end.set()
        while not listener.saved:
            pass
        hook_is_idle(session)
        for _ in range(2):
            session.run(train)
            hook_is_idle(session)
    assert listener.saved == steps_in(tmp_path)
    assert listener.saved == expected


def test_a_save_of_a_step_does_not_wait_for_the_thread_that_waits_for_it(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        train = tf1.assign_add(tf1.train.get_or_create_global_step(), 1).op
        hook = make_hook(tmp_path, save_steps=1, consistency="step")
        began = time.monotonic()
        with tf1.train.MonitoredTrainingSession(
            hooks=[autodist.StepGateHook(), hook], save_checkpoint_secs=None
        ) as session:
            for _ in range(30):
                session.run(train)
    assert steps_in(tmp_path)[-1] == 30
    # It waits for so long for steps that do not end.
    assert time.monotonic() - began < SaveOptions().timeout_seconds


def test_a_save_of_a_step_lets_its_thread_train_on_where_others_wait_for_that(
    tmp_path: Path,
) -> None:
    """Here another thread's step ends only with the next step of the thread that saves."""
    with tf.Graph().as_default():
        queue = tf.queue.FIFOQueue(100, [tf.int64], [[]])
        step = tf1.train.get_or_create_global_step()
        taken = tf1.get_variable("taken", [2], tf.int64, tf1.zeros_initializer(), use_resource=True)
        with tf.control_dependencies([tf1.assign_add(step, 1)]):
            train = queue.enqueue(tf.constant(1, tf.int64))
        with tf.control_dependencies([queue.dequeue()]):
            first = tf1.scatter_add(taken, [0], tf.constant([1], tf.int64))
        with tf.control_dependencies([first]):
            second = tf1.scatter_add(taken, [1], tf.constant([1], tf.int64))
        take = tf.group(second)
        close = queue.close()
        hook = make_hook(tmp_path, save_steps=5, consistency="step", when_busy="skip")

        def follow(session: Any) -> None:
            with contextlib.suppress(tf.errors.OutOfRangeError, tf.errors.CancelledError):
                while True:
                    session.run(take)

        with tf1.train.MonitoredTrainingSession(hooks=[hook], save_checkpoint_secs=None) as session:
            raw = session._tf_sess()
            with running(lambda: follow(raw)):
                try:
                    while len(list(tmp_path.glob("*.index"))) < 3:
                        session.run(train)
                finally:
                    raw.run(close)
    for number in steps_in(tmp_path):
        values = tf.train.load_variable(str(tmp_path / f"model.ckpt-{number}"), "taken")
        assert values[0] == values[1]


def hook_is_idle(session: Any) -> None:
    """Waits until the hook has no save."""
    (hook,) = (h for h in session._hooks if isinstance(h, autodist.AsyncCheckpointSaverHook))
    hook._saves.wait()


def test_a_listener_is_told_the_step_that_was_saved(tmp_path: Path, listener: Listener) -> None:
    """Not the step at which training is by then."""
    listener.may_end.clear()
    with job(make_hook(tmp_path, listener, when_busy="skip")) as (session, train):
        for _ in range(9):
            session.run(train)
        listener.may_end.set()
    assert listener.saved == [0, 9]


def test_a_listener_stops_the_training(tmp_path: Path, listener: Listener) -> None:
    listener.stops_at = 4
    with job(make_hook(tmp_path, listener)) as (session, train):
        while not session.should_stop():
            session.run(train)
    assert listener.saved[-1] == listener.ended[0] >= 4


def let_fail(directory: Path, step: int) -> None:
    """Makes the save of a step fail once its variables are written: a directory has the name of its graph."""
    (directory / f"model.ckpt-{step}.meta").mkdir()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "train"
    made.mkdir()
    return made


@pytest.mark.parametrize("consistency", ["instant", "step"])
def test_an_error_is_raised_by_the_next_save_once(consistency: str, directory: Path) -> None:
    with job(make_hook(directory, consistency=consistency)) as (session, train):
        session.run(train)
        hook_is_idle(session)
        let_fail(directory, 2)
        session.run(train)
        hook_is_idle(session)
        # The former checkpoint is there, and named.
        assert steps_in(directory) == [0]
        session.run(train)
        with pytest.raises(tf.errors.OpError, match="a save in the background failed: "):
            session.run(train)
        for _ in range(2):
            session.run(train)
            hook_is_idle(session)
        assert steps_in(directory) == [0, 6]


def test_an_error_is_raised_by_the_end_after_the_last_save(directory: Path) -> None:
    jobs = contextlib.ExitStack()
    session, train = jobs.enter_context(job(make_hook(directory)))
    session.run(train)
    hook_is_idle(session)
    let_fail(directory, 2)
    for _ in range(2):
        session.run(train)
        hook_is_idle(session)
    with pytest.raises(tf.errors.OpError, match="a save in the background failed: "):
        jobs.close()
    assert steps_in(directory) == [0, 3]


def test_an_error_of_a_listener_is_raised_by_the_next_save(tmp_path: Path) -> None:
    class Failing(tf1.train.CheckpointSaverListener):
        def after_save(self, session: Any, global_step_value: int) -> None:
            if global_step_value == 2:
                raise OSError(errno.EIO, "the listener failed")

    with job(make_hook(tmp_path, Failing())) as (session, train):
        for _ in range(3):
            session.run(train)
        with pytest.raises(OSError, match="the listener failed"):
            session.run(train)
        for _ in range(2):
            session.run(train)
    assert steps_in(tmp_path) == [0, 2, 6]


def test_the_state_file_names_what_is_there_at_any_time(tmp_path: Path) -> None:
    is_over = threading.Event()
    seen = set()

    def look() -> None:
        while not is_over.is_set():
            path = tf.train.latest_checkpoint(str(tmp_path))
            if path is not None:
                try:
                    reader = tf.train.load_checkpoint(path)
                    value = reader.get_tensor("weights")
                except tf.errors.OpError:
                    # It may be removed by now, once another one is named.
                    assert tf.train.latest_checkpoint(str(tmp_path)) != path
                    continue
                assert np.all(value == reader.get_tensor("global_step"))
                seen.add(path)

    with tf.Graph().as_default():
        step = tf1.train.get_or_create_global_step()
        weights = tf1.get_variable(
            "weights", [1 << 20], initializer=tf1.zeros_initializer(), use_resource=True
        )
        with tf.control_dependencies([tf1.assign_add(weights, tf.ones([1 << 20]))]):
            train = tf1.assign_add(step, 1).op
        hook = make_hook(tmp_path, saver=Saver(max_to_keep=1), save_steps=1)
        with (
            running(look),
            tf1.train.MonitoredTrainingSession(hooks=[hook], save_checkpoint_secs=None) as session,
        ):
            try:
                for _ in range(15):
                    session.run(train)
            finally:
                hook_is_idle(session)
                is_over.set()
    assert len(seen) > 1
    assert steps_in(tmp_path) == [15]
    assert len(list(tmp_path.glob("*.index"))) == 1


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    for arguments in ({"consistency": "epoch"}, {"when_busy": "block"}, {"sigterm_seconds": -1}):
        with pytest.raises(ArgumentError):
            make_hook(tmp_path, **arguments)
    with pytest.raises(ValueError, match="every_secs and every_steps"):
        make_hook(tmp_path, save_secs=1)
    with tf.Graph().as_default():
        tf1.train.get_or_create_global_step()
        hook = make_hook(tmp_path, saver=tf1.train.Saver())
        with (
            pytest.raises(GraphStateError, match=r"needs an autodist\.Saver"),
            tf1.train.MonitoredTrainingSession(hooks=[hook], save_checkpoint_secs=None),
        ):
            pass
