"""Training goes on from a checkpoint as if it had never stopped: in stock TensorFlow, and under any other layout."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from autodist.checkpoint.saver import Saver
from support.equivalence import training
from support.equivalence.models import MODELS
from support.equivalence.optimizers import STOCK
from support.strategies import CUTS

tf1 = tf.compat.v1
CELLS = [
    ("PartitionedPS_7", 2),
    ("AllReduce", 3),
    ("UnevenPartitionedPS", 2),
    ("PartitionedAR_13", 2),
    ("Parallax", 3),
    ("RandomAxisPartitionAR_5", 3),
    ("PSLoadBalancing", 1),
]
PROGRAMS = [("embedding", "v1_adam"), ("mlp", "v1_rmsprop_centered"), ("tied", "v1_ftrl")]
STEPS_BEFORE = 4


def train_in_cell(
    autodist: Any, build: Any, batches: Any, *, start: str = "", end: str = ""
) -> Any:
    """Trains under an `AutoDist`, from the checkpoint `start`, and saves `end`."""
    with tf.Graph().as_default(), autodist.scope():
        program = build()
        saver = Saver()
        with autodist.create_distributed_session() as session:
            if start:
                saver.restore(session, start)
            trained = training.run(session, program, batches)
            if end:
                saver.save(session, end)
    return trained


def train_in_stock(build: Any, batches: Any, start: str) -> training.Trained:
    with tf.Graph().as_default():
        program = build()
        with tf1.Session() as session:
            tf1.train.Saver().restore(session, start)
            return training.run(session, program, batches)


@pytest.mark.filterwarnings("ignore:Converting sparse IndexedSlices")
@pytest.mark.parametrize("cell", [0, 1, 3, 5])
def test_training_goes_on_from_a_checkpoint(cell: int, make_autodist: Any, tmp_path: Path) -> None:
    model, optimizer = PROGRAMS[cell % len(PROGRAMS)]
    batches = training.draw_batches(MODELS[model], rows=(8, 7, 3, 1, 5, 2, 8), repeat=1)
    before, after = batches[:STEPS_BEFORE], batches[STEPS_BEFORE:]
    prefix = str(tmp_path / "model.ckpt")
    (strategy, replicas), (other, other_replicas) = CELLS[cell], CELLS[(cell + 3) % len(CELLS)]

    def build() -> training.Program:
        return training.build(MODELS[model], STOCK[optimizer])

    train_in_cell(make_autodist(CUTS[strategy](), replicas), build, before, end=prefix)
    in_stock = train_in_stock(build, after, prefix)
    elsewhere = train_in_cell(
        make_autodist(CUTS[other](), other_replicas), build, after, start=prefix
    )

    reference = training.train_on_one_node(build, batches)
    reference.losses = reference.losses[STEPS_BEFORE:]
    training.assert_equal(in_stock, reference)
    training.assert_equal(elsewhere, reference)
