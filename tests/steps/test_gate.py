"""The step gate: at rest no step is on its way, and nothing that waits for another run blocks it for ever."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2  # noqa: TID251 public code has no other way

import autodist
from autodist.checkpoint.distributed.tasks import step_gates
from autodist.steps import gate, step
from support.specs import write_local_spec

tf1 = tf.compat.v1


class Pair:
    """Two counters that each step adds one to, one after the other: equal when no step is on its way."""

    def __init__(self) -> None:
        self.first, self.last = (
            tf1.get_variable(
                name, [], tf.int64, initializer=tf1.zeros_initializer(), use_resource=True
            )
            for name in ("first", "last")
        )
        self.init = tf1.global_variables_initializer()
        self.holder = tf1.placeholder(tf.int64, [])
        self.step = self.after(tf.no_op())
        with tf.control_dependencies([self.after(tf.identity(self.holder))]):
            self.doubled = self.holder * 2
        self.halves = [tf1.assign_add(v, 1).op for v in (self.first, self.last)]
        # Of a partial run: the second part waits for the first.
        self.begun = tf1.assign_add(self.first, 1)
        with tf.control_dependencies([self.begun]):
            self.ended = tf1.assign_add(self.last, self.holder)

    def after(self, op: Any) -> Any:
        """A step that begins after an op, and takes a while."""
        with tf.control_dependencies([op]):
            first = tf1.assign_add(self.first, 1)
        work = tf.random.uniform([200, 200])
        with tf.control_dependencies([first]):
            work = tf.linalg.matmul(work, work)
        with tf.control_dependencies([work]):
            return tf1.assign_add(self.last, 1).op

    def read(self, session: Any) -> tuple[int, int]:
        first, last = session.run([self.first, self.last])
        return int(first), int(last)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with tf.Graph().as_default():
        yield Pair()


@pytest.fixture
def session(pair: Pair) -> Iterator[Any]:
    with tf1.Session() as session:
        session.run(pair.init)
        yield session


@contextlib.contextmanager
def repeating(*works: Callable[[], Any], names: str = "trainer") -> Iterator[None]:
    """Calls functions over and over, each in a thread, until the block ends or their session is closed."""
    is_over = threading.Event()
    failures: list[BaseException] = []

    def repeat(work: Callable[[], Any]) -> None:
        try:
            while not is_over.is_set():
                work()
        except (tf.errors.CancelledError, tf.errors.OutOfRangeError):
            pass
        except BaseException as error:  # noqa: BLE001 shown by the test
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=[work], name=names) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join(60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def rest(session: Any, seconds: float = 60) -> None:
    """Comes to rest, and goes on."""
    with step_gates.at_rest(session, seconds):
        pass


def check_rests(session: Any, pair: Pair, count: int = 10) -> None:
    """Rests so many times; checks that no step is on its way then, and that training goes on afterwards."""
    for _ in range(count):
        with step_gates.at_rest(session, 60):
            first, last = pair.read(session)
            assert pair.read(session) == (first, last)
        assert first == last
        while pair.read(session)[0] == first:
            time.sleep(0.001)


def ways_to_run(session: Any, pair: Pair) -> dict[str, Callable[[], Any]]:
    run, metadata = session.run, tf1.RunMetadata()
    options = config_pb2.CallableOptions(feed=[pair.holder.name], fetch=[pair.doubled.name])
    by_names = session._make_callable_from_options(options)
    with_feed = session.make_callable(pair.doubled, [pair.holder])

    def run_in_parts() -> None:
        handle = session.partial_run_setup([pair.begun, pair.ended], [pair.holder])
        session.partial_run(handle, pair.begun)
        session.partial_run(handle, pair.ended, {pair.holder: 1})

    return {
        "run": lambda: session.run(pair.step),
        "bound method": lambda: run(pair.step),
        "options": lambda: session.run(pair.step, options=tf1.RunOptions(), run_metadata=metadata),
        "op.run": lambda: pair.step.run(session=session),
        "eval": lambda: pair.doubled.eval({pair.holder: 1}, session=session),
        "callable": session.make_callable(pair.step),
        "callable with a feed": lambda: with_feed(1),
        "callable by names": lambda: by_names(1),
        "partial run": run_in_parts,
    }


@pytest.mark.parametrize("is_distributed", [False, True])
def test_no_run_is_on_its_way_however_it_was_made(is_distributed: bool, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        if is_distributed:
            scope = autodist.AutoDist(write_local_spec(tmp_path))
            with scope.scope():
                pair = Pair()
                session = scope.create_distributed_session()
        else:
            pair, session = Pair(), tf1.Session()
        with session:
            session.run(pair.init)
            ways = ways_to_run(session, pair)
            for work in ways.values():
                with repeating(work, work):
                    check_rests(session, pair, 3)
            with repeating(*ways.values()):
                check_rests(session, pair)


def test_sessions_that_share_no_variables_do_not_wait(session: Any, pair: Pair) -> None:
    with tf1.Session() as other:
        other.run(pair.init)
        with step_gates.at_rest(other, 60), step_gates.at_rest(session, 60):
            pass
        with step_gates.at_rest(session, 60):
            thread = threading.Thread(target=lambda: other.run(pair.step))
            thread.start()
            thread.join(60)
            assert not thread.is_alive()


def test_a_run_inside_of_a_step_of_its_thread_does_not_wait(session: Any, pair: Pair) -> None:
    def step() -> None:
        with autodist.training_step(session):
            session.run(pair.halves[0])
            time.sleep(0.001)
            session.run(pair.halves[1])

    with repeating(step, step):
        check_rests(session, pair)


class _Halves(tf1.train.SessionRunHook):
    """Makes a step of a monitored session of three runs: before, its own, after."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def before_run(self, run_context: Any) -> None:
        run_context.session.run(self._pair.halves[0])

    def after_run(self, run_context: Any, run_values: Any) -> None:
        run_context.session.run(self._pair.halves[1])


