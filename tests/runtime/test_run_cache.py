"""A run that is made again gives what the first gave, results and errors."""

import threading
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import AutoDist
from autodist.errors import GraphStateError, UnsupportedGraphError
from autodist.session.runs.run_cache import RunCache
from autodist.strategy import PartitionedPS

tf1 = tf.compat.v1
Pair = namedtuple("Pair", ["loss", "rows"])  # noqa: PYI024 - what TensorFlow calls a namedtuple


class Model:
    """A graph with a batch, a setting, a flag, texts and a variable."""

    def __init__(self) -> None:
        self.x = tf1.placeholder(tf.float64, [None, 3], "x")
        self.rate = tf1.placeholder_with_default(np.float64(1.0), [], "rate")
        self.flag = tf1.placeholder_with_default(False, [], "flag")
        self.texts = tf1.placeholder_with_default(["a"], [None], "texts")
        self.v = tf1.get_variable("v", [3, 2], tf.float64, tf1.ones_initializer())
        self.rows = tf.matmul(self.x, self.v) * self.rate
        self.loss = tf.reduce_mean(self.rows)
        self.flipped = tf.logical_not(self.flag)
        self.update = self.v.assign_add(tf.ones([3, 2], tf.float64))
        self.nothing = tf.no_op()
        self.joined = tf.strings.join([self.texts, "!"])


X = np.arange(15.0).reshape(5, 3)
RUNS: dict[str, Callable[[Model], tuple[Any, Any]]] = {
    "a tensor": lambda m: (m.loss, {m.x: X}),
    "an op": lambda m: (m.update.op, None),
    "a variable": lambda m: (m.v, {}),
    "a name": lambda m: ("Mean:0", {m.x: X}),
    "a fed name": lambda m: (m.rows, {"x:0": X}),
    "a list": lambda m: ([m.loss, m.rows], {m.x: X}),
    "a list with an op": lambda m: ([m.nothing, m.rows], {m.x: X}),
    "nested": lambda m: ({"a": (m.loss, [m.rows]), "b": m.v}, {m.x: X}),
    "one key less": lambda m: ({"a": m.loss}, {m.x: X}),
    "keys that are equal": lambda m: ({1.0: m.loss}, {m.x: X}),
    "keys that were equal": lambda m: ({1: m.loss}, {m.x: X}),
    "twice the same": lambda m: ([m.loss, m.loss], {m.x: X}),
    "a namedtuple": lambda m: (Pair(m.loss, m.rows), {m.x: X}),
    "an ordered dict": lambda m: (OrderedDict(b=m.loss, a=m.rows), {m.x: X}),
    "what is fed": lambda m: ([m.x, m.loss], {m.x: X}),
    "a list of numbers": lambda m: (m.rows, {m.x: X.tolist()}),
    "integers": lambda m: (m.rows, {m.x: X.astype(np.int32)}),
    "a number": lambda m: (m.rows, {m.x: X, m.rate: 0.5}),
    "an integer": lambda m: (m.rows, {m.x: X, m.rate: 2}),
    "a numpy number": lambda m: (m.rows, {m.x: X, m.rate: np.float32(0.5)}),
    "a flag": lambda m: (m.flipped, {m.flag: True}),
    "texts": lambda m: (m.joined, {m.texts: ["b", "c"]}),
    "a text": lambda m: (m.joined, {m.texts: np.array([b"b"])}),
    "another order": lambda m: (m.rows, {m.rate: 3.0, m.x: X}),
    "empty": lambda m: (m.rows, {m.x: X[:0]}),
    "nothing": lambda m: ([], None),
    "an intermediate tensor": lambda m: (m.loss, {m.rows: X[:, :2]}),
}
MISTAKES: dict[str, Callable[[Model], tuple[Any, Any]]] = {
    "rank": lambda m: (m.loss, {m.x: X[0]}),
    "shape": lambda m: (m.loss, {m.x: X[:, :2]}),
    "a tensor": lambda m: (m.loss, {m.x: m.rows}),
    "a text": lambda m: (m.loss, {m.x: "text"}),
    "ragged": lambda m: (m.loss, {m.x: [[1.0], [1.0, 2.0]]}),
    "not fed": lambda m: (m.loss, {}),
    "none": lambda m: (None, {m.x: X}),
    "none inside": lambda m: ([m.loss, None], {m.x: X}),
    "no key": lambda m: (m.loss, {3: X}),
    "no name": lambda m: ("nowhere:0", None),
}


@pytest.fixture
def distributed(tmp_path: Path) -> Iterator[tuple[Any, Model]]:
    """A distributed session and its model."""
    spec = tmp_path / "spec.yml"
    spec.write_text("nodes: [{address: localhost, cpus: [0, 1]}]")
    with tf.Graph().as_default():
        autodist = AutoDist(str(spec), PartitionedPS(min_variable_bytes=0))
        with autodist.scope():
            model = Model()
            with autodist.create_distributed_session() as session:
                yield session, model


@pytest.fixture
def stock() -> Iterator[tuple[Any, Model]]:
    """A session of TensorFlow's and its model."""
    with tf.Graph().as_default(), tf1.Session() as session:
        model = Model()
        session.run(tf1.global_variables_initializer())
        yield session, model


def flat(values: Any) -> list[Any]:
    return [None if v is None else np.asarray(v) for v in tf.nest.flatten(values)]


