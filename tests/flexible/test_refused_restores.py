"""Flexible restores that cannot be done are refused, and change nothing."""

import concurrent.futures
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.flexible import flexible_restore, made_values, restore_plan
from autodist.checkpoint.saver import Growth, RestoreOptions, Saver
from autodist.errors import ArgumentError, GraphStateError, UnsupportedGraphError
from autodist.private_apis import tf_variables
from support.flexible_restores import (
    EMB,
    restored,
    stored,
    variable,
    whole,
)

tf1 = tf.compat.v1


# Each with what the checkpoint has, the variables beside `same`, the options and the error.
REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], Any, str]] = {
    "missing": (
        {},
        {"emb": [2]},
        {"unexpected": "warn"},
        tf.errors.NotFoundError,
        "lacks 1 of the 2",
    ),
    "all are missing": (
        {},
        {"emb": [2]},
        {"missing": "keep", "name_map": lambda name: "x/" + name if name == "emb" else "y"},
        ArgumentError,
        "it has 'same'",
    ),
    "unexpected": (
        {"emb": EMB, "more": EMB},
        {"emb": [6, 2]},
        {"unexpected": "error"},
        tf.errors.InvalidArgumentError,
        "taken by no variable: 'more'",
    ),
    "shape": (
        {"emb": EMB},
        {"emb": [9, 2]},
        {"cast": True},
        tf.errors.InvalidArgumentError,
        "it grows along axis 0",
    ),
    "other axis": (
        {"emb": EMB},
        {"emb": [9, 3]},
        {"grow": {"emb": 0}},
        tf.errors.InvalidArgumentError,
        "all other axes",
    ),
    "unused growth": (
        {"emb": EMB},
        {"emb": [6, 2]},
        {"grow": {"em": 0}},
        ArgumentError,
        "matches 'em'",
    ),
    "no cast": (
        {"emb": EMB.astype(np.float16)},
        {"emb": [6, 2]},
        {"missing": "keep"},
        tf.errors.InvalidArgumentError,
        "cast=True restores it",
    ),
    "cast of integers": (
        {"emb": EMB.astype(np.int32)},
        {"emb": [6, 2]},
        {"cast": True},
        tf.errors.InvalidArgumentError,
        "between float dtypes only",
    ),
    "too large": (
        {"emb": np.array([1e300, 1])},
        {"emb": [2]},
        {"cast": True},
        tf.errors.InvalidArgumentError,
        "'emb': 1 elements are too large for float32",
    ),
    "ambiguous": (
        {"emb": EMB},
        {"emb": [6, 2]},
        {"name_map": [("emb", "same")]},
        ArgumentError,
        "would both be read",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_plan_that_is_wrong_changes_nothing(tmp_path: Path, case: str) -> None:
    values, shapes, options, error, says = REFUSALS[case]
    prefix = stored(tmp_path, {"same": EMB, **values})
    assert_refused(prefix, shapes, options, error, says)


def assert_refused(
    prefix: str, shapes: dict[str, Any], options: dict[str, Any], error: Any, says: str
) -> None:
    """Asserts that a restore fails and all variables have the bits that they had."""
    made = [variable("same", [6, 2]), *(variable(name, shape) for name, shape in shapes.items())]
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        former = session.run(made)
        with pytest.raises(error, match=says):
            saver.restore(session, prefix, options=RestoreOptions(**options))
        for before, after in zip(former, session.run(made), strict=True):
            assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize("name", ["emb", "same"])
def test_damage_changes_nothing(tmp_path: Path, name: str) -> None:
    values = {"emb": EMB * 3, "same": EMB}
    prefix = stored(tmp_path, values)
    path = Path(prefix + ".data-00000-of-00001")
    contents = bytearray(path.read_bytes())
    contents[contents.index(values[name].tobytes()) + 9] ^= 2
    path.write_bytes(contents)
    options = {"grow": {"emb": 0}, "missing": "initialize"}
    shapes = {"emb": [9, 2], "extra": [2]}
    assert_refused(prefix, shapes, options, tf.errors.DataLossError, f"tensor '{name}'")


@pytest.mark.parametrize("most", [1, 200, 1000])
def test_values_that_do_not_fit_at_once_are_made_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    values = {f"v{number}": EMB.astype(np.float64) * number for number in range(5)}
    prefix = stored(tmp_path, values)
    made = {name: variable(name, [8, 2]) for name in values}
    monkeypatch.setattr(flexible_restore, "_MOST_FED_BYTES", most)
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        runs: list[Any] = []
        computed = made_values.compute
        monkeypatch.setattr(
            made_values, "compute", lambda *given: runs.append(given) or computed(*given)
        )
        saver.restore(session, prefix, options=RestoreOptions(grow={"v?": 0}, cast=True))
        for name, value in session.run(made).items():
            np.testing.assert_array_equal(value[:6], values[name].astype(np.float32))
    # Each group but the last is computed twice.
    assert len(runs) == {1: 9, 200: 5, 1000: 1}[most]


def test_a_second_reading_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = stored(tmp_path, {"a": EMB.astype(np.float64), "b": EMB.astype(np.float64)})
    made = [variable(name, [6, 2]) for name in "ab"]
    monkeypatch.setattr(flexible_restore, "_MOST_FED_BYTES", 1)
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        computed, runs = made_values.compute, []

        def compute(*given: Any) -> Any:
            runs.append(given)
            if len(runs) == 3:
                raise tf.errors.DataLossError(
                    None, None, "the disk is gone. All variables keep their values. Look at it"
                )
            return computed(*given)

        monkeypatch.setattr(made_values, "compute", compute)
        with pytest.raises(
            tf.errors.DataLossError,
            match=r"The restore is incomplete: .* grown or cast 'b'; the others",
        ) as caught:
            saver.restore(session, prefix, options=RestoreOptions(cast=True))
        assert "keep their values" not in caught.value.message
        # The last group is assigned first.
        assert [(value == 1).all() for value in session.run(made)] == [True, False]


def test_nothing_to_restore_is_refused(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"model/emb": EMB})
    with pytest.raises(tf.errors.NotFoundError, match="would restore nothing") as caught:
        restored(prefix, whole("emb"), missing="initialize")
    assert "nearest are 'model/emb'" in caught.value.message


def test_an_initial_value_that_needs_a_feed_is_refused(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"same": EMB})
    fed = tf1.placeholder(tf.float32, [2], name="fed")
    variable("same", [6, 2])
    extra = tf1.get_variable("extra", initializer=fed, use_resource=True)
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer(), {fed: [1, 2]})
        with pytest.raises(ArgumentError, match=r"'extra': its initial value depends on .* 'fed'"):
            saver.restore(session, prefix, options=RestoreOptions(missing="initialize"))
        assert session.run(extra).tolist() == [1, 2]


