"""What the tests of `autodist.checkpoint` share: a small graph and its session."""

from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf

tf1 = tf.compat.v1


@pytest.fixture
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as graph:
        yield graph


@pytest.fixture
def model(graph: Any) -> dict[str, Any]:
    """Variables `v` [4, 3] and `w` [2] and `global_step`, each with values of its own."""
    return {
        "v": tf1.get_variable("v", initializer=tf.reshape(tf.range(12.0), [4, 3])),
        "w": tf1.get_variable("w", initializer=[5.0, 7.0]),
        "global_step": tf1.train.create_global_step(graph),
    }


@pytest.fixture
def session(model: dict[str, Any]) -> Iterator[Any]:
    """A session over `model` whose variables are initialised without adding to the graph later."""
    init = tf1.global_variables_initializer()
    with tf1.Session() as session:
        session.run(init)
        yield session