def test_every_run_gives_what_a_session_of_tensorflow_gives(distributed: Any, stock: Any) -> None:
    (ours, our_model), (theirs, their_model) = distributed, stock
    for _ in range(3):
        for name, make in RUNS.items():
            found, expected = ours.run(*make(our_model)), theirs.run(*make(their_model))
            assert type(found) is type(expected), name
            if isinstance(expected, dict):
                assert [(type(k), k) for k in found] == [(type(k), k) for k in expected], name
            for a, b in zip(flat(found), flat(expected), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=name)


def test_every_mistake_raises_what_a_session_of_tensorflow_raises(
    distributed: Any, stock: Any
) -> None:
    for session, model in (distributed, stock):
        for _ in range(2):
            session.run(model.loss, {model.x: X})
    for name, make in MISTAKES.items():
        errors = []
        for session, model in (distributed, stock):
            with pytest.raises(Exception) as raised:  # noqa: PT011 - compared below
                session.run(*make(model))
            errors.append(raised.type)
        assert errors[0] is errors[1], name


def test_a_run_that_is_made_again_is_planned(
    distributed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, model = distributed
    session.run([model.loss, model.update], {model.x: X})
    monkeypatch.setattr(tf1.Session, "_run", None)
    session.run([model.loss, model.update], {model.x: X[:2]})


def test_batches_of_different_lengths_are_refused_in_a_planned_run(distributed: Any) -> None:
    session, model = distributed
    fetches = [model.rows, model.joined]
    for _ in range(2):
        session.run(fetches, {model.x: X[:2], model.texts: ["a", "b"]})
    with pytest.raises(ValueError, match="different lengths"):
        session.run(fetches, {model.x: X, model.texts: ["a", "b"]})


def test_a_list_of_fetches_may_change_between_runs(distributed: Any) -> None:
    session, model = distributed
    fetches = [model.loss]
    for _ in range(2):
        session.run(fetches, {model.x: X})
    fetches[0] = model.rows
    assert session.run(fetches, {model.x: X})[0].shape == (5, 2)


def test_the_graph_may_grow_between_planned_runs(
    distributed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, model = distributed
    fetches = [model.loss, model.rows, model.v]
    for _ in range(2):
        before = session.run(fetches, {model.x: X})
    # The new ops use what is split, fed and read as a whole.
    ordered = tf.sort(model.rows, axis=0)
    doubled = model.loss * 2.0 + tf.reduce_sum(model.x[::2]) * tf.reduce_sum(model.v)
    expected = 2 * before[0] + X[::2].sum() * before[2].sum()
    assert session.run(doubled, {model.x: X}) == expected
    np.testing.assert_array_equal(
        session.run(ordered, {model.rows: before[1]}), np.sort(before[1], axis=0)
    )
    # What was planned before is planned still, and gives the same.
    monkeypatch.setattr(tf1.Session, "_run", None)
    for found, value in zip(session.run(fetches, {model.x: X}), before, strict=True):
        np.testing.assert_array_equal(found, value)


def test_an_op_that_cannot_be_distributed_is_refused_before_a_planned_run(
    distributed: Any,
) -> None:
    session, model = distributed
    for _ in range(2):
        session.run(model.loss, {model.x: X})
    tf.raw_ops.VariableV2(shape=[2], dtype=tf.float32, name="by_reference")
    with pytest.raises(UnsupportedGraphError, match="'by_reference' is a ref variable"):
        session.run(model.loss, {model.x: X})
    with pytest.raises(GraphStateError, match="cannot go on: variable 'by_reference'"):
        session.run(model.loss, {model.x: X})


def test_a_planned_run_takes_options_and_gives_metadata(distributed: Any) -> None:
    session, model = distributed
    options = tf1.RunOptions(trace_level=tf1.RunOptions.FULL_TRACE)
    for _ in range(3):
        metadata = tf1.RunMetadata()
        session.run(model.loss, {model.x: X}, options=options, run_metadata=metadata)
        assert metadata.step_stats.dev_stats


def test_an_error_of_the_graph_is_the_same_in_a_planned_run(distributed: Any) -> None:
    session, model = distributed
    checked = tf1.debugging.assert_less(model.loss, np.float64(1e6))
    session.run(checked, {model.x: X})
    session.run(checked, {model.x: X})
    with pytest.raises(tf.errors.InvalidArgumentError, match="Condition x < y"):
        session.run(checked, {model.x: X + 1e9})


def test_a_closed_session_runs_no_plan(distributed: Any) -> None:
    session, model = distributed
    for _ in range(2):
        session.run(model.loss, {model.x: X})
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run(model.loss, {model.x: X})


def test_threads_run_plans_at_the_same_time(distributed: Any) -> None:
    session, model = distributed
    found: list[float] = []

    def run(factor: float) -> None:
        found.extend(session.run(model.loss, {model.x: X * factor}) / factor for _ in range(20))

    threads = [threading.Thread(target=run, args=(f,)) for f in (1.0, 2.0, 4.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 60
    assert len(set(found)) == 1


def test_the_number_of_plans_is_bounded(distributed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autodist.session.runs.run_cache._MOST_RUNS", 2)
    session, model = distributed
    for fetches in (model.loss, model.rows, [model.loss], [model.rows]):
        session.run(fetches, {model.x: X})
    assert isinstance(session._run_cache, RunCache)
    assert len(session._run_cache._runs) == 2
