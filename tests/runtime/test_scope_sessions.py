"""The sessions that a program makes in the scope run in the distributed way, train as on one node, and end with it."""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf import config_pb2  # noqa: TID251 what Keras names a step with

from autodist.autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.errors import GraphStateError
from autodist.session.distributed_session import DistributedSession
from autodist.strategy import AllReduce
from support.strategies import STRATEGIES

tf1 = tf.compat.v1
X = np.arange(24, dtype=np.float32).reshape(6, 4) / 24
STEPS = 5


class Model:
    """A table, a linear layer, a metric in local variables, a summary and Adam."""

    def __init__(self) -> None:
        self.x = tf1.placeholder(tf.float32, [None, 4], "x")
        start = tf1.random_normal_initializer(seed=1)
        self.w = tf1.get_variable("w", [4, 2], initializer=start)
        keys = tf.constant(["a", "b"])
        self.rates = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, tf.constant([0.5, 2.0])), 0.0
        )
        y = self.x @ self.w * self.rates.lookup(tf.constant("a"))
        self.loss = tf.reduce_mean(tf.square(y - 1.0))
        self.metric, self.update_metric = tf1.metrics.mean(self.loss)
        tf1.summary.scalar("loss", self.loss)
        self.step = tf1.train.get_or_create_global_step()
        self.train = tf1.train.AdamOptimizer(0.1).minimize(self.loss, self.step)

    def fit(self, session: Any, steps: int = STEPS) -> Any:
        """Trains; returns the weights after the last step."""
        for _ in range(steps):
            session.run([self.train, self.update_metric], {self.x: X})
        return session.run(self.w)


class Witness(tf1.train.SessionRunHook):
    """Notes which sessions are made, and what each run was asked for."""

    def __init__(self) -> None:
        self.sessions: list[Any] = []
        self.runs = 0

    def after_create_session(self, session: Any, coord: Any) -> None:
        self.sessions.append(session)

    def before_run(self, run_context: Any) -> Any:
        assert run_context.session is self.sessions[-1]
        return tf1.train.SessionRunArgs(tf1.train.get_global_step())

    def after_run(self, run_context: Any, run_values: Any) -> None:
        assert run_values.results >= 0
        self.runs += 1


@pytest.fixture(autouse=True)
def graph_mode() -> Iterator[None]:
    """Supervisor's threads decide by their own mode, and each test has one graph."""
    with tf.Graph().as_default() as graph:
        yield
    assert tf1.get_default_graph() is not graph


@pytest.fixture(scope="module")
def expected() -> Any:
    """The weights after `STEPS` steps on one node."""
    with tf.Graph().as_default():
        model = Model()
        with tf1.train.MonitoredTrainingSession(log_step_count_steps=None) as session:
            return model.fit(session)


@pytest.fixture(params=["PartitionedPS", "AllReduce"])
def autodist(request: Any, spec_file: str) -> AutoDist:
    return AutoDist(spec_file, STRATEGIES[request.param]())


def check(session: Any, weights: Any, expected: Any) -> None:
    assert isinstance(session, DistributedSession)
    names = [op.name for op in session.transformed_graph.get_operations()]
    assert any(name.startswith("replica_1/") for name in names), "nothing is split"
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_a_monitored_training_session_trains_saves_and_goes_on(
    autodist: AutoDist, expected: Any, tmp_path: Path
) -> None:
    witness = Witness()
    with autodist.scope():
        model = Model()

        def begin(last_step: int) -> Any:
            return tf1.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path),
                scaffold=tf1.train.Scaffold(saver=Saver()),
                hooks=[witness, tf1.train.StopAtStepHook(last_step=last_step)],
                save_checkpoint_steps=2,
                save_summaries_steps=1,
                log_step_count_steps=1,
            )

        for last_step in (3, STEPS):
            with begin(last_step) as session:
                while not session.should_stop():
                    session.run([model.train, model.update_metric], {model.x: X})
        prefix = tf.train.latest_checkpoint(str(tmp_path))
    assert prefix == str(tmp_path / f"model.ckpt-{STEPS}")
    assert witness.runs == STEPS
    assert len({id(s) for s in witness.sessions}) == 2
    check(witness.sessions[-1], tf.train.load_variable(prefix, "w"), expected)
    (events,) = [str(p) for p in tmp_path.glob("events*")][-1:]
    values = [v.tag for e in tf1.train.summary_iterator(events) for v in e.summary.value]
    assert {"loss", "global_step/sec"} <= set(values)


def by_monitored_session(model: Model) -> tuple[Any, Any]:
    witness = Witness()
    with tf1.train.MonitoredSession(hooks=[witness]) as session:
        return witness.sessions[0], model.fit(session)


