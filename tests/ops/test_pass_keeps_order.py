"""A tagged SaveV2 writes what stock writes, however its reads stand to updates of the same run.

The graphs are drawn at random, but stock TensorFlow has only one order for them. All ops that read
or update one variable are ordered, by control dependencies or by the tensors that they take.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

tf1 = tf.compat.v1

GRAPHS = 40
RUNS = 3


@pytest.fixture(autouse=True)
def _ops(ops: ModuleType) -> None:
    del ops  # loaded for its pass


@pytest.fixture
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as graph:
        yield graph


def tag(save: tf.Operation) -> None:
    save._set_attr("_autodist_save", tf1.AttrValue(b=True))


class Program:
    """A random graph: variables, updates, and a SaveV2 of what was read on the way."""

    def __init__(self, seed: int, prefix: str) -> None:
        self._random = random.Random(seed)
        self._reads: list[Any] = []
        self._updates: list[Any] = []
        for number in range(3):
            self._add_events(number)
        self.fetched = [read for read in self._reads if self._random.random() < 0.2]
        saved = [self._identities(read) for read in self._reads if self._random.random() < 0.7]
        saved += self._random.choices(saved, k=1) if saved else self._reads[:1]
        after = [update for update in self._updates if self._random.random() < 0.3]
        names = [f"value_{i}" for i in range(len(saved))]
        with tf.control_dependencies(after), tf.device("/cpu:0"):
            self.save = tf.raw_ops.SaveV2(
                prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=saved
            )
        self.all = [self.save, *self._updates]

    def _add_events(self, number: int) -> None:
        with tf.device(f"/cpu:{number % 2}"):
            variable = tf1.get_variable(
                f"v{number}", initializer=tf.fill([3000, 2], float(number + 1)), use_resource=True
            )
        read: Any = None
        before: list[Any] = []
        for _ in range(self._random.randint(2, 5)):
            with tf.control_dependencies(before), tf.device(variable.device):
                if read is None:
                    read = variable.read_value()
                    self._reads.append(read)
                    before = []
                    continue
            how = self._random.choice(("data", "data", "identity", "control"))
            if how == "control":
                before = [read.op]
                value = tf.constant(3.0, shape=[3000, 2])
            else:
                before = []
                value = (self._identities(read) if how == "identity" else read) + 1.0
            with tf.control_dependencies(before), tf.device(variable.device):
                update = self._update(variable, value)
            self._updates.append(update)
            before, read = [update], None

    def _update(self, variable: Any, value: Any) -> Any:
        kind = self._random.choice(("assign", "add", "rows"))
        if kind == "assign":
            return variable.assign(value, read_value=False)
        if kind == "add":
            return variable.assign_add(value, read_value=False)
        return tf.raw_ops.ResourceScatterAdd(
            resource=variable.handle, indices=tf.range(3000), updates=value
        )

    def _identities(self, tensor: Any) -> Any:
        for _ in range(self._random.randint(0, 2)):
            tensor = tf.identity(tensor)
        return tensor


def saved_values(prefix: str) -> dict[str, Any]:
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def run(seed: int, prefix: str, *, is_tagged: bool) -> dict[str, Any]:
    """The values of the checkpoint of each run, and what was fetched with it."""
    with tf.Graph().as_default():
        program = Program(seed, prefix)
        if is_tagged:
            tag(program.save)
        config = tf1.ConfigProto(device_count={"CPU": 2})
        values: dict[str, Any] = {}
        with tf1.Session(config=config) as session:
            session.run(tf1.global_variables_initializer())
            for number in range(RUNS):
                _, fetched = session.run([program.all, program.fetched])
                values.update({f"{number}/fetched_{i}": each for i, each in enumerate(fetched)})
                values.update({f"{number}/{name}": v for name, v in saved_values(prefix).items()})
        return values


@pytest.mark.parametrize("first", range(0, GRAPHS, 10))
def test_random_graphs_save_what_stock_saves(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 10):
        expected = run(seed, str(tmp_path / f"stock_{seed}"), is_tagged=False)
        saved = run(seed, str(tmp_path / f"ours_{seed}"), is_tagged=True)
        assert saved.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(saved[name], value, err_msg=f"graph {seed}: {name}")


def ops_run(session: tf1.Session, fetches: Any) -> tuple[Any, list[str]]:
    """What a run returns, and the types of the ops that it ran."""
    metadata = tf1.RunMetadata()
    options = tf1.RunOptions(output_partition_graphs=True)
    returned = session.run(fetches, options=options, run_metadata=metadata)
    return returned, [node.op for part in metadata.partition_graphs for node in part.node]


def save_of(prefix: Path, *tensors: Any) -> tf.Operation:
    names = [f"v{i}" for i in range(len(tensors))]
    save = tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )
    tag(save)
    return save


def make_variable() -> Any:
    return tf1.get_variable("v", initializer=tf.ones([3]), use_resource=True)


def test_a_read_for_the_save_alone_is_replaced(graph: tf.Graph, tmp_path: Path) -> None:
    variable = make_variable()
    save = save_of(tmp_path / "m", tf.identity(variable.read_value()))
    with tf1.Session(graph=graph) as session:
        session.run(variable.initializer)
        _, ran = ops_run(session, save)
    assert "AutodistReferenceVariables" in ran
    assert "ReadVariableOp" not in ran


@pytest.mark.parametrize("other", ["fetch", "entry", "identity", "update", "device", "summary"])
def test_a_read_that_others_take_is_what_is_saved(
    graph: tf.Graph, tmp_path: Path, other: str
) -> None:
    """The op's own read is not the one that the others have."""
    variable = make_variable()
    value = variable.read_value()
    fetches: dict[str, Any] = {
        "fetch": lambda: value,
        "entry": tf.no_op,
        "identity": lambda: tf.identity(value) * 2,
        "update": lambda: variable.assign(value + 1, read_value=False),
        "device": lambda: on_other_device(value),
        "summary": lambda: tf.debugging.assert_all_finite(value, "finite"),
    }[other]()
    save = save_of(tmp_path / "m", *[value] * (2 if other == "entry" else 1))
    config = tf1.ConfigProto(device_count={"CPU": 2})
    with tf1.Session(graph=graph, config=config) as session:
        session.run(variable.initializer)
        _, ran = ops_run(session, [fetches, save])
        assert "AutodistSave" in ran
        assert "ReadVariableOp" in ran
        assert not {"AutodistPinNamedVariables", "AutodistReferenceVariables"} & set(ran)
        np.testing.assert_array_equal(saved_values(str(tmp_path / "m"))["v0"], np.ones([3]))
        # For the node alone it is replaced.
        if other != "entry":
            assert "AutodistPinNamedVariables" in ops_run(session, save)[1]


