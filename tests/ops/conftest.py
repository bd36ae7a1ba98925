"""What the tests of the ops share: the ops, and a session."""

from collections.abc import Iterator
from types import ModuleType

import pytest
import tensorflow as tf

from autodist import _native

tf1 = tf.compat.v1


@pytest.fixture(scope="session")
def ops() -> ModuleType:
    return _native.ops()


@pytest.fixture
def session() -> Iterator[tf1.Session]:
    """A session on a new default graph."""
    with tf.Graph().as_default(), tf1.Session() as session:
        yield session
