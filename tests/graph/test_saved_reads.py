"""What a save writes in a distributed session where others take, or wait for, what it reads: what one node writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from autodist.errors import UnsupportedGraphError
from autodist.strategy import PS, AllReduce
from support.strategies import STRATEGIES

tf1 = tf.compat.v1


def save_of(prefix: Path, *tensors: Any) -> Any:
    names = [f"v{i}" for i in range(len(tensors))]
    return tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )


def make_variable() -> Any:
    return tf1.get_variable("v", initializer=tf.range(2000.0))


def by_data(prefix: Path) -> tuple[Any, Any]:
    variable = make_variable()
    value = variable.read_value()
    update = variable.assign(value * 2, read_value=False)
    with tf.control_dependencies([update]):
        return variable, save_of(prefix, tf.identity(value))


def by_control(prefix: Path) -> tuple[Any, Any]:
    variable = make_variable()
    value = tf.identity(variable.read_value())
    with tf.control_dependencies([value]):
        update = variable.assign_add(tf.ones([2000]), read_value=False)
    with tf.control_dependencies([update]):
        return variable, save_of(prefix, value)


def two_entries(prefix: Path) -> tuple[Any, Any]:
    variable = make_variable()
    value = variable.read_value()
    return variable, save_of(prefix, value, tf.identity(value))


def read_after(prefix: Path) -> tuple[Any, Any]:
    variable = make_variable()
    with tf.control_dependencies([variable.assign_add(tf.ones([2000]), read_value=False)]):
        return variable, save_of(prefix, variable.read_value())


def saved_values(prefix: Path) -> dict[str, Any]:
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("strategy", ["PS", "AllReduce", "PartitionedPS"])
@pytest.mark.parametrize("build", [by_data, by_control, two_entries, read_after])
def test_a_save_writes_what_one_node_writes(
    tmp_path: Path,
    distribute: Callable[..., Any],
    build: Callable[[Path], Any],
    strategy: str,
) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        _, save = build(tmp_path / "stock")
        session.run(tf1.global_variables_initializer())
        for _ in range(3):
            session.run(save)
    session, (_, save) = distribute(lambda: build(tmp_path / "ours"), STRATEGIES[strategy]())
    for _ in range(3):
        session.run(save)
    expected, saved = saved_values(tmp_path / "stock"), saved_values(tmp_path / "ours")
    assert saved.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(saved[name], value)


def test_a_read_that_other_saves_take_too_is_made_in_place(
    tmp_path: Path, distribute: Callable[..., Any]
) -> None:
    """As those of savers: they take the element of the graph that a variable is."""

    def build() -> Any:
        variable = make_variable()
        with tf.control_dependencies([variable]):
            waiting = tf.no_op()
        return variable, Saver(), Saver(), waiting

    session, (variable, first, second, waiting) = distribute(build, AllReduce())
    session.run([waiting, variable])
    for number, saver in enumerate((first, second)):
        prefix = saver.save(session, str(tmp_path / f"m{number}"))
        np.testing.assert_array_equal(tf.train.load_variable(prefix, "v"), np.arange(2000.0))
    ops = [op for op in session.transformed_graph.get_operations() if op.type == "AutodistSave"]
    assert [len(op.get_attr("tensor_types")) for op in ops] == [0, 0]


def test_a_later_update_with_what_a_save_reads_is_refused(
    tmp_path: Path, distribute: Callable[..., Any]
) -> None:
    """The save was made as if no update came after its read."""

    def build() -> tuple[Any, Any, Any]:
        variable = make_variable()
        value = variable.read_value()
        return variable, value, save_of(tmp_path / "m", value)

    session, (variable, value, save) = distribute(build, PS())
    session.run(save)
    session.run(variable.assign(variable.read_value() * 2))
    session.run(save)
    assert saved_values(tmp_path / "m")["v0"][1] == 2
    update = variable.assign(value * 2)
    with pytest.raises(
        UnsupportedGraphError, match=r"may update variable 'v' after .* for 'SaveV2'"
    ):
        session.run([save, update])
