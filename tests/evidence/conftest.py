"""What the tests of evidence share: a session."""

from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf

tf1 = tf.compat.v1


@pytest.fixture
def session() -> Iterator[Any]:
    with tf.Graph().as_default(), tf1.Session() as session:
        yield session