def monitored(*hooks: Any) -> Any:
    return tf1.train.MonitoredSession(hooks=[autodist.StepGateHook(), *hooks])


def test_the_runs_of_hooks_belong_to_the_step(pair: Pair) -> None:
    with monitored(_Halves(pair)) as session, repeating(lambda: session.run(pair.step)):
        check_rests(session._tf_sess(), pair)


class _Failing(tf1.train.SessionRunHook):
    def before_run(self, run_context: Any) -> None:
        raise ValueError("a hook fails")


def test_a_step_of_a_monitored_session_that_failed_is_over(pair: Pair) -> None:
    kept = []
    with monitored(_Failing()) as session:
        for _ in range(2):
            with pytest.raises(ValueError, match="a hook fails") as failed:
                session.run(pair.step)
            # With its traceback, and all that the frames there hold.
            kept.append(failed)
        rest(session)
        assert len(kept) == 2


class _Resting(tf1.train.SessionRunHook):
    """Rests after each run, inside of the step."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.count = 0

    def after_run(self, run_context: Any, run_values: Any) -> None:
        with step_gates.at_rest(run_context.session, 60):
            assert len(set(self._pair.read(run_context.session))) == 1
        run_context.session.run(self._pair.step)
        self.count += 1


def test_threads_that_save_inside_of_their_steps_do_not_wait_for_each_other(pair: Pair) -> None:
    hooks = [_Resting(pair) for _ in range(3)]
    with contextlib.ExitStack() as stack:
        init = tf1.train.Scaffold(init_op=pair.init)
        first = stack.enter_context(
            tf1.train.MonitoredSession(
                tf1.train.ChiefSessionCreator(init), hooks=[autodist.StepGateHook(), hooks[0]]
            )
        )
        raw = first._tf_sess()
        others = [_hooked(raw, hook) for hook in hooks[1:]]
        with repeating(*(lambda s=s: s.run(pair.step) for s in (first, *others))):
            while min(hook.count for hook in hooks) < 5:
                time.sleep(0.001)


def _hooked(session: Any, hook: Any) -> Any:
    """Another monitored session over the same session, for another thread."""
    from tensorflow.python.training import monitored_session  # noqa: TID251 as MonitoredSession does

    return monitored_session._HookedSession(session, [autodist.StepGateHook(), hook])


def test_a_run_that_an_op_makes_is_let_in_while_its_step_is_awaited(pair: Pair) -> None:
    threads = tf1.ConfigProto(inter_op_parallelism_threads=8, use_per_session_threads=True)
    with tf1.Session(config=threads) as session:
        session.run(pair.init)

        def run_inside() -> None:
            session.run(pair.step)

        nested = pair.after(tf1.py_func(run_inside, [], []))
        with repeating(lambda: session.run(nested), lambda: session.run(nested)):
            check_rests(session, pair, 5)


def test_runs_that_wait_for_each_other_at_a_queue_come_to_rest(pair: Pair) -> None:
    """As a rest of its own, a full queue blocks those that fill it, an empty one those that empty it."""
    for capacity, fillers, takers in [(1, 3, 1), (1, 1, 3), (4, 2, 2)]:
        queue = tf.queue.FIFOQueue(capacity, [tf.int64], [[]])
        fill = queue.enqueue(pair.doubled)
        take = pair.after(queue.dequeue())
        with tf1.Session() as session:
            session.run(pair.init)
            with repeating(
                *[lambda s=session, op=fill: s.run(op, {pair.holder: 1})] * fillers,
                *[lambda s=session, op=take: s.run(op)] * takers,
            ):
                check_rests(session, pair, 5)
                session.run(queue.close(cancel_pending_enqueues=True))


def test_a_run_that_never_ends_is_named_and_training_goes_on(session: Any, pair: Pair) -> None:
    queue = tf.queue.FIFOQueue(1, [tf.int64], [[]])
    take, close = queue.dequeue(), queue.close(cancel_pending_enqueues=True)

    def wait_for_ever() -> None:
        with pytest.raises(tf.errors.OutOfRangeError):
            session.run(take)

    blocked = threading.Thread(target=wait_for_ever, name="starving reader")
    blocked.start()
    with repeating(lambda: session.run(pair.step)):
        time.sleep(0.1)
        with pytest.raises(tf.errors.DeadlineExceededError) as raised:
            rest(session, 1)
        assert "a run of thread 'starving reader', at " in raised.value.message
        assert __file__ in raised.value.message
        session.run(close)
        blocked.join()
        check_rests(session, pair)


def test_a_partial_run_is_on_its_way_until_all_of_it_was_run(session: Any, pair: Pair) -> None:
    handle = session.partial_run_setup([pair.begun, pair.ended], [pair.holder])
    session.partial_run(handle, pair.begun)
    with pytest.raises(tf.errors.DeadlineExceededError, match="a partial run of thread"):
        rest(session, 1)
    session.partial_run(handle, pair.ended, {pair.holder: 1})
    with step_gates.at_rest(session, 60):
        assert pair.read(session) == (1, 1)


def test_a_partial_run_is_over_with_its_session(pair: Pair) -> None:
    for _ in range(2):
        with tf1.Session() as session:
            session.run(pair.init)
            session.partial_run_setup([pair.begun, pair.ended], [pair.holder])
    with tf1.Session() as session, step_gates.at_rest(session, 60):
        pass


def test_a_gate_with_a_time_limit_opens_by_itself_and_says_so(session: Any, pair: Pair) -> None:
    own = gate.of_process()
    closure = own.close(step.key_of(session), 0.2)
    session.run(pair.step)
    assert not own.open(closure)
    closure = own.close(step.key_of(session), 0.01)
    own.keep_closed(closure, 60)
    assert own.open(closure)
