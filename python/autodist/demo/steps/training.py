"""The distributed half of the demo: trains, saves and exports.

Restores into another distribution.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from autodist import AutoDist
from autodist.checkpoint.saved_model_builder import SavedModelBuilder
from autodist.checkpoint.saver import Saver
from autodist.demo.interface.errors import DemoError
from autodist.demo.steps.measurement import Save, SavedModel, describe, save_with
from autodist.demo.tensorflow_only import digits_model
from autodist.demo.tensorflow_only.digits_model import Digits, Model
from autodist.demo.tensorflow_only.handover import (
    Handover,
    check_correct,
    check_variables,
    read_variables,
)
from autodist.strategy import StrategyBuilder

tf1 = tf.compat.v1

CHECKPOINT_NAME = "model.ckpt"


@dataclasses.dataclass(frozen=True)
class DistributedTraining:
    """The digits model in a distributed session.

    Attributes:
        session: the distributed session.
        model: the model, in the original graph.
        saver: our `Saver`.
        digits: the data.
    """

    session: Any
    model: Model
    saver: Saver
    digits: Digits

    @staticmethod
    @contextlib.contextmanager
    def start(
        resource_spec: Path, strategy_builder: StrategyBuilder, digits: Digits
    ) -> Iterator[DistributedTraining]:
        """Builds the single-node model and starts a distributed session on it."""
        with tf.Graph().as_default():
            autodist = AutoDist(str(resource_spec), strategy_builder)
            with autodist.scope():
                model = digits_model.build_model()
                saver = Saver()
                session = autodist.create_distributed_session()
            with session:
                yield DistributedTraining(session, model, saver, digits)

    def train(self, steps: Iterable[int]) -> list[float]:
        """Trains on the batches of `steps` and returns the loss before each."""
        return digits_model.train(self.session, self.model, self.digits, steps)

    def handover(self, losses: list[float]) -> Handover:
        """The state of the training now."""
        correct = digits_model.count_correct(self.session, self.model, self.digits)
        return Handover(read_variables(self.session), correct, losses)

    def save(self, directory: Path) -> SavedModel:
        """Saves the original model as a checkpoint, its graph and the state file.

        Raises:
            DemoError: nothing was saved.
        """
        directory.mkdir()
        step = tf1.train.get_global_step()
        path = self.saver.save(self.session, str(directory / CHECKPOINT_NAME), global_step=step)
        if path is None:
            raise DemoError(f"nothing was saved to {directory}")
        return describe(self.session, path)

    def export(self, directory: Path) -> None:
        """Exports the original model, its training op included, as a SavedModel."""
        builder = SavedModelBuilder(str(directory))
        signature = tf1.saved_model.signature_def_utils.build_signature_def(
            inputs=_infos(input_data=self.model.pixels, labels=self.model.labels),
            outputs=_infos(loss=self.model.loss, correct=self.model.correct),
            method_name=tf1.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )
        builder.add_meta_graph_and_variables(
            sess=self.session,
            tags=[tf1.saved_model.tag_constants.SERVING],
            saver=self.saver,
            signature_def_map={"serving_default": signature},
        )
        builder.save()

    def restore(self, directory: Path, expected: Handover, where: str) -> None:
        """Restores the latest checkpoint and checks that it holds what is expected.

        Raises:
            MismatchError: it does not.
        """
        self.saver.restore(self.session, tf.train.latest_checkpoint(str(directory)))
        found = self.handover([])
        check_variables(expected.variables, found.variables, where)
        check_correct(expected.correct, found.correct, where)

    def timed_save(self) -> Save:
        """The save to be timed."""
        return save_with(self.saver, self.session)


@contextlib.contextmanager
def single_node_save(checkpoint: Path) -> Iterator[Save]:
    """TensorFlow's own save of the single-node model with the values of a checkpoint.

    Args:
        checkpoint: directory of the checkpoint.
    """
    with tf.Graph().as_default():
        digits_model.build_model()
        saver = tf1.train.Saver()
        with tf1.Session() as session:
            saver.restore(session, tf.train.latest_checkpoint(str(checkpoint)))
            yield save_with(saver, session)


def _infos(**tensors: Any) -> dict[str, Any]:
    build = tf1.saved_model.utils.build_tensor_info
    return {key: build(tensor) for key, tensor in tensors.items()}
