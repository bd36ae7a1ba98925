"""Restores that rename, leave out, grow and cast, into variables of one process."""

import concurrent.futures
import logging
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

tf1 = tf.compat.v1

EMB = np.arange(12, dtype=np.float32).reshape(6, 2) / 7
FORMER = np.float32(-5)


def stored(directory: Path, values: dict[str, Any], name: str = "m") -> str:
    """Saves values with stock TensorFlow; returns the prefix."""
    with tf.Graph().as_default(), tf1.Session() as session:
        for key, value in values.items():
            tf1.get_variable(key, initializer=value, use_resource=True)
        session.run(tf1.global_variables_initializer())
        prefix = str(directory / name)
        return str(tf1.train.Saver().save(session, prefix, write_meta_graph=False))


def variable(name: str, shape: list[int], dtype: Any = tf.float32, **arguments: Any) -> Any:
    initializer = arguments.pop("initializer", tf1.constant_initializer(1))
    arguments.setdefault("use_resource", True)
    return tf1.get_variable(name, shape, dtype, initializer, **arguments)


def whole(name: str, rows: int = 6, dtype: Any = tf.float32) -> list[Any]:
    return [variable(name, [rows, 2], dtype)]


def ref(name: str, rows: int = 6, dtype: Any = tf.float32) -> list[Any]:
    return [variable(name, [rows, 2], dtype, use_resource=False)]


def by_hand(name: str, rows: int = 6, dtype: Any = tf.float32) -> list[Any]:
    parts = variable(name, [rows, 2], dtype, partitioner=tf1.fixed_size_partitioner(3))
    return list(parts)


def by_columns(name: str, rows: int = 6, dtype: Any = tf.float32) -> list[Any]:
    parts = variable(name, [rows, 2], dtype, partitioner=tf1.fixed_size_partitioner(2, axis=1))
    return list(parts)


KINDS: dict[str, Callable[..., list[Any]]] = {
    "whole": whole,
    "ref": ref,
    "by_hand": by_hand,
    "by_columns": by_columns,
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    return KINDS[request.param]


def value_of(session: Any, parts: list[Any]) -> Any:
    axis = 1 if len(parts) == 2 else 0
    return np.concatenate(session.run(parts), axis)


def restored(prefix: str, parts: list[Any], *, fills: bool = True, **options: Any) -> Any:
    """The value of a variable after a restore, and the report."""
    saver = Saver()
    with tf1.Session() as session:
        if fills:
            session.run(tf1.global_variables_initializer())
            session.run(
                [
                    part.assign(tf.fill(part.shape, tf.cast(FORMER, part.dtype.base_dtype)))
                    for part in parts
                ]
            )
        report = saver.restore(session, prefix, options=RestoreOptions(**options))
        return value_of(session, parts), report


def test_another_name_is_read(tmp_path: Path, make: Any) -> None:
    value, report = restored(stored(tmp_path, {"old": EMB}), make("emb"), name_map={"emb": "old"})
    np.testing.assert_array_equal(value, EMB)
    assert report.renamed == {"emb": "old"}


@pytest.mark.parametrize("fills", [False, True])
def test_a_missing_variable_is_kept(tmp_path: Path, make: Any, *, fills: bool) -> None:
    prefix = stored(tmp_path, {"other": EMB})
    parts, other = make("emb"), variable("other", [6, 2])
    saver = Saver()
    with tf1.Session() as session:
        if fills:
            session.run(tf1.global_variables_initializer())
        report = saver.restore(session, prefix, options=RestoreOptions(missing="keep"))
        np.testing.assert_array_equal(session.run(other), EMB)
        if fills:
            np.testing.assert_array_equal(value_of(session, parts), np.ones([6, 2]))
        else:
            assert len(session.run(tf1.report_uninitialized_variables())) == len(parts)
    assert report.kept == ("emb",)
    assert report.restored == {"other": "other"}


def test_a_missing_variable_is_initialized(tmp_path: Path, make: Any) -> None:
    prefix = stored(tmp_path, {"other": EMB})
    variable("other", [6, 2])
    value, report = restored(prefix, make("emb"), missing="initialize")
    np.testing.assert_array_equal(value, np.ones([6, 2]))
    assert report.initialized == ("emb",)


@pytest.mark.parametrize(
    ("rest", "base"),
    [("initialize", 1), ("keep", FORMER), ("zeros", 0), (tf1.constant_initializer(9), 9)],
)
def test_a_variable_grows(tmp_path: Path, make: Any, rest: Any, base: float) -> None:
    prefix = stored(tmp_path, {"emb": EMB})
    value, report = restored(prefix, make("emb", 11), grow={"emb": Growth(rest=rest)})
    expected = np.concatenate([EMB, np.full([5, 2], base, np.float32)])
    np.testing.assert_array_equal(value, expected)
    assert (report.grown["emb"].taken_rows, report.grown["emb"].rows) == (6, 11)


def test_columns_grow(tmp_path: Path, make: Any) -> None:
    prefix = stored(tmp_path, {"emb": EMB[:, :1]})
    value, _ = restored(prefix, make("emb"), grow={"*": 1})
    np.testing.assert_array_equal(value, np.stack([EMB[:, 0], np.ones(6)], 1))


def test_grown_renamed_and_cast_at_once_with_its_slot(tmp_path: Path, make: Any) -> None:
    half = EMB.astype(np.float16)
    prefix = stored(tmp_path, {"old": half, "old/Momentum": -half, "unused": np.zeros(3)})
    emb = make("emb", 9)
    optimizer = tf1.train.MomentumOptimizer(1.0, 0.9)
    optimizer.minimize(tf.add_n([tf.reduce_sum(tf.identity(part)) for part in emb]))
    slot = [optimizer.get_slot(part, "momentum") for part in emb]
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        options = RestoreOptions(name_map={"emb": "old"}, grow={"emb": 0}, cast=True)
        report = saver.restore(session, prefix, options=options)
        for parts, sign, rest in ((emb, 1, 1), (slot, -1, 0)):
            expected = np.concatenate([sign * half.astype(np.float32), np.full([3, 2], rest)])
            np.testing.assert_array_equal(value_of(session, parts), expected)
    assert report.cast == {"emb": ("float16", "float32"), "emb/Momentum": ("float16", "float32")}
    assert report.unexpected == ("unused",)


@pytest.mark.parametrize("rest", ["zeros", tf1.constant_initializer(-9)])
def test_new_rows_of_a_slot_begin_as_the_optimizer_says(tmp_path: Path, rest: Any) -> None:
    """Zeros or negative numbers in Adagrad's accumulator would give infinite or no numbers."""
    prefix = stored(tmp_path, {"emb": EMB, "emb/Adagrad": EMB + 1})
    (emb,) = whole("emb", 9)
    optimizer = tf1.train.AdagradOptimizer(1.0, initial_accumulator_value=0.1)
    optimizer.minimize(tf.reduce_sum(emb))
    saver = Saver()
    with tf1.Session() as session:
        saver.restore(session, prefix, options=RestoreOptions(grow={"emb": Growth(rest=rest)}))
        slot = session.run(optimizer.get_slot(emb, "accumulator"))
    np.testing.assert_array_equal(slot[:6], EMB + 1)
    np.testing.assert_array_equal(slot[6:], np.full([3, 2], 0.1, np.float32))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64, tf.float32])
