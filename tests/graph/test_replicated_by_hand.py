"""Losses that are no means: training is that of one node, or, by choice, that of the graph replicated by hand."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from autodist.layout.grid import sub_batch_bounds
from support.strategies import CUTS

tf1 = tf.compat.v1
DTYPE = tf.float64
SIZES = (8, 7, 6, 9, 5)
STEPS = 20
DECAY = 0.9


def batch_norm(x: Any, y: Any, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Batch statistics of the part, and moving averages of them."""
    hidden = tf.matmul(x, values["kernel"])
    mean, variance = tf.nn.moments(hidden, [0])
    normed = tf.nn.batch_normalization(
        hidden, mean, variance, values["beta"], values["gamma"], 1e-3
    )
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(normed, 1) - y))
    return loss, {"moving_mean": mean, "moving_variance": variance}


def fused_batch_norm(x: Any, y: Any, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    hidden = tf.cast(tf.matmul(x, values["kernel"]), tf.float32)[:, None, None, :]
    scale, offset = (tf.cast(values[name], tf.float32) for name in ("gamma", "beta"))
    normed, mean, variance = tf1.nn.fused_batch_norm(hidden, scale, offset, epsilon=1e-3)
    normed = tf.cast(normed[:, 0, 0, :], DTYPE)
    loss = tf.reduce_mean(tf.square(tf.reduce_sum(normed, 1) - y))
    averages = {"moving_mean": mean, "moving_variance": variance}
    return loss, {name: tf.cast(value, DTYPE) for name, value in averages.items()}


def predict(x: Any, values: dict[str, Any]) -> Any:
    return tf.sigmoid(tf.reduce_sum(tf.matmul(x, values["kernel"]) * values["gamma"], 1))


def sum_of_errors(x: Any, y: Any, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return 0.1 * tf.reduce_sum(tf.square(predict(x, values) - y)), {}


def sum_over_a_constant(x: Any, y: Any, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return tf.nn.l2_loss(predict(x, values) - y) / 8.0, {}


def dice(x: Any, y: Any, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A divisor that is learned."""
    predicted, label = predict(x, values), tf.cast(y > 0, DTYPE)
    total = tf.reduce_sum(predicted) + tf.reduce_sum(label) + 1.0
    return 1.0 - 2.0 * tf.reduce_sum(predicted * label) / total, {}


def log_of_mean(x: Any, y: Any, values: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return tf.math.log1p(tf.reduce_mean(tf.square(predict(x, values) - y))), {}


OF_PARTS = [batch_norm, fused_batch_norm]
OF_ONE_NODE = [sum_of_errors, sum_over_a_constant, dice, log_of_mean]
LOSSES = OF_PARTS + OF_ONE_NODE
STRATEGIES = ("PS", "AllReduce", "PartitionedPS_axis_1", "UnevenPartitionedPS", "Parallax")
Loss = Callable[[Any, Any, dict[str, Any]], tuple[Any, dict[str, Any]]]


def make_variables() -> dict[str, Any]:
    start = np.linspace(-1.0, 1.0, 12).reshape(4, 3)
    trained = {"kernel": start, "gamma": np.ones(3), "beta": np.zeros(3)}
    averages = {"moving_mean": np.zeros(3), "moving_variance": np.ones(3)}
    made = {name: tf1.get_variable(name, initializer=value) for name, value in trained.items()}
    for name, value in averages.items():
        made[name] = tf1.get_variable(name, initializer=value, trainable=False)
    return made


def move(averages: dict[str, Any], values: dict[str, Any]) -> list[Any]:
    return [
        values[name].assign(DECAY * values[name] + (1.0 - DECAY) * found)
        for name, found in averages.items()
    ]


def build(loss: Loss) -> tuple[list[Any], Any]:
    """The program as it is written for one node."""
    x, y = (tf1.placeholder(DTYPE, shape, name) for name, shape in INPUTS.items())
    values = make_variables()
    found, averages = loss(x, y, values)
    train = tf1.train.AdamOptimizer(0.05).minimize(found)
    return [found, train, *move(averages, values)], tf1.global_variables()


def build_by_hand(loss: Loss, replicas: int) -> tuple[list[Any], Any]:
    """One copy of the model per replica, the mean of its gradients by the sizes of the parts."""
    x, y = (tf1.placeholder(DTYPE, shape, name) for name, shape in INPUTS.items())
    bounds = tf1.placeholder(tf.int32, [replicas, 2], "bounds")
    values = make_variables()
    optimizer, made = tf1.train.AdamOptimizer(0.05), []
    for i in range(replicas):
        part = slice(bounds[i, 0], bounds[i, 1])
        found, averages = loss(x[part], y[part], values)
        made.append((found, optimizer.compute_gradients(found), averages))
    sizes = tf.cast(bounds[:, 1] - bounds[:, 0], DTYPE)
    shares = tf.unstack(sizes / tf.reduce_sum(sizes))
    pairs = []
    for copies in zip(*(pairs for _, pairs, _ in made), strict=True):
        gradients = [gradient for gradient, _ in copies]
        if gradients[0] is not None:
            pairs.append((weigh(gradients, shares), copies[0][1]))
    mean = weigh([found for found, _, _ in made], shares)
    averages = {name: weigh([found[name] for _, _, found in made], shares) for name in made[0][2]}
    return [mean, optimizer.apply_gradients(pairs), *move(averages, values)], tf1.global_variables()


def weigh(tensors: list[Any], shares: list[Any]) -> Any:
    return tf.add_n([t * s for t, s in zip(tensors, shares, strict=True)])


INPUTS = {"x": [None, 4], "y": [None]}


def draw(step: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(step)
    rows = SIZES[step % len(SIZES)]
    return {"x:0": generator.normal(size=(rows, 4)), "y:0": generator.normal(size=rows)}


@functools.cache
def train_by_hand(loss: Loss, replicas: int) -> tuple[list[float], dict[str, Any]]:
    with tf.Graph().as_default(), tf1.Session() as session:
        fetches, variables = build_by_hand(loss, replicas)
        session.run(tf1.global_variables_initializer())
        losses = []
        for step in range(STEPS):
            fed = draw(step)
            bounds = sub_batch_bounds(len(fed["y:0"]), replicas)
            losses.append(session.run(fetches, {**fed, "bounds:0": bounds})[0])
        return losses, session.run({v.op.name: v for v in variables})


def train(
    loss: Loss, replicas: int, distribute: Any, directory: Path, expected: Any, **options: Any
) -> None:
    """Trains distributed, and compares losses and variables with `expected`, as `train_by_hand` returns them."""
    strategy = CUTS[STRATEGIES[(LOSSES.index(loss) + replicas) % len(STRATEGIES)]]()
    session, (fetches, variables) = distribute(lambda: build(loss), strategy, replicas, **options)
    losses = [session.run(fetches, draw(step))[0] for step in range(STEPS)]
    rtol = 1e-5 if loss is fused_batch_norm else 1e-9
    np.testing.assert_allclose(losses, expected[0], rtol)
    saved = tf.train.load_checkpoint(Saver(variables).save(session, str(directory / "saved")))
    for name, value in expected[1].items():
        np.testing.assert_allclose(saved.get_tensor(name), value, rtol, atol=rtol / 10)


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("loss", OF_PARTS)
def test_training_with_own_statistics_is_that_of_the_graph_replicated_by_hand(
    loss: Loss, replicas: int, distribute: Any, tmp_path: Path
) -> None:
    train(loss, replicas, distribute, tmp_path, train_by_hand(loss, replicas))


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_training_is_that_of_one_node(
    loss: Loss, replicas: int, distribute: Any, tmp_path: Path
) -> None:
    options = {"batch_statistics": "global"} if loss in OF_PARTS else {}
    train(loss, replicas, distribute, tmp_path, train_by_hand(loss, 1), **options)


@pytest.mark.parametrize("loss", OF_PARTS)
def test_one_node_computes_something_else_than_parts(loss: Loss) -> None:
    one, _ = train_by_hand(loss, 1)
    two, _ = train_by_hand(loss, 2)
    assert not np.allclose(one, two, rtol=1e-3)
