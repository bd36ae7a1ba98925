"""What a save of one instant says is not of that instant: ref variables, tables and computed values."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from autodist.private_apis.tf_variables import SaveableObject, SaveSpec
from support.checkpoint.instant_job import NAMES, Chain, check_instant
from support.threads import training

tf1 = tf.compat.v1


@pytest.fixture
def session() -> Iterator[Any]:
    with tf.Graph().as_default(), tf1.Session() as session:
        yield session


class Computed(SaveableObject):
    """A value that is computed when it is saved."""

    def __init__(self, value: Any) -> None:
        spec = SaveSpec(value, "", "computed", dtype=value.dtype)
        super().__init__(value, [spec], "computed")

    def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
        del restored_shapes
        return tf.identity(restored_tensors[0])


def test_what_is_not_of_the_instant_is_named_and_saved(
    session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "autodist")
    chain = Chain()
    reference = tf1.get_variable("by_reference", initializer=[1.0, 2.0], use_resource=False)
    words = tf.lookup.experimental.MutableHashTable(
        tf.string, tf.int64, -1, name="words", experimental_is_anonymous=False
    )
    computed = Computed(tf.constant([3.0]) + reference[0])
    saver = Saver([*tf1.global_variables(), computed, *tf1.get_collection("saveable_objects")])
    insert = words.insert(tf.constant(["a"]), tf.constant([7], tf.int64))
    session.run([tf1.global_variables_initializer(), insert])
    session.run(chain.step)
    with training(session, chain.step):
        handle = saver.save_async(session, str(tmp_path / "m"), consistency="instant")
        path = handle.result()
    check_instant(path)
    others = handle.report.ops.other_values.split(", ")
    assert sorted(others) == ["by_reference", "computed", "words-keys", "words-values"]
    assert f"of other times: {handle.report.ops.other_values}" in caplog.text
    reader = tf.train.load_checkpoint(path)
    assert reader.get_tensor("by_reference").tolist() == [1.0, 2.0]
    assert reader.get_tensor("computed").tolist() == [4.0]
    assert reader.get_tensor("words-values").tolist() == [7]


def test_a_graph_of_ref_variables_alone_is_refused(session: Any, tmp_path: Path) -> None:
    variable = tf1.get_variable("by_reference", initializer=[1.0, 2.0], use_resource=False)
    saver = Saver()
    session.run(tf1.global_variables_initializer())
    for is_first in (True, False):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        assert is_first == (not before)
        with pytest.raises(ValueError, match="reads no resource variable, but only ref") as caught:
            saver.save(session, str(tmp_path / "m"), consistency="instant")
        assert "Nothing was saved. Save with consistency='shard'" in str(caught.value)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        saver.save(session, str(tmp_path / "m"))
        session.run(variable.assign([3.0, 4.0]))


def test_many_names_are_cut_short(session: Any, tmp_path: Path) -> None:
    chain = Chain()
    for number in range(12):
        tf1.get_variable(f"ref{number:02}", initializer=[1.0], use_resource=False)
    saver = Saver()
    session.run(tf1.global_variables_initializer())
    session.run(chain.step)
    handle = saver.save_async(session, str(tmp_path / "m"), consistency="instant")
    assert set(NAMES) < set(tf.train.load_checkpoint(handle.result()).get_variable_to_shape_map())
    names = handle.report.ops.other_values.split(", ")
    assert names == [*(f"ref{number:02}" for number in range(10)), "..."]