@pytest.mark.parametrize("origin", [tf.float32, tf.bfloat16, tf.float16])
def test_floats_are_cast_as_by_numpy(tmp_path: Path, dtype: Any, origin: Any) -> None:
    value = EMB.astype(origin.as_numpy_dtype)
    prefix = stored(tmp_path, {"emb": value})
    found, report = restored(prefix, by_hand("emb", dtype=dtype), cast=True)
    assert found.dtype == dtype.as_numpy_dtype
    assert found.tobytes() == value.astype(dtype.as_numpy_dtype).tobytes()
    assert bool(report.cast) == (dtype != origin)


def test_slices_of_any_dtype_are_cast(tmp_path: Path) -> None:
    """Stock TensorFlow cannot read slices of float16 as a whole."""
    with tf.Graph().as_default(), tf1.Session() as session:
        by_hand("emb", dtype=tf.float16)
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(session, str(tmp_path / "m"), write_meta_graph=False)
    value, _ = restored(prefix, by_columns("emb"), cast=True)
    np.testing.assert_array_equal(value, np.ones([6, 2]))


def test_a_finalized_graph_is_restored(tmp_path: Path) -> None:
    prefix = stored(tmp_path, {"old": EMB.astype(np.float64)})
    parts = by_hand("emb", 8)
    saver = Saver(
        restore_options=RestoreOptions(name_map=[("e.*", "old")], grow={"emb": 0}, cast=True)
    )
    tf1.get_default_graph().finalize()
    with tf1.Session() as session:
        saver.restore(session, prefix)
        np.testing.assert_array_equal(value_of(session, parts)[:6], EMB)


@pytest.mark.parametrize("sharded", [False, True])
def test_every_saver_may_be_flexible(tmp_path: Path, *, sharded: bool) -> None:
    prefix = stored(tmp_path, {"emb": EMB.reshape(3, 4), "text": np.array([b"a", b"bc"])})
    emb, extra = variable("emb", [6, 2]), variable("extra", [2])
    text = variable("other", [2], tf.string, initializer=tf1.constant_initializer("x"))
    saver = Saver(reshape=True, sharded=sharded)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        options = RestoreOptions(missing="keep", name_map={"other": "text"})
        saver.restore(session, prefix, options=options)
        np.testing.assert_array_equal(session.run(emb), EMB)
        assert session.run(text).tolist() == [b"a", b"bc"]
        np.testing.assert_array_equal(session.run(extra), np.ones(2))


