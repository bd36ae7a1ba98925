"""What the tests of specs and sessions share: a small distributed program."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.strategy import PartitionedPS
from support.specs import write_local_spec

tf1 = tf.compat.v1


@dataclasses.dataclass
class Program:
    """`loss` of a linear model, with its session."""

    graph: Any
    session: Any
    x: Any
    w: Any
    y: Any
    loss: Any
    train: Any


@pytest.fixture
def spec_file(tmp_path: Path) -> str:
    """A resource spec of two replicas."""
    return write_local_spec(tmp_path)


@pytest.fixture
def build() -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        x = tf1.placeholder(tf.float32, [None, 4], "x")
        w = tf1.get_variable("w", initializer=tf.ones([4, 2]))
        y = tf.identity(x @ w, "y")
        loss = tf.reduce_mean(tf.square(y), name="loss")
        train = tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
        return {"x": x, "w": w, "y": y, "loss": loss, "train": train}

    return build


@pytest.fixture
def program(spec_file: str, build: Callable[[], dict[str, Any]]) -> Iterator[Program]:
    autodist = AutoDist(spec_file, PartitionedPS(2, min_variable_bytes=0))
    with tf.Graph().as_default() as graph, autodist.scope():
        built = build()
        with autodist.create_distributed_session() as session:
            yield Program(graph=graph, session=session, **built)
