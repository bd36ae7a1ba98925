"""Trains a program on one node, eagerly and distributed, and compares what came out."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from support import keras_names
from support.equivalence import optimizers
from support.equivalence.models import Model

tf1 = tf.compat.v1
BATCHES = (8, 7, 3, 1, 2, 5, 8, 7, 8, 11)
"""Even, uneven and smaller than the number of replicas."""


@dataclasses.dataclass
class Program:
    """A training program in the default graph; `feeds` by the name of the input."""

    loss: Any
    train: Any
    output: Any
    feeds: dict[str, Any]


@dataclasses.dataclass
class Trained:
    """What came out: one loss per step, the variables with their slots, and a prediction."""

    losses: list[Any]
    variables: dict[str, np.ndarray]
    output: np.ndarray


def draw_batches(
    model: Model, dtype: Any = tf.float64, rows: tuple[int, ...] = BATCHES, repeat: int = 2
) -> list[dict[str, Any]]:
    generator = np.random.default_rng(5)
    return [model.draw_batch(generator, n, dtype) for n in rows * repeat]


def minimize(optimizer: Any, compute: Callable[[], Any], variables: list[Any]) -> tuple[Any, Any]:
    loss = compute()
    return loss, optimizer.minimize(loss, var_list=variables)


def apply_gradients(
    optimizer: Any,
    compute: Callable[[], Any],
    variables: list[Any],
    differentiate: Callable[..., Any] = optimizers.differentiate,
) -> tuple[Any, Any]:
    loss, gradients = differentiate(compute, variables)
    return loss, optimizer.apply_gradients(zip(gradients, variables, strict=True))


def apply_tape(optimizer: Any, compute: Callable[[], Any], variables: list[Any]) -> tuple[Any, Any]:
    return apply_gradients(optimizer, compute, variables, optimizers.tape)


def build(
    model: Model,
    make_optimizer: Callable[[], Any],
    train: Callable[..., tuple[Any, Any]] = apply_gradients,
    dtype: Any = tf.float64,
) -> Program:
    """Builds the program that trains `model` in the default graph."""
    x = model.placeholders(dtype)
    v = {
        name: tf1.get_variable(name, initializer=tf.constant(value), use_resource=True)
        for name, value in model.draw_initial_values(dtype).items()
    }
    output = None

    def compute() -> Any:
        nonlocal output
        output = model.predict(v, x)
        return model.loss(v, x, output)

    with control_flow(model.control_flow_v2):
        loss, train_op = train(make_optimizer(), compute, list(v.values()))
    return Program(loss, train_op, output, x)


@contextlib.contextmanager
def control_flow(v2: bool | None) -> Iterator[None]:
    """Builds loops and branches in one of the two versions."""
    before = tf1.control_flow_v2_enabled()
    (tf1.enable_control_flow_v2 if v2 or v2 is None else tf1.disable_control_flow_v2)()
    try:
        yield
    finally:
        (tf1.enable_control_flow_v2 if before else tf1.disable_control_flow_v2)()


def run(session: Any, program: Program, batches: list[dict[str, Any]]) -> Trained:
    """Runs one step per batch."""
    losses = []
    for batch in batches:
        feed = {program.feeds[name]: value for name, value in batch.items()}
        losses.append(session.run([program.loss, program.train], feed)[0])
    variables = {v.name: v for v in tf1.global_variables()}
    return Trained(losses, session.run(variables), session.run(program.output, feed))


def train_on_one_node(build: Callable[[], Program], batches: list[dict[str, Any]]) -> Trained:
    """Stock TensorFlow, the plain graph, the whole batch."""
    keras_names.forget_keras_names()
    with tf.Graph().as_default():
        program = build()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            return run(session, program, batches)


def train_distributed(
    autodist: Any, build: Callable[[], Program], batches: list[dict[str, Any]]
) -> Trained:
    """The same program under an `AutoDist`."""
    keras_names.forget_keras_names()
    with tf.Graph().as_default(), autodist.scope():
        program = build()
        with autodist.create_distributed_session() as session:
            return run(session, program, batches)


def train_eagerly(
    model: Model,
    make_optimizer: Callable[[], Any],
    batches: list[dict[str, Any]],
    dtype: Any = tf.float64,
) -> tuple[list[Any], list[np.ndarray]]:
    """The losses, and the variables of the model followed by those of the optimizer."""
    values = model.draw_initial_values(dtype)
    v = {name: tf.Variable(value, name=name) for name, value in values.items()}
    optimizer = make_optimizer()
    losses = []
    for batch in batches:
        x = {name: tf.constant(value) for name, value in batch.items()}
        loss, gradients = optimizers.tape(
            lambda x=x: model.loss(v, x, model.predict(v, x)), list(v.values())
        )
        optimizer.apply_gradients(zip(gradients, v.values(), strict=True))
        losses.append(loss.numpy())
    return losses, [np.asarray(w) for w in (*v.values(), *list_variables(optimizer))]


def list_variables(optimizer: Any) -> list[Any]:
    """The optimizer's variables as `tf.Variable`s, in its own order."""
    variables = optimizer.variables
    of_keras3 = getattr(keras, "Variable", ())
    return [getattr(v, "value", v) if isinstance(v, of_keras3) else v for v in variables]


def assert_equal(ours: Trained, reference: Trained, rtol: float = 1e-9) -> None:
    """Losses, variables with slots, and predictions."""
    assert list(ours.variables) == list(reference.variables)
    close = {"rtol": rtol, "atol": rtol * 1e-2}
    np.testing.assert_allclose(ours.losses, reference.losses, **close)
    for name, value in reference.variables.items():
        np.testing.assert_allclose(ours.variables[name], value, err_msg=name, **close)
    np.testing.assert_allclose(ours.output, reference.output, **close)
