"""What the tests of the transformer share: spec files, and sessions that are closed again."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.autodist import AutoDist
from autodist.strategy import StrategyBuilder
from support.specs import write_local_spec


@pytest.fixture
def graph() -> Iterator[Any]:
    """A graph of the test's own, as the default graph."""
    with tf.Graph().as_default() as graph:
        yield graph


@pytest.fixture
def make_autodist(tmp_path: Path) -> Callable[..., AutoDist]:
    """Makes an `AutoDist` with a strategy and so many replicas."""

    def make(strategy: StrategyBuilder | None = None, replicas: int = 2) -> AutoDist:
        return AutoDist(write_local_spec(tmp_path, replicas), strategy)

    return make


@pytest.fixture
def distribute(graph: Any, make_autodist: Callable[..., AutoDist]) -> Iterator[Callable[..., Any]]:
    """Builds a graph in the scope of an `AutoDist`; returns its session and what was built."""
    with contextlib.ExitStack() as stack:

        def distribute(
            build: Callable[[], Any],
            strategy: StrategyBuilder | None = None,
            replicas: int = 2,
            **options: Any,
        ) -> Any:
            autodist = make_autodist(strategy, replicas)
            stack.enter_context(autodist.scope())
            built = build()
            return stack.enter_context(autodist.create_distributed_session(**options)), built

        yield distribute
