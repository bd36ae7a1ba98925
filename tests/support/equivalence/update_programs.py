"""Small programs that update variables with something that depends on the batch.

Each takes its own placeholders, so that many can be in one graph, and returns what to run and what to compare.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from support.equivalence import training

tf1 = tf.compat.v1
ROWS = 16
SPLIT, WHOLE, CHOSEN = "split", "whole", "chosen"
"""How an update is made: once, and the batch is split; the batch is not split; per replica, as the variable declares;
with statistics or random numbers of each replica, as is documented."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The placeholders of one program: rows of numbers, distinct row numbers, classes, words."""

    x: Any
    ids: Any
    classes: Any
    words: Any
    scalar: Any

    def feed(self, rows: int, seed: int) -> dict[Any, Any]:
        """A batch of so many rows."""
        random = np.random.default_rng(seed)
        return {
            self.x: random.normal(size=(rows, 3)),
            self.ids: random.permutation(ROWS)[:rows],
            self.classes: random.integers(0, 4, rows),
            self.words: [f"w{i}".encode() for i in random.integers(0, 9, rows)],
            self.scalar: seed % 2 == 0,
        }


Program = Callable[[Inputs], "tuple[Any, Any]"]
PROGRAMS: dict[str, tuple[Program, str]] = {}


def program(how: str = SPLIT, *, v2: bool | None = None) -> Callable[[Program], Program]:
    """Registers a program; `v2`: with v1 or v2 control flow."""

    def register(build: Program) -> Program:
        name = build.__name__
        if v2 is None:
            PROGRAMS[name] = build, how
            return build

        def with_control_flow(inputs: Inputs) -> tuple[Any, Any]:
            with training.control_flow(v2):
                return build(inputs)

        PROGRAMS[f"{name}_{'v2' if v2 else 'v1'}"] = with_control_flow, how
        return build

    return register


def build(name: str) -> tuple[Inputs, Any, Any]:
    """The placeholders of a program, what it updates, and the op to run."""
    with tf1.variable_scope(name):
        inputs = Inputs(
            tf1.placeholder(tf.float64, [None, 3], "x"),
            tf1.placeholder(tf.int32, [None], "ids"),
            tf1.placeholder(tf.int32, [None], "classes"),
            tf1.placeholder(tf.string, [None], "words"),
            tf1.placeholder(tf.bool, [], "scalar"),
        )
        updated, update = PROGRAMS[name][0](inputs)
    return inputs, updated, tf.group(update)


def variable(name: str, *shape: int, value: float = 0.0, dtype: Any = tf.float64, **kw: Any) -> Any:
    initial = tf.constant(np.full(shape, value), dtype)
    return tf1.get_variable(name, initializer=initial, trainable=False, **kw)


def trained(inputs: Inputs) -> Any:
    """A loss that is trained with the batch."""
    w = tf1.get_variable("w", initializer=tf.constant([[0.5], [-0.3], [0.2]], tf.float64))
    loss = tf.reduce_mean(tf.square(tf.tanh(inputs.x @ w) - 0.3))
    return w, loss, tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
