"""What the tests of restoring share: a graph of their own, and the helpers of `layouts`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as graph:
        yield graph
