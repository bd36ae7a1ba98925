"""What the tests of retention share: a session with a variable, and what a directory holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

tf1 = tf.compat.v1


@pytest.fixture
def session() -> Iterator[Any]:
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("w", [50, 4], initializer=tf1.ones_initializer(), use_resource=True)
        session.run(tf1.global_variables_initializer())
        yield session


def prefixes(directory: Path) -> set[str]:
    """The names of the checkpoints in a directory."""
    return {path.name.removesuffix(".index") for path in directory.glob("*.index")}