def by_singular_session(model: Model) -> tuple[Any, Any]:
    with tf1.train.SingularMonitoredSession() as session:
        return session.raw_session(), model.fit(session)


def by_creator_of_the_user(model: Model) -> tuple[Any, Any]:
    class Creator(tf1.train.SessionCreator):
        def create_session(self) -> Any:
            session = tf1.Session()
            session.run(tf1.global_variables_initializer())
            session.run([tf1.local_variables_initializer(), tf1.tables_initializer()])
            return session

    witness = Witness()
    with tf1.train.MonitoredSession(Creator(), [witness]) as session:
        return witness.sessions[0], model.fit(session)


def by_manager(model: Model) -> tuple[Any, Any]:
    manager = tf1.train.SessionManager(
        local_init_op=tf.group(tf1.local_variables_initializer(), tf1.tables_initializer()),
        ready_op=tf1.report_uninitialized_variables(),
    )
    session, is_restored = manager.recover_session("", tf1.train.Saver(), "no/such/directory")
    assert not is_restored
    session.close()
    session = manager.prepare_session("", tf1.global_variables_initializer())
    return session, model.fit(session)


def by_session(model: Model) -> tuple[Any, Any]:
    session = tf1.Session(config=tf1.ConfigProto(log_device_placement=False))
    with pytest.raises(tf.errors.FailedPreconditionError):
        session.run(model.w)
    session.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
    session.run(tf1.tables_initializer())
    return session, model.fit(session)


WAYS = [by_monitored_session, by_singular_session, by_creator_of_the_user, by_manager, by_session]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_a_session(way: Any, autodist: AutoDist, expected: Any) -> None:
    with autodist.scope():
        session, weights = way(Model())
    check(session, weights, expected)
    session.close()


def test_an_interactive_session_before_the_model(autodist: AutoDist, expected: Any) -> None:
    with autodist.scope():
        session = tf1.InteractiveSession()
        assert tf1.get_default_session() is session
        model = Model()
        tf1.global_variables_initializer().run()
        tf1.local_variables_initializer().run()
        tf1.tables_initializer().run()
        model.fit(session)
        check(session, model.w.eval(), expected)
        session.close()
        assert tf1.get_default_session() is None


def test_a_supervisor_saves_and_restores(
    expected: Any, spec_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its threads read the step as in the mode that they begin in.
    monkeypatch.setattr(tf1.train.Supervisor, "start_standard_services", lambda *_: [])
    for steps in (2, STEPS - 2):
        with tf.Graph().as_default(), AutoDist(spec_file, AllReduce()).scope():
            model = Model()
            supervisor = tf1.train.Supervisor(
                logdir=str(tmp_path), saver=Saver(), summary_op=None, save_model_secs=0
            )
            with supervisor.managed_session() as session:
                weights = model.fit(session, steps)
                supervisor.saver.save(session, supervisor.save_path, supervisor.global_step)
            assert isinstance(session, DistributedSession)
    check(session, weights, expected)


class Fail(tf1.train.SessionRunHook):
    """Loses the server after the third run, once."""

    def __init__(self) -> None:
        self.runs = 0

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self.runs += 1
        if self.runs == 3:
            raise tf.errors.UnavailableError(None, None, "a server is gone")


def test_a_monitored_session_recovers_distributed_after_the_scope(
    autodist: AutoDist, expected: Any, tmp_path: Path
) -> None:
    witness = Witness()
    with autodist.scope():
        model = Model()
        session = tf1.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path),
            scaffold=tf1.train.Scaffold(saver=Saver()),
            hooks=[witness, Fail()],
            save_checkpoint_steps=1,
            save_summaries_steps=None,
            save_summaries_secs=None,
            log_step_count_steps=None,
        )
    with session:
        step = 0
        while step < STEPS:
            weights, step, _ = session.run([model.w, model.step, model.train], {model.x: X})
            step = tf.train.load_variable(str(tmp_path), "global_step")
        weights = session.run(model.w)
    assert len(witness.sessions) == 2
    check(witness.sessions[1], weights, expected)


