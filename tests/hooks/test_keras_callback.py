"""`AsyncCheckpointCallback`: checkpoints of `fit` in the background, with the values of the step in their names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import autodist
from autodist.autodist import AutoDist
from autodist.errors import ArgumentError
from autodist.strategy import PartitionedPS
from support.specs import write_local_spec

tf1 = tf.compat.v1
pytestmark = pytest.mark.filterwarnings("ignore:`Model.state_updates`:UserWarning")
X = np.ones([16, 3], np.float32)
Y = np.zeros([16, 1], np.float32)


@pytest.fixture(autouse=True)
def fresh_keras() -> Iterator[None]:
    """Keras keeps one session per thread."""
    yield
    tf_keras.src.backend._SESSION.session = None


def build_model() -> Any:
    """A model whose weights are 0.5 for each step that they have seen: its loss is their sum."""
    layer = tf_keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = tf_keras.Sequential([tf_keras.Input((3,)), layer])
    optimizer = tf_keras.optimizers.legacy.SGD(0.5, momentum=0.5)
    model.compile(optimizer, lambda true, predicted: -predicted)
    return model


def steps_in(directory: Path) -> list[int]:
    state = tf.train.get_checkpoint_state(str(directory))
    return [int(path.rpartition("-")[2]) for path in state.all_model_checkpoint_paths]


@pytest.mark.parametrize("is_distributed", [False, True])
@pytest.mark.parametrize(("save_freq", "expected"), [("epoch", [4, 8, 12]), (5, [5, 10, 12])])
def test_fit_saves(
    save_freq: Any, expected: list[int], is_distributed: bool, tmp_path: Path
) -> None:
    callback = autodist.AsyncCheckpointCallback(
        str(tmp_path / "train" / "m"), save_freq=save_freq, consistency="step", when_busy="wait"
    )
    with tf.Graph().as_default():
        if is_distributed:
            scope = AutoDist(write_local_spec(tmp_path), PartitionedPS(min_variable_bytes=0))
            with scope.scope():
                build_model().fit(X, Y, 4, epochs=3, verbose=0, callbacks=[callback])
        else:
            build_model().fit(X, Y, 4, epochs=3, verbose=0, callbacks=[callback])
    assert steps_in(tmp_path / "train") == expected
    momentum, weight, by_step = 0.0, 0.0, {}
    for step in range(1, 13):
        momentum = 0.5 * momentum + 0.5
        weight += momentum
        by_step[step] = weight, momentum
    for step in expected:
        reader = tf.train.load_checkpoint(str(tmp_path / "train" / f"m-{step}"))
        values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        slots = {name for name in values if name.endswith("kernel/momentum")}
        kernels = {name for name in values if name.endswith("kernel")}
        assert slots
        assert kernels
        np.testing.assert_allclose([values[name] for name in kernels], by_step[step][0], rtol=1e-6)
        np.testing.assert_allclose([values[name] for name in slots], by_step[step][1], rtol=1e-6)


def test_an_error_is_raised_at_the_end_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    callback = autodist.AsyncCheckpointCallback(str(tmp_path / "file" / "m"), consistency="step")
    with tf.Graph().as_default(), pytest.raises((tf.errors.OpError, ValueError)):
        build_model().fit(X, Y, 4, verbose=0, callbacks=[callback])


def test_the_last_step_is_saved_after_an_error(tmp_path: Path) -> None:
    """The save of step 2 fails: a directory has the name of its graph."""
    (tmp_path / "m-2.meta").mkdir()
    (tmp_path / "m-2.meta" / "file").touch()
    callback = autodist.AsyncCheckpointCallback(
        str(tmp_path / "m"), save_freq=2, consistency="step", when_busy="wait"
    )
    with (
        tf.Graph().as_default(),
        pytest.raises(tf.errors.OpError, match="a save in the background failed: "),
    ):
        build_model().fit(X[:12], Y[:12], 4, verbose=0, callbacks=[callback])
    assert steps_in(tmp_path) == [3]


@pytest.mark.parametrize("save_freq", ["batch", 0])
def test_what_cannot_be_used_is_refused(save_freq: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="save_freq must be"):
        autodist.AsyncCheckpointCallback(str(tmp_path / "m"), save_freq=save_freq)