def test_present_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"emb": EMB})
    with pytest.raises(tf.errors.FailedPreconditionError):
        restored(prefix, whole("emb", 9), fills=False, grow={"emb": Growth(rest="keep")})


class InOrder(tf_variables.SaveableObject):
    """A variable that is restored after others."""

    def __init__(self, held: Any, before: list[Any]) -> None:
        super().__init__(held, [tf_variables.SaveSpec(held, "", held.op.name)], held.op.name)
        self._before = before

    def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
        with tf.control_dependencies(list(self._before)):
            self._before.append(self.op.assign(restored_tensors[0]).op)
            return self._before[-1]


def test_a_restore_that_waits_for_what_is_left_out_is_refused(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"b": EMB})
    before: list[Any] = []
    saver = Saver([InOrder(variable(name, [6, 2]), before) for name in "ab"])
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        with pytest.raises(GraphStateError, match="cannot leave out the others"):
            saver.restore(session, prefix, options=RestoreOptions(missing="keep"))


def test_a_made_value_whose_op_waits_for_another_is_refused(tmp_path: Path) -> None:
    """Its assignment alone would run that of the other again, with another file."""
    prefix = stored(tmp_path, {"a": EMB, "b": EMB.astype(np.float64)})
    before: list[Any] = []
    made = [variable(name, [6, 2]) for name in "ab"]
    saver = Saver([InOrder(each, before) for each in made])
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        with pytest.raises(GraphStateError, match="cannot leave out the others"):
            saver.restore(session, prefix, options=RestoreOptions(cast=True))
        np.testing.assert_array_equal(session.run(made), np.ones([2, 6, 2]))


class Custom(tf_variables.SaveableObject):
    """A variable that is restored by the op that a function makes of the restored value."""

    def __init__(self, held: Any, restore: Callable[[Any, Any], Any]) -> None:
        super().__init__(held, [tf_variables.SaveSpec(held, "", held.op.name)], held.op.name)
        self._make = restore

    def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
        return self._make(self.op, restored_tensors[0])


def behind_a_constant(held: Any, value: Any) -> Any:
    with tf.control_dependencies([held.assign(value)]):
        return tf.constant(0).op


def beside_nothing(held: Any, value: Any) -> Any:
    held.assign(value)
    return tf.no_op()


