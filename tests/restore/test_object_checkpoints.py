"""Object-based checkpoints (`tf.train.Checkpoint`), restored by the names of variables."""

import concurrent.futures
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.private_apis import tf_variables
from autodist.strategy import PartitionedPS

tf1 = tf.compat.v1

TABLE = np.arange(12, dtype=np.float32).reshape([6, 2]) + 1


def eagerly(function: Callable[[], Any]) -> Any:
    """Calls a function in a thread of its own, which executes eagerly."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def save(path: Path, values: dict[str, np.ndarray], **paths: str) -> str:
    """Saves variables by `tf.train.Checkpoint`; returns the prefix.

    Args:
        path: The directory.
        values: By name of the variable.
        **paths: By attribute the name of the variable that it is; by default `its_NAME`.
    """

    def write() -> str:
        named = paths or {f"its_{name}": name for name in values}
        objects = {key: tf.Variable(values[name], name=name) for key, name in named.items()}
        prefix = str(path / "-".join(["objects", *named]))
        return str(tf.train.Checkpoint(**objects).write(prefix))

    return str(eagerly(write))


def partitioned(count: int) -> Any:
    return tf1.get_variable("table", [6, 2], partitioner=tf1.fixed_size_partitioner(count))


def slices() -> list[Any]:
    return list(partitioned(3))


def ref_partitioned() -> Any:
    with tf1.variable_scope("", use_resource=False):
        return partitioned(2)


def columns() -> Any:
    return tf1.get_variable("table", [6, 2], partitioner=tf1.fixed_size_partitioner(2, axis=1))


def saveables() -> list[Any]:
    """The slices as saveable objects of the user's own, which all have the name of the variable."""
    return list(tf_variables.validate_and_slice_inputs({"table": partitioned(3)}))


MAKERS: dict[str, Callable[[], Any]] = {
    "whole": lambda: tf1.get_variable("table", [6, 2]),
    "partitioned": lambda: partitioned(4),
    "slices": slices,
    "ref": ref_partitioned,
    "columns": columns,
    "saveables": saveables,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_slice_gets_its_rows(tmp_path: Path, kind: str) -> None:
    prefix = save(tmp_path, {"table": TABLE, "bias": np.float32(7)})
    made = MAKERS[kind]()
    bias = tf1.get_variable("bias", [])
    saver = Saver([made, bias] if kind != "saveables" else [*made, bias])
    parts = tf1.global_variables()
    parts.remove(bias)
    axis = 1 if kind == "columns" else 0
    with tf1.Session() as session:
        for _ in range(2):
            session.run(tf1.global_variables_initializer())
            saver.restore(session, prefix)
            np.testing.assert_array_equal(np.concatenate(session.run(parts), axis), TABLE)
            assert session.run(bias) == 7
        node_count = len(session.graph.get_operations())
        saver.restore(session, prefix)
        assert len(session.graph.get_operations()) == node_count


def test_saveable_objects_of_one_name_are_all_saved(tmp_path: Path) -> None:
    saver = Saver(saveables())
    with tf1.Session() as session:
        session.run([part.initializer for part in tf1.global_variables()])
        values = np.concatenate(session.run(tf1.global_variables()))
        prefix = saver.save(session, str(tmp_path / "m"))
    np.testing.assert_array_equal(tf.train.load_checkpoint(prefix).get_tensor("table"), values)


def test_a_saveable_object_that_is_given_twice_is_saved_once(tmp_path: Path) -> None:
    table = tf1.get_variable("table", [6, 2], use_resource=False)
    specs = [tf_variables.SaveSpec(table, "", "table")]
    saveable = tf_variables.SaveableObject(table, specs, "table")
    # Nothing restores it.
    saveable.restore = lambda tensors, shapes: tf.no_op()
    saver = Saver([saveable, saveable])
    with tf1.Session() as session:
        session.run(table.initializer)
        prefix = saver.save(session, str(tmp_path / "m"))
        value = session.run(table)
    np.testing.assert_array_equal(tf.train.load_checkpoint(prefix).get_tensor("table"), value)


def test_a_directory_of_the_prefix_name_is_no_matter(tmp_path: Path) -> None:
    prefix = save(tmp_path, {"table": TABLE})
    Path(prefix).mkdir()
    table = tf1.get_variable("table", [6, 2])
    saver = Saver()
    with tf1.Session() as session:
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(table), TABLE)


