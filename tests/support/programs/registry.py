"""The list of programs, and what each one hands over.

A program is a function that builds a graph in the current scope, as a TensorFlow 1 program does, and returns a
`Built`. Its arguments are those of the decorator `program`:

* `flow`: with which control flow it is built, `"v1"`, `"v2"`, or both, which makes two programs of it;
* `tolerance`: relative; larger where an op has no float64;
* `chosen`: whether a documented choice makes it differ, random numbers for rows or batch normalisation's statistics, so
  that a difference is allowed if a warning names it;
* `options`: arguments of `AutoDist`; `global_twin` adds a program with `batch_statistics="global"`;
* `splits`: whether a batch of it must stay split over the replicas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tf_keras.api._v1 import keras as keras_v1

tf1 = tf.compat.v1
f64 = tf.float64
# `tf.layers` and `tf.nn.rnn_cell` of TensorFlow 1, whichever Keras `tf.keras` is.
layers = keras_v1.__internal__.legacy.layers
cells = keras_v1.__internal__.legacy.rnn_cell
ROWS = (5, 7, 4, 1)
"""The sizes of the batches: none is a multiple of both 2 and 3. The last is not trained on, only fetched."""


@dataclasses.dataclass
class Built:
    """What a program has in its graph.

    Attributes:
      train: ops that are run in each step one after the other, each with the step's feed.
      fetches: by name: what is fetched in each step before it trains.
      feed: the feed of a step.
      beside: by name: what is fetched together with the first op of `train`.
      prepare: ops that are run once after the initialisers, with the feed of step 0.
    """

    train: Sequence[Any]
    fetches: dict[str, Any]
    feed: Callable[[int], dict[Any, Any]]
    beside: dict[str, Any] = dataclasses.field(default_factory=dict)
    prepare: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of the corpus; see the module."""

    name: str
    family: str
    build: Callable[[], Built]
    flow: str = "v1"
    tolerance: float = 1e-9
    chosen: bool = False
    splits: bool = False
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What may come out under any strategy."""
        return ("equal", "warned") if self.chosen else ("equal",)


PROGRAMS: dict[str, Program] = {}


def program(
    flow: Sequence[str] = ("v1",),
    tolerance: float = 1e-9,
    chosen: bool = False,
    splits: bool = False,
    global_twin: bool = False,
) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
    """Adds a function to the corpus."""

    def add(build: Callable[[], Built]) -> Callable[[], Built]:
        family = build.__module__.rpartition(".")[2]
        for version in flow:
            name = build.__name__ + ("" if version == flow[0] else f"_{version}")
            assert name not in PROGRAMS, name
            PROGRAMS[name] = Program(name, family, build, version, tolerance, chosen, splits)
            if global_twin:
                twin = dataclasses.replace(
                    PROGRAMS[name],
                    name=f"{name}_global",
                    chosen=False,
                    options={"batch_statistics": "global"},
                )
                PROGRAMS[twin.name] = twin
        return build

    return add


def draw(step: int, salt: int = 0) -> np.random.RandomState:
    """The numbers of a step."""
    return np.random.RandomState(1000 * salt + step)


def fed(shape: Sequence[int | None], dtype: Any = f64, name: str | None = None) -> Any:
    """A placeholder; `None` in the first place is the batch."""
    return tf1.placeholder(dtype, list(shape), name)


def weight(name: str, shape: Sequence[int], scale: float = 0.5) -> Any:
    """A trained variable with values that do not depend on TensorFlow's random numbers."""
    seed = sum(map(ord, name)) + sum(shape)
    value = scale * np.random.RandomState(seed).randn(*shape)
    return tf1.get_variable(name, shape, f64, tf1.constant_initializer(value))


def initial(seed: int = 3) -> Any:
    """An initializer of layers and cells whose numbers are the same in each graph."""
    return tf1.random_uniform_initializer(-0.5, 0.5, seed, f64)


def dense(x: Any, units: int, name: str, activation: Callable[[Any], Any] | None = None) -> Any:
    """A fully connected layer on the last dimension of rows, or of any other known rank."""
    kernel = weight(f"{name}_kernel", [x.shape[-1], units])
    bias = tf1.get_variable(f"{name}_bias", [units], f64, tf1.zeros_initializer())
    y = tf.tensordot(x, kernel, 1) if x.shape.rank > 2 else tf.matmul(x, kernel)
    y = tf.nn.bias_add(y, bias)
    return y if activation is None else activation(y)


def sgd(loss: Any, rate: float = 0.1, variables: Any = None) -> Any:
    """Gradient descent, counted by the global step."""
    step = tf1.train.get_or_create_global_step()
    return tf1.train.GradientDescentOptimizer(rate).minimize(loss, step, variables)


def momentum(loss: Any, rate: float = 0.1, variables: Any = None) -> Any:
    """Gradient descent with momentum, counted by the global step."""
    step = tf1.train.get_or_create_global_step()
    return tf1.train.MomentumOptimizer(rate, 0.9).minimize(loss, step, variables)


def adam(loss: Any, rate: float = 0.05, variables: Any = None) -> Any:
    """Adam, counted by the global step."""
    step = tf1.train.get_or_create_global_step()
    return tf1.train.AdamOptimizer(rate).minimize(loss, step, variables)


def lengths_of(step: int, longest: int, salt: int = 7) -> np.ndarray:
    """Lengths of the rows of a step: uneven, and the longest row is in the last part."""
    found = draw(step, salt).randint(1, longest, ROWS[step])
    found[-1] = longest
    return found