def test_tables_are_restored_under_another_name(tmp_path: Path) -> None:
    def table(name: str) -> Any:
        return tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.float32, 0.0, empty_key=-1, deleted_key=-2, name=name
        )

    with tf.Graph().as_default(), tf1.Session() as session:
        session.run(table("old").insert(tf.constant([3], tf.int64), [5.0]))
        prefix = tf1.train.Saver().save(session, str(tmp_path / "m"), write_meta_graph=False)
    made, weights = table("new"), variable("weights", [2])
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        options = RestoreOptions(
            missing="initialize", name_map=lambda name: name.replace("new", "old")
        )
        saver.restore(session, prefix, options=options)
        assert session.run(made.lookup(tf.constant([3], tf.int64))).tolist() == [5.0]
        np.testing.assert_array_equal(session.run(weights), np.ones(2))


def test_an_object_based_checkpoint_is_read_by_names(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        emb = variable("model/emb", [6, 2], initializer=tf1.constant_initializer(EMB))
        session.run(tf1.global_variables_initializer())
        with session.as_default():
            prefix = tf.train.Checkpoint(emb=emb).save(str(tmp_path / "c"))
    value, report = restored(
        prefix, by_hand("emb", 7), name_map={"emb": "model/emb"}, grow={"emb": 0}
    )
    np.testing.assert_array_equal(value[:6], EMB)
    assert report.restored["emb"].endswith(".ATTRIBUTES/VARIABLE_VALUE")


def test_a_checkpoint_of_the_v1_format_is_renamed_and_cast(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        variable("old", [6, 2])
        variable("same", [2], initializer=tf1.constant_initializer(4))
        session.run(tf1.global_variables_initializer())
        saver = tf1.train.Saver(write_version=tf1.train.SaverDef.V1)
        prefix = saver.save(session, str(tmp_path / "v1"), write_meta_graph=False)
    same = variable("same", [2])
    value, _ = restored(prefix, whole("emb", dtype=tf.float64), name_map={"emb": "old"}, cast=True)
    np.testing.assert_array_equal(value, np.ones([6, 2]))
    assert same.shape == [2]


def test_each_option_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prefix = stored(tmp_path, {"old": EMB, "half": np.float16(3), "unused": np.float32(1)})
    variable("half", [])
    variable("a", [2])
    variable("b", [2])
    with caplog.at_level(logging.INFO, logger="autodist"):
        restored(
            prefix,
            whole("emb", 8),
            missing="keep",
            unexpected="warn",
            name_map={"emb": "old"},
            grow={"emb": 0},
            cast=True,
        )
    # Every value is made, so no line tells of values that were read as they are stored.
    lines = [record.getMessage().removeprefix(prefix + ": ") for record in caplog.records]
    assert lines == [
        "name_map: 1 read under another name: emb <- old",
        "grow: 1 grown: emb (6 of 8 rows of axis 0 from 6 stored ones, the rest: initialize)",
        "cast: 1 cast: half (float16 -> float32)",
        "missing='keep': 2 not in the checkpoint, not changed: a, b",
        "no variable takes 1 name of the checkpoint: unused",
    ]
    assert caplog.records[-1].levelno == logging.WARNING


def test_a_dry_run_touches_nothing(tmp_path: Path, make: Any) -> None:
    prefix = stored(tmp_path, {"emb": EMB, "unused": EMB})
    variable("extra", [3])
    value, report = restored(
        prefix, make("emb", 8), missing="initialize", grow={"emb": 0}, dry_run=True
    )
    np.testing.assert_array_equal(value, np.full([8, 2], FORMER))
    assert report.is_dry_run
    assert (report.initialized, report.unexpected) == (("extra",), ("unused",))
    assert "6 of 8 rows of axis 0" in str(report)


def test_a_dry_run_alone_tells_what_a_restore_would_do(tmp_path: Path) -> None:
    value, report = restored(stored(tmp_path, {"emb": EMB}), whole("emb"), dry_run=True)
    np.testing.assert_array_equal(value, np.full([6, 2], FORMER))
    assert report.restored == {"emb": "emb"}


def test_without_options_nothing_is_returned(tmp_path: Path) -> None:
    value, report = restored(stored(tmp_path, {"emb": EMB}), whole("emb"))
    np.testing.assert_array_equal(value, EMB)
    assert report is None


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