def test_in_a_finalized_graph_it_is_refused_with_what_to_do(tmp_path: Path) -> None:
    prefix = save(tmp_path, {"table": TABLE})
    tf1.get_variable("table", [6, 2])
    saver = Saver()
    tf1.get_default_graph().finalize()
    with (
        tf1.Session() as session,
        pytest.raises(RuntimeError, match="object-based checkpoint: restoring it adds nodes"),
    ):
        saver.restore(session, prefix)


def test_a_save_that_fails_executing_eagerly_restores_nothing(tmp_path: Path) -> None:
    """Not even where an object-based checkpoint is under its prefix."""
    prefix = save(tmp_path, {"table": TABLE})

    def fail() -> Any:
        raise tf.errors.NotFoundError(None, None, "the value is gone")

    def save_over() -> Any:
        table = tf.Variable(tf.zeros([6, 2]), name="table")
        specs = [tf_variables.SaveSpec(fail, "", "table", tf.float32, "/cpu:0")]

        class Failing(tf_variables.SaveableObject):
            def restore(self, tensors: Any, _: Any) -> Any:
                return table.assign(tensors[0])

        saver = Saver({"table": Failing(table, specs, "table")})
        with pytest.raises(tf.errors.NotFoundError, match="the value is gone"):
            saver.save(None, prefix)
        return table.numpy()

    np.testing.assert_array_equal(eagerly(save_over), np.zeros([6, 2]))


def test_two_checkpoints_with_other_keys_one_after_the_other(tmp_path: Path) -> None:
    first = save(tmp_path, {"table": TABLE})
    second = save(tmp_path, {"table": TABLE + 50}, elsewhere="table")
    table = partitioned(3)
    saver = Saver()
    with tf1.Session() as session:
        for prefix, value in ((first, TABLE), (second, TABLE + 50), (first, TABLE)):
            saver.restore(session, prefix)
            np.testing.assert_array_equal(session.run(table.as_tensor()), value)


def test_a_distributed_session_restores_it(tmp_path: Path) -> None:
    prefix = save(tmp_path, {"table": TABLE})
    spec = tmp_path / "spec.yml"
    spec.write_text("nodes: [{address: localhost, cpus: [0, 1]}]\n")
    autodist = AutoDist(str(spec), PartitionedPS())
    with tf.Graph().as_default(), autodist.scope():
        rows = tf1.placeholder(tf.int32, [None])
        table = tf1.get_variable("table", [6, 2])
        loss = tf.reduce_sum(tf.gather(table, rows) ** 2)
        tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
        saver = Saver()
        session = autodist.create_distributed_session()
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(table), TABLE)


def test_a_sharded_variable_gets_all_shards_executing_eagerly(tmp_path: Path) -> None:
    prefix = save(tmp_path, {"table": TABLE})

    def restore() -> Any:
        shards = [tf.Variable(tf.zeros([3, 2]), name=f"table/part_{part}") for part in range(2)]
        saver = Saver([tf_variables.ShardedVariable(shards, name="table")])
        saver.restore(None, prefix)
        return np.concatenate([shard.numpy() for shard in shards])

    np.testing.assert_array_equal(eagerly(restore), TABLE)


def test_missing_names_are_listed_once(tmp_path: Path) -> None:
    prefix = save(tmp_path, {"tabel": TABLE})
    partitioned(3)
    saver = Saver()
    with tf1.Session() as session, pytest.raises(tf.errors.NotFoundError) as caught:
        saver.restore(session, prefix)
    assert caught.value.message.count("'table'") == 1
    assert "nearest are 'tabel'" in caught.value.message
    assert "Saver({name in the checkpoint: variable})" in caught.value.message


def test_a_name_that_two_objects_had_is_refused(tmp_path: Path) -> None:
    prefix = save(tmp_path, {"table": TABLE}, left="table", right="table")
    table = tf1.get_variable("table", [6, 2])
    with tf1.Session() as session:
        session.run(table.initializer)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"'left/.*'right/"):
            Saver().restore(session, prefix)
        Saver({"right/.ATTRIBUTES/VARIABLE_VALUE": table}).restore(session, prefix)
        np.testing.assert_array_equal(session.run(table), TABLE)