@pytest.mark.parametrize(
    ("restore", "says"),
    [
        (behind_a_constant, "takes no value of the checkpoint"),
        (beside_nothing, "no op that the restore runs takes 'emb'"),
    ],
)
def test_ops_that_are_not_understood_are_refused(tmp_path: Path, restore: Any, says: str) -> None:
    prefix = stored(tmp_path, {"emb": EMB, "other": EMB})
    saver = Saver([Custom(variable("emb", [6, 2]), restore), variable("other", [6, 2])])
    with tf1.Session() as session, pytest.raises(UnsupportedGraphError, match=says):
        saver.restore(session, prefix, options=RestoreOptions(missing="keep"))


def test_ops_that_all_lack_a_value_are_refused(tmp_path: Path) -> None:
    """An op of two values is left out if one is missing."""
    prefix = stored(tmp_path, {"a": EMB})
    a, b = (variable(name, [6, 2]) for name in "ab")

    class Pair(tf_variables.SaveableObject):
        def __init__(self) -> None:
            specs = [tf_variables.SaveSpec(held, "", held.op.name) for held in (a, b)]
            super().__init__(a, specs, "pair")

        def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
            return a.assign(restored_tensors[0] + restored_tensors[1]).op

    saver = Saver([Pair()])
    with (
        tf1.Session() as session,
        pytest.raises(tf.errors.NotFoundError, match="would restore nothing"),
    ):
        saver.restore(session, prefix, options=RestoreOptions(missing="keep"))


def test_a_saver_of_another_graph_is_refused(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"emb": EMB})
    variable("emb", [6, 2])
    saver = Saver()
    saver.saver_def.filename_tensor_name = "elsewhere:0"
    with tf1.Session() as session, pytest.raises(UnsupportedGraphError):
        saver.restore(session, prefix, options=RestoreOptions(missing="keep"))
    with pytest.raises(UnsupportedGraphError, match="are not in the graph"):
        restore_plan.make([], {}, None, RestoreOptions(), prefix)


def test_what_is_no_plain_assignment_does_not_grow(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"emb": EMB})
    vocabularies = []
    for name, words in (("new", "fedcba"), ("old", "abcdef")):
        (tmp_path / name).write_text("\n".join(words))
        vocabularies.append(str(tmp_path / name))
    emb = variable("emb", [6, 2], use_resource=False)
    saver = Saver([Custom(emb, lambda held, value: tf.identity(held.assign(value)).op)])
    growth = Growth(new_vocabulary=vocabularies[0], old_vocabulary=vocabularies[1])
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        with pytest.raises(tf.errors.InvalidArgumentError, match="'emb' is to grow, but"):
            saver.restore(session, prefix, options=RestoreOptions(grow={"emb": growth}))
        saver.restore(session, prefix, options=RestoreOptions(grow={"emb": 0}))
        np.testing.assert_array_equal(session.run(emb), EMB)


def test_a_name_and_its_key_are_one_tensor(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        emb = variable("emb", [6, 2])
        other = variable("other", [6, 2])
        session.run(tf1.global_variables_initializer())
        with session.as_default():
            prefix = tf.train.Checkpoint(emb=emb, other=other).save(str(tmp_path / "c"))
    for name in ("emb", "copy"):
        variable(name, [6, 2])
    key = "emb/.ATTRIBUTES/VARIABLE_VALUE"
    saver = Saver()
    with tf1.Session() as session:
        options = RestoreOptions(name_map={"copy": key})
        with pytest.raises(ArgumentError, match="would both be read from"):
            saver.restore(session, prefix, options=options)
        both = RestoreOptions(name_map={"copy": key, "emb": "emb"})
        assert set(saver.restore(session, prefix, options=both).restored.values()) == {key}


def test_options_of_a_restore_do_not_change_what_the_saver_was_built_with(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"emb": EMB})
    parts = whole("emb")
    with pytest.raises(ArgumentError, match="verify='swap' differs from the Saver's 'before'"):
        restored(prefix, parts, verify="swap", missing="keep")


def test_a_path_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="not a valid checkpoint"):
        restored(str(tmp_path / "none"), whole("emb"), missing="keep")


def restore_eagerly(prefix: str) -> None:
    saver = Saver([tf.Variable(EMB)])
    saver.restore(None, prefix, options=RestoreOptions(missing="keep"))


def test_eager_execution_is_refused(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"emb": EMB})
    # A thread of its own has entered no graph.
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        pytest.raises(GraphStateError, match="need a graph"),
    ):
        pool.submit(restore_eagerly, prefix).result()
