"""What the tests of evidence share: a session and a variable."""

from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf

from support.evidence import GOOD

tf1 = tf.compat.v1


@pytest.fixture
def session() -> Iterator[Any]:
    with tf.Graph().as_default(), tf1.Session() as session:
        yield session


@pytest.fixture
def variable(session: Any) -> Any:
    made = tf1.get_variable("w", initializer=GOOD, use_resource=True)
    session.run(made.initializer)
    return made