def test_what_cannot_be_distributed_is_refused(spec_file: str) -> None:
    class Mine(tf1.Session):
        pass

    with AutoDist(spec_file).scope():
        Model()
        with pytest.raises(GraphStateError, match=r"Mine, a subclass .*create_distributed_session"):
            Mine()
        for make in (
            lambda: tf1.Session("grpc://localhost:2222"),
            lambda: tf1.train.MonitoredTrainingSession(master="grpc://localhost:2222"),
        ):
            with pytest.raises(GraphStateError, match=r"'grpc://localhost:2222'.*resource spec"):
                make()
    with tf.Graph().as_default(), AutoDist(spec_file).scope():
        Model()
        for wait in (
            lambda: tf1.train.MonitoredTrainingSession(is_chief=False),
            lambda: tf1.train.SessionManager().wait_for_session(""),
            lambda: tf1.train.Supervisor(is_chief=False).prepare_or_wait_for_session(),
        ):
            with pytest.raises(GraphStateError, match="leave is_chief out"):
                wait()


def test_a_session_on_another_graph_is_stocks_own(spec_file: str) -> None:
    other = tf.Graph()
    with other.as_default():
        model = Model()
    with AutoDist(spec_file).scope():
        Model()
        with tf1.Session(graph=other) as session:
            assert type(session) is tf1.Session
        with other.as_default(), tf1.train.MonitoredSession() as monitored:
            assert type(monitored._tf_sess()) is tf1.Session
            model.fit(monitored)


def test_keras_uses_the_session_that_it_is_given(spec_file: str) -> None:
    autodist = AutoDist(spec_file, AllReduce())
    with autodist.scope():
        session = tf1.Session()
        tf_keras.src.backend.set_session(session)
        model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,))])
        weights = model.get_weights()[0]
        assert tf_keras.src.backend.get_session() is session
        assert session.run(model.weights[0]).tolist() == weights.tolist()
        assert autodist.open_session() is None
        session.close()
    tf_keras.src.backend._SESSION.session = None


def observe_sessions() -> list[Any]:
    return [
        vars(owner).get("__init__")
        for owner in (
            tf1.Session,
            tf1.InteractiveSession,
            tf1.train.SessionManager,
            tf1.train.MonitoredSession.__bases__[0],
        )
    ]


def test_scopes_of_several_threads_end_in_any_order(spec_file: str) -> None:
    """Each holds its scope until the one before has left it, so that they overlap and end first in, first out."""
    before = observe_sessions()
    count = 3
    inside = threading.Barrier(count + 1, timeout=60)
    left = [threading.Event() for _ in range(count)]
    kinds: dict[int, list[Any]] = {}
    failures: list[BaseException] = []

    def build(number: int) -> None:
        try:
            with tf.Graph().as_default(), AutoDist(spec_file, AllReduce()).scope():
                x = tf1.placeholder(tf.float32, [None])
                v = tf1.get_variable("v", initializer=0.0)
                inside.wait()
                if number:
                    assert left[number - 1].wait(60)
                gradient = tf.gradients(tf.reduce_mean(x * v), v)
                with tf1.Session() as session:
                    session.run(v.initializer)
                    kinds[number] = [type(session), session.run(gradient, {x: [1.0, 3.0, 8.0]})]
            left[number].set()
        except BaseException as error:
            failures.append(error)
            inside.abort()
            raise

    threads = [threading.Thread(target=build, args=[n]) for n in range(count)]
    for thread in threads:
        thread.start()
    inside.wait()
    assert observe_sessions() != before
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert kinds == {n: [DistributedSession, [4.0]] for n in range(count)}
    assert observe_sessions() == before
    with tf.Graph().as_default(), tf1.Session() as session:
        assert type(session) is tf1.Session


def test_a_nested_scope_ends_without_the_outer_one(spec_file: str) -> None:
    before = observe_sessions()
    outer, inner = AutoDist(spec_file, AllReduce()), AutoDist(spec_file, AllReduce())
    graph = tf1.get_default_graph()
    with outer.scope():
        with outer.scope():
            pass
        with tf.Graph().as_default() as other, inner.scope():
            assert type(tf1.Session()) is DistributedSession
            assert tf1.Session(graph=graph).graph is graph
        assert type(tf1.Session()) is DistributedSession
        assert type(tf1.Session(graph=other)) is tf1.Session
    assert type(tf1.Session()) is tf1.Session
    assert observe_sessions() == before


def test_a_callable_keeps_its_session_open(spec_file: str) -> None:
    with tf.Graph().as_default(), AutoDist(spec_file, AllReduce()).scope():
        x = tf1.placeholder(tf.float32, [None], "x")
        y = tf.identity(2.0 * x, "y")
        session = tf1.Session()
        options = config_pb2.CallableOptions(feed=[x.name], fetch=[y.name])
        call = session._make_callable_from_options(options)
        assert isinstance(session, DistributedSession)
        del session
        gc.collect()
        assert call(np.float32([1, 2, 3]))[0].tolist() == [2.0, 4.0, 6.0]