def on_other_device(value: Any) -> Any:
    with tf.device("/cpu:1"):
        return value + 1


@pytest.mark.parametrize("is_v2", [True, False])
@pytest.mark.parametrize("taken", [True, False])
def test_a_save_in_a_branch(graph: tf.Graph, tmp_path: Path, is_v2: bool, taken: bool) -> None:
    variable = make_variable()
    asked = tf1.placeholder_with_default(taken, [])

    def save() -> Any:
        value = variable.read_value()
        update = variable.assign(value + 1, read_value=False)
        with tf.control_dependencies([save_of(tmp_path / "m", value), update]):
            return tf.constant(1)

    branch = tf.cond if is_v2 else tf1.cond
    if is_v2:
        tf1.enable_control_flow_v2()
    try:
        done = branch(asked, save, lambda: tf.constant(0))
    finally:
        tf1.disable_control_flow_v2()
    with tf1.Session(graph=graph) as session:
        session.run(variable.initializer)
        assert session.run(done) == int(taken)
        np.testing.assert_array_equal(session.run(variable), np.ones([3]) + int(taken))
    assert bool(list(tmp_path.iterdir())) == taken
    if taken:
        np.testing.assert_array_equal(saved_values(str(tmp_path / "m"))["v0"], np.ones([3]))


def test_saves_in_a_loop(graph: tf.Graph, tmp_path: Path) -> None:
    """Each turn saves the value that it read, and then updates with it."""
    variable = make_variable()

    def turn(number: Any) -> Any:
        value = variable.read_value()
        prefix = tf.strings.join([str(tmp_path / "m"), tf.strings.as_string(number)])
        save = tf.raw_ops.SaveV2(
            prefix=prefix, tensor_names=["v0"], shape_and_slices=[""], tensors=[value]
        )
        tag(save)
        with tf.control_dependencies([save, variable.assign(value * 2, read_value=False)]):
            return number + 1

    loop = tf1.while_loop(lambda number: number < 4, turn, [0], parallel_iterations=1)
    with tf1.Session(graph=graph) as session:
        session.run(variable.initializer)
        assert session.run(loop) == 4
    for number in range(4):
        saved = saved_values(str(tmp_path / f"m{number}"))["v0"]
        np.testing.assert_array_equal(saved, np.full([3], 2**number))


def test_a_partial_run_saves_what_was_read_first(graph: tf.Graph, tmp_path: Path) -> None:
    variable = make_variable()
    value = variable.read_value()
    seen = value * 1
    prefix = tf1.placeholder(tf.string, [])
    added = tf1.placeholder(tf.float32, [])
    save = tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=["v0"], shape_and_slices=[""], tensors=[value]
    )
    tag(save)
    with tf.control_dependencies([save]):
        saved = tf.constant(1)
    update = variable.assign_add(tf.fill([3], added))
    with tf1.Session(graph=graph) as session:
        session.run(variable.initializer)
        handle = session.partial_run_setup([seen, update, saved], [prefix, added])
        np.testing.assert_array_equal(session.partial_run(handle, seen), np.ones([3]))
        session.partial_run(handle, update, {added: 5.0})
        session.partial_run(handle, saved, {prefix: str(tmp_path / "m")})
    np.testing.assert_array_equal(saved_values(str(tmp_path / "m"))["v0"], np.ones([3]))
