"""Where programs use a `Saver`: ours does there what TensorFlow's does."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.distribute import sharded_variable  # noqa: TID251 has no public name

from autodist.checkpoint.saver import Saver
from support.threads import call_at_once

tf1 = tf.compat.v1
BOTH = pytest.mark.parametrize("saver_class", [Saver, tf1.train.Saver], ids=["ours", "stock"])


def build_model() -> Any:
    """A partitioned `v` that is one more after each step; returns the train op."""
    v = tf1.get_variable(
        "v", [6, 2], initializer=tf.zeros_initializer(), partitioner=tf1.fixed_size_partitioner(2)
    )
    step = tf1.train.get_or_create_global_step()
    with tf.control_dependencies([part.assign_add(tf.ones_like(part)) for part in v]):
        return step.assign_add(1, read_value=False)


@contextlib.contextmanager
def saved_model(directory: Path, steps: int = 3) -> Iterator[str]:
    """A checkpoint of the model after some steps, written by our `Saver`."""
    with tf.Graph().as_default():
        train, saver = build_model(), Saver()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            for _ in range(steps):
                session.run(train)
            path = saver.save(session, str(directory / "m"))
    with tf.Graph().as_default():
        yield path


def state(directory: Path) -> list[str]:
    found = tf.train.get_checkpoint_state(str(directory))
    return [Path(path).name for path in found.all_model_checkpoint_paths]


class Listener(tf1.train.CheckpointSaverListener):
    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def before_save(self, session: Any, global_step_value: int) -> None:
        self.heard.append(("before", global_step_value))

    def after_save(self, session: Any, global_step_value: int) -> None:
        self.heard.append(("after", global_step_value))


@BOTH
def test_a_checkpoint_hook_and_its_listeners(saver_class: Any, tmp_path: Path) -> None:
    listener = Listener()
    with tf.Graph().as_default():
        train = build_model()
        hook = tf1.train.CheckpointSaverHook(
            str(tmp_path), save_steps=2, saver=saver_class(max_to_keep=2), listeners=[listener]
        )
        with tf1.train.MonitoredSession(hooks=[hook]) as session:
            for _ in range(5):
                session.run(train)
    assert [step for when, step in listener.heard if when == "after"] == [0, 2, 4, 5]
    assert state(tmp_path) == ["model.ckpt-4", "model.ckpt-5"]
    assert (tf.train.load_variable(str(tmp_path), "v") == 5).all()


@BOTH
def test_a_monitored_training_session_goes_on_where_it_was(
    saver_class: Any, tmp_path: Path
) -> None:
    for expected in (2, 4):
        with tf.Graph().as_default():
            train = build_model()
            with tf1.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path),
                scaffold=tf1.train.Scaffold(saver=saver_class()),
                save_checkpoint_steps=1,
                log_step_count_steps=None,
            ) as session:
                for _ in range(2):
                    session.run(train)
        assert (tf.train.load_variable(str(tmp_path), "v") == expected).all()


@BOTH
def test_a_saver_in_the_collection_is_the_scaffolds(saver_class: Any, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        train, saver = build_model(), saver_class(max_to_keep=1)
        tf1.add_to_collection(tf1.GraphKeys.SAVERS, saver)
        with tf1.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path), save_checkpoint_steps=1, log_step_count_steps=None
        ) as session:
            session.run(train)
            session.run(train)
    assert state(tmp_path) == ["model.ckpt-2"]
    assert saver.last_checkpoints == [str(tmp_path / "model.ckpt-2")]


@BOTH
def test_a_session_manager_restores_or_initialises(saver_class: Any, tmp_path: Path) -> None:
    for expected in (0, 1):
        with tf.Graph().as_default():
            train, saver = build_model(), saver_class()
            init = tf1.global_variables_initializer()
            ready = tf1.report_uninitialized_variables()
            session = tf1.train.SessionManager(ready_op=ready).prepare_session(
                "", init_op=init, saver=saver, checkpoint_dir=str(tmp_path)
            )
            with session:
                assert session.run(tf1.train.get_global_step()) == expected
                session.run(train)
                saver.save(session, str(tmp_path / "m"), expected)


@BOTH
def test_a_supervisor(saver_class: Any, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        train = build_model()
        supervisor = tf1.train.Supervisor(
            logdir=str(tmp_path),
            saver=saver_class(),
            save_model_secs=0,
            save_summaries_secs=0,
            global_step=tf1.train.get_global_step().value(),
        )
        with supervisor.managed_session() as session:
            session.run(train)
            supervisor.saver.save(session, supervisor.save_path, supervisor.global_step)
    assert (tf.train.load_variable(str(tmp_path), "v") == 1).all()


def test_init_from_our_checkpoint(tmp_path: Path) -> None:
    with saved_model(tmp_path) as path:
        mine = tf1.get_variable("mine", [6, 2], partitioner=tf1.fixed_size_partitioner(3))
        tf1.train.init_from_checkpoint(path, {"v": list(mine)})
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            assert (session.run(tf.convert_to_tensor(mine)) == 3).all()


def test_warm_start_from_our_checkpoint(tmp_path: Path) -> None:
    with saved_model(tmp_path) as path:
        v = tf1.get_variable("v", [6, 2], partitioner=tf1.fixed_size_partitioner(4))
        tf1.train.warm_start(path, vars_to_warm_start="v")
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            assert (session.run(tf.convert_to_tensor(v)) == 3).all()


def test_an_imported_graph_gets_a_saver_that_restores(tmp_path: Path) -> None:
    with saved_model(tmp_path) as path, tf1.Session() as session:
        saver = tf1.train.import_meta_graph(path + ".meta")
        saver.restore(session, path)
        assert session.run(tf1.train.get_global_step()) == 3


def test_the_functions_about_checkpoints_know_ours(tmp_path: Path) -> None:
    with saved_model(tmp_path) as path:
        assert tf.train.latest_checkpoint(str(tmp_path)) == path
        assert tf1.train.checkpoint_exists(path)
        assert len(tf1.train.get_checkpoint_mtimes([path])) == 1
        tf1.train.remove_checkpoint(path)
        assert not tf1.train.checkpoint_exists(path)


@BOTH
def test_several_savers_in_one_graph(saver_class: Any, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        train = build_model()
        savers = [saver_class(max_to_keep=1), Saver(layout="slices"), tf1.train.Saver()]
        step_only = saver_class([tf1.train.get_global_step()], name="step_only")
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            session.run(train)
            paths = [saver.save(session, str(tmp_path / str(n))) for n, saver in enumerate(savers)]
            alone = step_only.save(session, str(tmp_path / "step"))
    assert all((tf.train.load_variable(path, "v") == 1).all() for path in paths)
    assert [name for name, _ in tf.train.list_variables(alone)] == ["global_step"]


def test_saves_from_several_threads(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        train = build_model()
        savers = [Saver(max_to_keep=2) for _ in range(3)]
        session = tf1.Session()
        session.run(tf1.global_variables_initializer())
        session.run(train)

    def save(number: int) -> None:
        for step in range(3):
            savers[number].save(session, str(tmp_path / str(number) / "m"), step)

    errors = call_at_once(save, range(3))
    session.close()
    assert errors == []
    for number in range(3):
        assert state(tmp_path / str(number)) == ["m-1", "m-2"]
        assert (tf.train.load_variable(str(tmp_path / str(number) / "m-2"), "v") == 1).all()


def test_one_saver_used_by_several_threads(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        build_model()
        saver = Saver(max_to_keep=None)
        session = tf1.Session()
        session.run(tf1.global_variables_initializer())
        graph.finalize()

    def save(number: int) -> None:
        saver.save(session, str(tmp_path / "m"), number)

    errors = call_at_once(save, range(4))
    session.close()
    assert errors == []
    for number in range(4):
        assert (tf.train.load_variable(str(tmp_path / f"m-{number}"), "v") == 0).all()


def make_sharded() -> Any:
    parts = [tf.Variable(np.full([rows, 2], rows, np.float32), name="part") for rows in (3, 2)]
    return sharded_variable.ShardedVariable(parts, name="v")


def make_mirrored() -> Any:
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        return tf.Variable([1.0, 2.0], name="v")


def make_synchronised() -> Any:
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        return tf.Variable(
            [1.0, 2.0],
            name="v",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )


MAKERS = [make_sharded, make_mirrored, make_synchronised]


@pytest.mark.parametrize("as_dict", [False, True], ids=["list", "dict"])
@pytest.mark.parametrize("make", MAKERS)
def test_eagerly_variables_of_several_parts(make: Any, as_dict: bool, tmp_path: Path) -> None:
    variable = make()
    before = tf.convert_to_tensor(variable).numpy()
    saver = Saver({"v": variable} if as_dict else [variable])
    path = saver.save(None, str(tmp_path / "m"))
    variable.assign(tf.zeros_like(before))
    saver.restore(None, path)
    assert (tf.convert_to_tensor(variable).numpy() == before).all()
    assert (tf.train.load_variable(path, "v") == before).all()


@pytest.mark.parametrize("make", [make_mirrored, make_synchronised])
def test_eagerly_the_files_are_those_of_stock(
    make: Any, tmp_path: Path, assert_same_bundle: Any
) -> None:
    variable = make()
    stock = tf1.train.Saver([variable]).save(None, str(tmp_path / "stock" / "m"))
    assert_same_bundle(Saver([variable]).save(None, str(tmp_path / "ours" / "m")), stock)


def test_a_sharded_variable_in_a_graph(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        sharded, other = make_sharded(), tf.Variable([1.0], name="other")
        savers = [Saver([sharded, other]), Saver({"v": sharded, "other": other})]
        values = [part.value() for part in sharded.variables]
        init = [variable.initializer for variable in (*sharded.variables, other)]
        zeros = [part.assign(tf.zeros_like(part)) for part in sharded.variables]
        with tf1.Session() as session:
            for number, saver in enumerate(savers):
                session.run(init)
                path = saver.save(session, str(tmp_path / str(number)))
                session.run(zeros)
                saver.restore(session, path)
                assert [value.sum() for value in session.run(values)] == [18, 8]
                assert tf.train.load_variable(path, "v").sum() == 26


def test_a_sharded_variable_with_the_name_of_another_is_refused() -> None:
    with pytest.raises(ValueError, match="At least two variables have the same name: v"):
        Saver([make_sharded(), tf.Variable([1.0], name="v")]).save(None, "m")


def test_mirrored_variables_in_a_dict_are_restored_on_every_device(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
        with strategy.scope():
            variable = tf1.get_variable("v", initializer=[1.0, 2.0])
        saver, init = Saver({"renamed": variable}), tf1.global_variables_initializer()
        copies = [copy.value() for copy in strategy.experimental_local_results(variable)]
        config = tf1.ConfigProto(device_count={"CPU": 2})
        with tf1.Session(config=config) as session:
            session.run(init)
            path = saver.save(session, str(tmp_path / "m"))
        with tf1.Session(config=config) as session:
            saver.restore(session, path)
            assert np.array_equal(session.run(copies), [[1.0, 2.0], [1.0, 2.0]])
