"""The program that the tests train: dense and sparse gradients, repeated and missing rows, in float64."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1

ROWS = 11
# More and fewer rows than there are replicas, so that parts are uneven and whole tasks have none.
BATCHES = (12, 7, 1, 2, 5, 12)


@dataclasses.dataclass
class Program:
    numbers: Any
    x: Any
    loss: Any
    train: Any


@dataclasses.dataclass
class Trained:
    losses: list[float]
    variables: dict[str, np.ndarray]


def build(*, clip: bool = False) -> Program:
    """A table gathered from by rows, and a matrix; Adam, with clipping by the global norm if asked."""
    numbers = tf1.placeholder(tf.int32, [None], name="numbers")
    x = tf1.placeholder(tf.float64, [None, 5], name="x")
    start = np.random.default_rng(1)
    table = tf1.get_variable("table", initializer=start.normal(size=[ROWS, 5]))
    kernel = tf1.get_variable("kernel", initializer=start.normal(size=[5, 3]))
    bias = tf1.get_variable("bias", initializer=np.zeros(3))
    y = tf.tanh((tf.nn.embedding_lookup(table, numbers) + x) @ kernel + bias)
    loss = tf.reduce_mean(tf.square(y - 0.5))
    optimizer = tf1.train.AdamOptimizer(0.05)
    pairs = optimizer.compute_gradients(loss)
    if clip:
        gradients, _ = tf.clip_by_global_norm([g for g, _ in pairs], 0.05)
        pairs = [(g, v) for g, (_, v) in zip(gradients, pairs, strict=True)]
    step = tf1.train.get_or_create_global_step()
    return Program(numbers, x, loss, optimizer.apply_gradients(pairs, step))


def feeds(program: Program, rows: int) -> dict[Any, Any]:
    """A batch in which row numbers repeat, some in every replica's part."""
    values = np.random.default_rng(rows)
    numbers = values.integers(0, ROWS // 2, rows)
    return {program.numbers: numbers, program.x: values.normal(size=[rows, 5])}


def run(session: Any, program: Program) -> Trained:
    losses = [
        session.run([program.loss, program.train], feeds(program, rows))[0] for rows in BATCHES
    ]
    return Trained(losses, session.run({v.op.name: v for v in tf1.global_variables()}))


def train_on_one_node(prefix: str, **options: Any) -> Trained:
    """Stock TensorFlow; what it trained is saved under `prefix`."""
    with tf.Graph().as_default():
        program = build(**options)
        saver = tf1.train.Saver()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            trained = run(session, program)
            saver.save(session, prefix, write_meta_graph=False)
            return trained


def assert_equal(ours: Trained, reference: Trained) -> None:
    np.testing.assert_allclose(ours.losses, reference.losses, rtol=1e-9)
    assert ours.variables.keys() == reference.variables.keys()
    for name, value in reference.variables.items():
        rtol = 1e-6 if value.dtype == np.float32 else 1e-9
        np.testing.assert_allclose(ours.variables[name], value, rtol=rtol, atol=1e-11, err_msg=name)


def files(prefix: str) -> list[bytes]:
    return [Path(prefix + suffix).read_bytes() for suffix in (".index", ".data-00000-of-00001")]
