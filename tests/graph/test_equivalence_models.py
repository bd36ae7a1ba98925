"""Models of all kinds train as they would on one node, under every strategy and number of replicas."""

from typing import Any

import pytest
import tensorflow as tf

from autodist.strategy import AllReduce, PartitionedPS
from support.equivalence import training
from support.equivalence.models import MODELS
from support.equivalence.optimizers import STOCK
from support.strategies import CUTS

STRATEGIES = (
    "PartitionedPS_7",
    "PartitionedPS_axis_1",
    "AllReduce",
    "PS",
    "PSLoadBalancing",
    "UnevenPartitionedPS",
    "PartitionedAR_3",
    "RandomAxisPartitionAR_5",
    "Parallax",
)
# Each model meets every second strategy, with one, two or three replicas.
CELLS = [
    (model, strategy, 1 + (row + column) % 3)
    for row, model in enumerate(MODELS)
    for column, strategy in enumerate(STRATEGIES)
    if (row + column) % 2 == 0
]
pytestmark = pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices")


@pytest.fixture(scope="module")
def references() -> dict[Any, training.Trained]:
    """Single-node training, run once per program."""
    return {}


def train_both(references: Any, autodist: Any, model: str, optimizer: str, **options: Any) -> Any:
    def build() -> training.Program:
        return training.build(MODELS[model], STOCK[optimizer], **options)

    batches = training.draw_batches(MODELS[model], options.get("dtype", tf.float64))
    key = (model, optimizer, *options.items())
    if key not in references:
        references[key] = training.train_on_one_node(build, batches)
    return training.train_distributed(autodist, build, batches), references[key]


@pytest.mark.parametrize(("model", "strategy", "replicas"), CELLS)
def test_training_equals_that_of_one_node(
    model: str, strategy: str, replicas: int, references: Any, make_autodist: Any
) -> None:
    autodist = make_autodist(CUTS[strategy](), replicas)
    ours, reference = train_both(references, autodist, model, "v1_adam")
    training.assert_equal(ours, reference)


@pytest.mark.parametrize("shards", [1, 2, 7, 13])
@pytest.mark.parametrize(("model", "replicas"), [("embedding", 2), ("tied", 3), ("mlp", 2)])
def test_any_number_of_shards_trains_alike(
    model: str, shards: int, replicas: int, references: Any, make_autodist: Any
) -> None:
    autodist = make_autodist(PartitionedPS(shards, min_variable_bytes=0), replicas)
    ours, reference = train_both(references, autodist, model, "v1_momentum")
    training.assert_equal(ours, reference)


@pytest.mark.parametrize("model", ["mlp", "embedding", "conv", "lstm_v2"])
def test_single_precision_trains_alike(model: str, references: Any, make_autodist: Any) -> None:
    autodist = make_autodist(PartitionedPS(min_variable_bytes=0), 2)
    ours, reference = train_both(references, autodist, model, "v1_momentum", dtype=tf.float32)
    training.assert_equal(ours, reference, rtol=1e-4)


@pytest.mark.parametrize("model", ["embedding", "tied", "lstm_v2"])
def test_gradients_of_a_tape_train_alike(model: str, references: Any, make_autodist: Any) -> None:
    autodist = make_autodist(PartitionedPS(3, min_variable_bytes=0), 3)
    ours, reference = train_both(
        references, autodist, model, "v1_adagrad", train=training.apply_tape
    )
    training.assert_equal(ours, reference)


@pytest.mark.parametrize("model", ["embedding", "mlp"])
def test_minimize_trains_alike(model: str, references: Any, make_autodist: Any) -> None:
    ours, reference = train_both(
        references, make_autodist(AllReduce(), 3), model, "v1_sgd", train=training.minimize
    )
    training.assert_equal(ours, reference)
