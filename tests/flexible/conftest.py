"""What the tests of restoring share: a graph of their own, and the helpers of `layouts`."""

from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as graph:
        yield graph
