"""The training of `busy_training`, executed eagerly, and TensorFlow's own asynchronous checkpoints."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from training.busy_training import BusyTraining, Sizes, draw_batches

_MIB = 1 << 20


def measure(
    sizes: Sizes, updates: str, rounds: int, directory: Path, beside_seconds: float
) -> dict[str, Any]:
    """Returns a summary like that of the other contestants.

    Args:
        sizes: Of the variables.
        updates: Which rows are updated.
        rounds: How many saves.
        directory: Where checkpoints go.
        beside_seconds: As in `BusyTraining.cost_of`.
    """
    rows = [mib * _MIB // 256 for mib in sizes.tables]
    tables = [tf.Variable(tf.zeros([count, 64])) for count in rows]
    dense = [tf.Variable(tf.zeros([4 * _MIB])) for _ in range(sizes.dense)]
    # In place of the tables that the counters update.
    others = [tf.Variable(tf.zeros([32 * _MIB // 256, 64])) for _ in range(2)]
    checkpoint = tf.train.Checkpoint(variables=[*tables, *dense, *others])
    options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=True)
    training = BusyTraining(_steps(tables, dense, min(rows), updates))
    calls, saves, costs = [], [], []
    with training.running():
        # Not counted: the first makes the copies that the others use again.
        for number in range(rounds + 1):
            place = Path(tempfile.mkdtemp(dir=directory))

            def work(place: Path = place) -> None:
                start = time.monotonic()
                checkpoint.write(str(place / "m"), options)
                calls.append(time.monotonic() - start)
                checkpoint.sync()
                saves.append(time.monotonic() - start)

            cost = training.cost_of(work, beside_seconds)
            shutil.rmtree(place)
            if number == 0:
                calls.clear()
                saves.clear()
            else:
                costs.append(cost)
    return {
        "call_seconds": statistics.median(calls),
        "save_seconds": statistics.median(saves),
        "lock_seconds": None,
        "longest_seconds": statistics.median(cost.longest_seconds for cost in costs),
        "longest_before_seconds": statistics.median(cost.longest_before_seconds for cost in costs),
        "lost_seconds": statistics.median(cost.lost_seconds for cost in costs),
        "extra_bytes": None,
        "instants": None,
        "first": None,
        "rounds": [],
    }


def _steps(
    tables: list[Any], dense: list[Any], rows: int, updates: str
) -> dict[str, Callable[[int], object]]:
    batches = [tf.constant(batch, tf.int32) for batch in draw_batches(rows, updates)]
    update = tf.ones([batches[0].shape[0], 64]) * 1e-3
    one = tf.ones([4 * _MIB])

    def scatter(number: int) -> None:
        tf.raw_ops.ResourceScatterAdd(
            resource=tables[number % len(tables)].handle,
            indices=batches[7 * number % len(batches)],
            updates=update,
        )

    def adagrad(number: int) -> None:
        at = number % (len(tables) - 1)
        tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=tables[at + 1].handle,
            accum=tables[at].handle,
            lr=0.1,
            epsilon=1e-6,
            grad=update,
            indices=batches[7 * number % len(batches)],
            use_locking=True,
        )

    def add(number: int) -> None:
        dense[number % len(dense)].assign_add(one)

    return {"scatter": scatter, "adagrad": adagrad, "dense": add}
