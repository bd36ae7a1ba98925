"""A checkpoint goes on in any other layout, on the same curve of the loss."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce, PartitionedPS
from support import keras_names
from support.seed import seed_programs

tf1 = tf.compat.v1


def continue_elsewhere(
    cell: Any, prefix: Path, autodist: Any
) -> tuple[dict[str, Any], list[float]]:
    """Restores `prefix` under another strategy; returns the values and the losses from there."""
    keras_names.forget_keras_names()
    with tf.Graph().as_default(), autodist.scope():
        model = seed_programs.get_your_model(cell.program, cell.optimizer)
        with autodist.create_distributed_session() as session:
            Saver().restore(session, str(prefix))
            values = session.run({v.op.name: v for v in tf1.global_variables()})
            batches = seed_programs.draw_batches(cell.program)[seed_programs.STEPS_BEFORE :]
            return values, [
                session.run([model.loss, model.train_op], {model.input_data: x, model.target: y})[0]
                for x, y in batches
            ]


def test_a_checkpoint_continues_in_another_layout(cell: Any, trained: Any, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yml"
    spec.write_text("nodes: [{address: localhost, cpus: [0, 1, 2]}]")
    was_copied = cell.strategy == "AllReduce"
    strategy = PartitionedPS(5, min_variable_bytes=0) if was_copied else AllReduce()
    values, losses = continue_elsewhere(cell, trained[cell].prefix, AutoDist(str(spec), strategy))
    for name, value in trained[cell].values.items():
        np.testing.assert_array_equal(values[name], value)
    np.testing.assert_allclose(losses, trained[cell].losses, rtol=1e-9)
