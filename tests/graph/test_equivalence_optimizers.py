"""Every optimizer trains as on one node; its slots are cut and copied with the variables."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import AllReduce, PartitionedPS, PSLoadBalancing
from support.equivalence import training
from support.equivalence.models import MODELS
from support.equivalence.optimizers import KERAS, SINGLE_PRECISION, STOCK

LAYOUTS: list[tuple[Callable[[], Any], int]] = [
    (lambda: PartitionedPS(7, min_variable_bytes=0), 2),
    (lambda: PartitionedPS(2, axis=1, min_variable_bytes=0), 3),
    (AllReduce, 2),
    (lambda: PartitionedPS(13, min_variable_bytes=0), 3),
    (PSLoadBalancing, 2),
]
pytestmark = pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices")


def pair_with_layouts(names: Any) -> list[Any]:
    """Each optimizer with sparse and dense gradients, every third with another model too."""
    return [
        pytest.param(name, model, *LAYOUTS[(2 * i + j) % len(LAYOUTS)], id=f"{name}-{model}")
        for i, name in enumerate(names)
        for j, model in enumerate(("embedding", "mlp"))
        if j == 0 or i % 3 == 0
    ]


@pytest.mark.parametrize(("optimizer", "model", "strategy", "replicas"), pair_with_layouts(STOCK))
def test_an_optimizer_of_stock_graphs_trains_as_on_one_node(
    optimizer: str, model: str, strategy: Any, replicas: int, make_autodist: Any
) -> None:
    dtype = tf.float32 if optimizer in SINGLE_PRECISION else tf.float64

    def build() -> training.Program:
        return training.build(MODELS[model], STOCK[optimizer], dtype=dtype)

    batches = training.draw_batches(MODELS[model], dtype)
    ours = training.train_distributed(make_autodist(strategy(), replicas), build, batches)
    reference = training.train_on_one_node(build, batches)
    training.assert_equal(ours, reference, rtol=1e-9 if dtype == tf.float64 else 1e-4)


@pytest.mark.parametrize(("optimizer", "model", "strategy", "replicas"), pair_with_layouts(KERAS))
def test_a_keras_optimizer_trains_as_it_does_eagerly(
    optimizer: str, model: str, strategy: Any, replicas: int, make_autodist: Any
) -> None:
    made = []

    def make_optimizer() -> Any:
        made.append(KERAS[optimizer]())
        return made[-1]

    def build() -> training.Program:
        return training.build(MODELS[model], make_optimizer)

    batches = training.draw_batches(MODELS[model])
    losses, values = training.train_eagerly(MODELS[model], KERAS[optimizer], batches)
    ours = training.train_distributed(make_autodist(strategy(), replicas), build, batches)

    slots = [ours.variables[v.name] for v in training.list_variables(made[0])]
    model_values = [ours.variables[f"{name}:0"] for name in MODELS[model].variables]
    np.testing.assert_allclose(ours.losses, losses, rtol=1e-9)
    for got, expected in zip([*model_values, *slots], values, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)
