"""Estimator jobs with one import of ours: a chief, two parameter servers and an evaluator."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from support.ports import free_ports
from support.python_programs import read_until, starting

if not hasattr(tf, "estimator"):
    pytest.skip("TensorFlow has no Estimator after 2.15", allow_module_level=True)

from support.estimator import wide_and_deep

tf1 = tf.compat.v1
STEPS = 20


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str]]:
    """A job that has ended: its directory, and what its chief and its evaluator said."""
    directory = tmp_path_factory.mktemp("job")
    chief, *servers = (f"127.0.0.1:{port}" for port in free_ports(3))
    cluster = {"chief": [chief], "ps": servers}
    with starting() as start:

        def begin(kind: str, index: int) -> Any:
            config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
            program = ("-m", "support.estimator.wide_and_deep", directory, STEPS)
            return start(*program, TF_CONFIG=config)

        for index in range(2):
            read_until(begin("ps", index), "begins")
        processes = begin("chief", 0), begin("evaluator", 0)
        yield directory, *(read_until(process, "done\n") for process in processes)


@pytest.fixture(scope="module")
def prefix(job: tuple[Path, str, str]) -> str:
    found: str = tf.train.latest_checkpoint(str(job[0] / "model"))
    return found


def save_on_one_node(prefix: str, path: Path) -> None:
    """Has stock save the values of a checkpoint from the same model without servers."""
    reader = tf.train.load_checkpoint(prefix)
    config = wide_and_deep.make_config(path.parent)
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.train.create_global_step()
        features, labels = tf1.data.make_one_shot_iterator(wide_and_deep.input_fn()).get_next()
        canned = wide_and_deep.make_canned(config)
        canned.model_fn(features, labels, tf.estimator.ModeKeys.TRAIN, config)
        for variable in tf1.global_variables():
            # Canned Estimators have `part_0` in the name of a variable in one piece, and of its slots.
            name = variable.op.name.replace("/part_0", "")
            variable.load(reader.get_tensor(name), session)
        tf1.train.Saver().save(session, str(path), write_meta_graph=False)


def read(prefix: str) -> list[bytes]:
    return [Path(f"{prefix}{end}").read_bytes() for end in (".index", ".data-00000-of-00001")]


def test_the_bytes_are_those_of_stock_on_one_node(prefix: str, tmp_path: Path) -> None:
    assert prefix.endswith(f"-{STEPS}")
    save_on_one_node(prefix, tmp_path / "stock")
    assert read(prefix) == read(str(tmp_path / "stock"))


def test_every_server_writes_its_own_shards(job: tuple[Path, str, str]) -> None:
    # After the initialization, and after each ten steps.
    assert job[1].count("every task wrote its variables") == 1 + STEPS // 10
    assert "WARNING" not in job[1]


def test_the_evaluator_reads_each_checkpoint(job: tuple[Path, str, str]) -> None:
    directory, _, evaluator = job
    assert "evaluator done" in evaluator
    (exported,) = (directory / "model" / "export" / "final").iterdir()
    assert predict(exported).shape == (2, 2)


def predict(exported: Path) -> np.ndarray:
    """What a SavedModel says in plain TensorFlow."""
    signature = tf.saved_model.load(str(exported)).signatures["predict"]
    features, _ = wide_and_deep.make_inputs()
    named = {name: tf.constant(values[:2]) for name, values in features.items()}
    probabilities: np.ndarray = signature(**named)["probabilities"].numpy()
    return probabilities


def test_an_export_has_the_trained_values(job: tuple[Path, str, str], prefix: str) -> None:
    (exported,) = (job[0] / "exported").iterdir()
    reader = tf.train.load_checkpoint(str(exported / "variables" / "variables"))
    shapes = reader.get_variable_to_shape_map()
    assert any(shape == [wide_and_deep.USERS, 8] for shape in shapes.values())
    for name in shapes:
        np.testing.assert_array_equal(reader.get_tensor(name), tf.train.load_variable(prefix, name))


def test_training_begins_from_the_checkpoint(prefix: str, tmp_path: Path) -> None:
    config = wide_and_deep.make_config(tmp_path / "model")
    estimator = wide_and_deep.make_estimator(config, warm_start_from=prefix)
    estimator.train(wide_and_deep.input_fn, max_steps=1)
    first = tf.train.load_checkpoint(str(tmp_path / "model" / "model.ckpt-0"))
    for name in first.get_variable_to_shape_map():
        if "embedding_weights" in name and "/Adagrad" not in name:
            expected = tf.train.load_variable(prefix, name)
            np.testing.assert_array_equal(first.get_tensor(name), expected)
