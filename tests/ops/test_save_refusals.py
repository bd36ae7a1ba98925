"""What a save refuses, in which words, and that nothing is on disk afterwards."""

from pathlib import Path
from types import ModuleType

import pytest
import tensorflow as tf

from support.save_ops import Entry, read_bundle, save, save_stock

tf1 = tf.compat.v1

ROWS = tf.constant([[1.0, 2.0], [3.0, 4.0]]).numpy()

BAD_ENTRIES = {
    "a hole": (
        [("w", ROWS, "10 2 0,2:-"), ("w", ROWS, "10 2 8,2:-")],
        r"variable 'w': .*\[0, 2\) and \[8, 10\) of 10.*\[2, 8\)",
    ),
    "an overlap": (
        [("w", ROWS, "3 2 0,2:-"), ("w", ROWS, "3 2 1,2:-")],
        r"variable 'w': .*\[0, 2\) x \[0, 2\).*\[1, 3\) x \[0, 2\)",
    ),
    "shards of two dtypes": (
        [("w", ROWS, "4 2 0,2:-"), ("w", ROWS.astype(int), "4 2 2,2:-")],
        r"variable 'w': .*dtype: float in shard \[0, 2\).* int64 in shard \[2, 4\)",
    ),
    "replicas of two dtypes": (
        [("w", ROWS), ("w", ROWS.astype(int))],
        r"variable 'w': .*dtype: float .*int64",
    ),
    "replicas of two shapes": (
        [("w", ROWS), ("w", ROWS[:1])],
        r"variable 'w': .*\[2, 2\] and \[1, 2\]",
    ),
    "two full shapes": (
        [("w", ROWS, "4 2 0,2:-"), ("w", ROWS, "5 2 2,2:-")],
        r"variable 'w': .*full shape: \[4, 2\] and \[5, 2\]",
    ),
    "a value too small for its slice": (
        [("w", ROWS, "3 2 -:-")],
        r"variable 'w': shard \[0, 3\) x \[0, 2\) needs a value of shape \[3, 2\], got one of shape \[2, 2\]",
    ),
    "a slice past the end": (
        [("w", ROWS, "4 2 3,2:-")],
        r"variable 'w': .*takes 2 from 3 along axis 0.*\[4, 2\]",
    ),
    "a slice past the largest number": (
        [("w", ROWS, "4 2 9223372036854775807,9223372036854775807:-")],
        r"variable 'w': .*along axis 0",
    ),
    "a slice of another rank": (
        [("w", ROWS, "4 2 0,2")],
        r"variable 'w': .*2 dimensions but a slice of 1",
    ),
    "a slice without numbers": (
        [("w", ROWS, "4 2 x,2:-")],
        r"variable 'w': shape and slice '4 2 x,2:-' .*",
    ),
    "a shape without numbers": ([("w", ROWS, "4 x 0,2:-")], r"variable 'w': .*bad dimension 'x'"),
    "a negative dimension": ([("w", ROWS, "-4 2 0,2:-")], r"variable 'w': .*bad dimension '-4'"),
    "more elements than can be counted": (
        [("w", ROWS, "4611686018427387904 4 0,2:-")],
        r"variable 'w': .*too many elements",
    ),
    "no slice": ([("w", ROWS, "4")], r"variable 'w': .*dimensions followed by a slice"),
    "no name": ([("", ROWS)], r"name of a variable is empty"),
    "two aggregations": (
        [("w", ROWS, "", "MEAN"), ("w", ROWS, "", "SUM")],
        r"variable 'w': .*aggregation: MEAN and SUM",
    ),
    "an unknown aggregation": ([("w", ROWS, "", "MEDIAN")], r"variable 'w': aggregation 'MEDIAN'"),
    "a sum of truth values": (
        [("w", ROWS > 1, "", "SUM")] * 2,
        r"variable 'w': aggregation SUM of 2 replicas of shard \[0, 2\) x \[0, 2\) .*bool",
    ),
    "a sum of strings": (
        [("w", "a", "", "SUM")] * 2,
        r"variable 'w': aggregation SUM of 2 replicas .*string",
    ),
}


@pytest.mark.parametrize("what", BAD_ENTRIES)
def test_a_save_is_refused_for(
    what: str,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    entries, message = BAD_ENTRIES[what]
    bad = [Entry(name, tf.constant(value), *rest) for name, value, *rest in entries]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        session.run(save(tmp_path / "new" / "ckpt", [Entry("good", tf.constant(1.0)), *bad]))
    assert list(tmp_path.iterdir()) == []


def test_an_overlap_is_refused_among_slices_too(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    entries = [Entry("w", tf.constant(ROWS), spec) for spec in ("3 2 0,2:-", "3 2 1,2:-")]
    with pytest.raises(tf.errors.InvalidArgumentError, match="variable 'w': "):
        session.run(save(tmp_path / "ckpt", entries, layout="slices"))


def test_slices_of_which_another_task_saves_the_rest_are_written(
    *,
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    entries = [Entry("w", tf.constant(ROWS), "10 2 4,2:-")]
    session.run(
        [save(tmp_path / "ours", entries, layout="slices"), save_stock(tmp_path / "stock", entries)]
    )
    assert read_bundle(tmp_path / "ours") == read_bundle(tmp_path / "stock")


def test_an_uninitialized_variable_is_refused_in_tensorflows_words(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    variable = tf1.get_variable("w", initializer=ROWS, use_resource=True)
    with pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable w"):
        session.run(save(tmp_path / "ckpt", [Entry("w", variable)]))
    assert list(tmp_path.iterdir()) == []


def test_an_uninitialized_ref_variable_is_refused(
    tmp_path: Path,
    session: tf1.Session,
) -> None:
    variable = tf1.get_variable("w", initializer=ROWS, use_resource=False)
    with pytest.raises(tf.errors.FailedPreconditionError, match="uninitialized value w"):
        session.run(save(tmp_path / "ckpt", [Entry("w", variable._ref())]))
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_is_no_pin_is_refused(
    tmp_path: Path, session: tf1.Session, ops: ModuleType
) -> None:
    pins = tf.raw_ops.EmptyTensorList(
        element_shape=[1], max_num_elements=1, element_dtype=tf.float32
    )
    names = {"tensor_names": ["w"], "shape_and_slices": [""], "aggregations": ["MEAN"]}
    op = ops.autodist_save(
        prefix=str(tmp_path / "c"), pins=[pins], tensors=[], value_index=[0], **names
    )
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="not the value of AutodistPinVariables"
    ):
        session.run(op)


@pytest.mark.parametrize("index", [-1, 1])
def test_an_index_outside_the_values_is_refused(
    index: int, tmp_path: Path, session: tf1.Session, ops: ModuleType
) -> None:
    names = {"tensor_names": ["w"], "shape_and_slices": [""], "aggregations": ["MEAN"]}
    op = ops.autodist_save(
        prefix=str(tmp_path / "c"), pins=[], tensors=[1.0], value_index=[index], **names
    )
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=f"value_index {index} is outside the 1 values"
    ):
        session.run(op)


def test_shapes_are_checked_when_the_graph_is_built(tmp_path: Path, ops: ModuleType) -> None:
    with (
        tf.Graph().as_default(),
        pytest.raises(ValueError, match="Dimension 0 in both shapes must be equal"),
    ):
        ops.autodist_save(
            prefix=str(tmp_path / "c"), tensor_names=["a", "b"], shape_and_slices=[""], aggregations=["MEAN"] * 2,
            pins=[], tensors=[1.0], value_index=[0],
        )  # fmt: skip
