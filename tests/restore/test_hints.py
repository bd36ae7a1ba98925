"""What the error of a restore says when names or shapes do not fit: all of it, and what would."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from autodist.private_apis import tf_variables

tf1 = tf.compat.v1

SHAPES = {"w": [2, 3], "b": [3]}


def save(path: Path, scope: str = "") -> str:
    with tf.Graph().as_default(), tf1.Session() as session:
        for name, shape in SHAPES.items():
            tf1.get_variable(scope + name, shape)
        session.run(tf1.global_variables_initializer())
        return str(tf1.train.Saver().save(session, str(path / "m"), write_meta_graph=False))


def restore(prefix: str, shapes: dict[str, list[int]], **arguments: Any) -> dict[str, Any]:
    variables = {name: tf1.get_variable(name, shape) for name, shape in shapes.items()}
    saver = Saver(**arguments)
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        before = session.run(variables)
        try:
            saver.restore(session, prefix)
        except tf.errors.OpError:
            after = session.run(variables)
            assert all(np.array_equal(before[name], after[name]) for name in variables)
            raise
        return dict(session.run(variables))


def test_all_missing_names_are_listed_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(tf.errors.NotFoundError) as caught:
        restore(save(tmp_path, "dense/"), {"dense/ww": [2, 3], "other": [3]})
    message = caught.value.message
    assert "Key dense/ww not found in checkpoint" in message
    assert "Key other not found in checkpoint" in message
    assert "'dense/ww': nearest are 'dense/w'" in message
    assert "'other': nearest are 'dense/" in message
    assert "RestoreOptions(missing='keep')" in message


@pytest.mark.parametrize(
    ("stored", "wanted", "says"),
    [
        ("", "model/", "without 'model/': Saver({v.op.name[6:]: v for v in variables})"),
        (
            "model/",
            "",
            "with 'model/' in front: Saver({'model/' + v.op.name: v for v in variables})",
        ),
    ],
)
def test_the_renaming_that_would_find_all_is_named(
    tmp_path: Path, stored: str, wanted: str, says: str
) -> None:
    prefix = save(tmp_path, stored)
    with pytest.raises(tf.errors.NotFoundError) as caught:
        restore(prefix, {wanted + name: shape for name, shape in SHAPES.items()})
    assert says in caught.value.message


def test_variables_that_were_saved_part_by_part_are_named(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        for part in range(2):
            tf1.get_variable(f"w/part_{part}", [1, 3])
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(session, str(tmp_path / "m"), write_meta_graph=False)
    with pytest.raises(tf.errors.NotFoundError, match="has 2 variables in its place, w/part_0"):
        restore(prefix, {"w": [2, 3]})


def test_all_shapes_that_differ_are_listed_and_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        restore(save(tmp_path), {"w": [3, 2], "b": [4]})
    message = caught.value.message
    assert "Assign requires shapes of both tensors to match" in message
    assert "'w': the graph has shape [3, 2], the checkpoint [2, 3]" in message
    assert "Saver(reshape=True) restores it" in message
    assert "'b': the graph has shape [4], the checkpoint [3]; the graph has 4 rows" in message
    assert "RestoreOptions(grow={'b': 0}) restores it" in message


def test_the_reshape_that_is_named_restores(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    stored = tf.train.load_checkpoint(prefix).get_tensor("w")
    restored = restore(prefix, {"w": [3, 2]}, reshape=True)
    assert np.array_equal(restored["w"], stored.reshape(3, 2))


def test_another_dtype_keeps_the_text_of_tensorflow(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    tf1.get_variable("w", [2, 3], tf.int32)
    saver = Saver()
    with (
        tf1.Session() as session,
        pytest.raises(tf.errors.InvalidArgumentError, match="expected dtype int32 does not equal"),
    ):
        saver.restore(session, prefix)


def test_another_dtype_is_in_the_summary_once_for_all_slices(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    tf1.get_variable("w", [2, 3], tf.int32, partitioner=tf1.fixed_size_partitioner(2))
    saver = Saver()
    with tf1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError) as caught:
        saver.restore(session, prefix)
    assert caught.value.message.count("tensor_name = w;") == 1
    assert caught.value.message.count("'w': the graph has dtype int32, the checkpoint float32") == 1


def test_a_missing_name_is_listed_once_for_all_slices(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    tf1.get_variable("nothing_like_it", [3, 3], partitioner=tf1.fixed_size_partitioner(3))
    saver = Saver()
    with tf1.Session() as session, pytest.raises(tf.errors.NotFoundError) as caught:
        saver.restore(session, prefix)
    assert caught.value.message.count("Key nothing_like_it") == 1
    assert caught.value.message.count("'nothing_like_it': nearest are") == 1


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "it is a directory, not the prefix of a checkpoint. Did you mean {}?"),
        ("m-7.index", "it is a file of a checkpoint, not its prefix. Did you mean {}?"),
        ("m-7.meta", "it is a file of a checkpoint, not its prefix. Did you mean {}?"),
        ("m-7.data-00000-of-00001", "not its prefix. Did you mean {}?"),
        ("m", "m.index. Did you mean {}?"),
        ("m-8", "m-8.index. Did you mean {}?"),
        ("other/m", "other/m"),
    ],
)
def test_a_path_that_is_no_prefix(tmp_path: Path, path: str, says: str) -> None:
    tf1.get_variable("w", [2, 3])
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        prefix = saver.save(session, str(tmp_path / "m"), 7)
        with pytest.raises(ValueError, match="is not a valid checkpoint") as caught:
            saver.restore(session, str(tmp_path / path))
    assert says.format(prefix) in str(caught.value)


def damage_data(path: Path) -> None:
    with path.with_suffix(".data-00000-of-00001").open("r+b") as file:
        file.write(b"\xff\xff")


def remove_data(path: Path) -> None:
    path.with_suffix(".data-00000-of-00001").unlink()


def leave_temporary_data(path: Path) -> None:
    data = path.with_suffix(".data-00000-of-00001")
    data.rename(f"{data}.tempstate123")


def damage_index(path: Path) -> None:
    path.with_suffix(".index").write_bytes(b"not an index")


@pytest.mark.parametrize("damage", [damage_data, remove_data, leave_temporary_data, damage_index])
def test_damage_says_what_became_of_the_variables_and_what_to_do(
    tmp_path: Path, damage: Any
) -> None:
    tf1.get_variable("w", [2, 3])
    saver = Saver()
    with tf1.Session() as session:
        session.run(tf1.global_variables_initializer())
        former = saver.save(session, str(tmp_path / "former"))
        prefix = saver.save(session, str(tmp_path / "m"))
        damage(Path(prefix))
        with pytest.raises((tf.errors.DataLossError, tf.errors.NotFoundError)) as caught:
            saver.restore(session, prefix)
    assert "The variables of this restore op keep their values." in caught.value.message
    assert f"Restore another checkpoint, such as {former}" in caught.value.message


def test_an_error_of_the_graph_does_not_blame_files_that_are_there(tmp_path: Path) -> None:
    prefix = save(tmp_path)
    Path(f"{prefix}.data-00000-of-00001.tempstate123").touch()
    weights = tf1.get_variable("w", [2, 3], use_resource=False)

    class Checked(tf_variables.SaveableObject):
        def restore(self, tensors: Any, _: Any) -> Any:
            with tf.control_dependencies([tf1.Assert(tf.reduce_all(tensors[0] > 9), ["small"])]):
                return weights.assign(tensors[0])

    specs = [tf_variables.SaveSpec(weights, "", "w")]
    saver = Saver({"w": Checked(weights, specs, "w")})
    with tf1.Session() as session, pytest.raises(tf.errors.InvalidArgumentError) as caught:
        saver.restore(session, prefix)
    assert "assertion failed: [small]" in caught.value.message
    assert "damaged" not in caught.value.message


def test_a_directory_of_the_prefix_name_is_not_read_in_its_place(tmp_path: Path) -> None:
    prefix = save(tmp_path, "dense/")
    Path(prefix).mkdir()
    with pytest.raises(tf.errors.NotFoundError, match="'w': nearest are 'dense/w'"):
        restore(prefix, {"w": [2, 3]})
