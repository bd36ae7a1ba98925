"""Trains on several devices without autodist: by TensorFlow's strategy, and by hand.

Each function builds a graph, starts a session and returns a function that takes one step and
returns its loss.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import AutoDist
from autodist.strategy import StrategyBuilder
from training.step_models import Batch, Model

tf1 = tf.compat.v1

Step = Callable[[], float]


def distributed(model: Model, strategy: StrategyBuilder, replicas: int) -> Step:
    """A distributed session of ours."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as spec:
        spec.write(f"nodes: [{{address: localhost, cpus: {list(range(replicas))}}}]")
        spec.flush()
        autodist = AutoDist(spec.name, strategy)
    with tf.Graph().as_default(), autodist.scope():
        fed = model.placeholders()
        loss = model.loss(fed)
        train = _optimizer().minimize(loss)
        return _step(autodist.create_distributed_session(), model, fed, loss, train)


def mirrored(model: Model, replicas: int) -> Step:
    """`tf.distribute.MirroredStrategy` in a session."""
    with tf.Graph().as_default():
        strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])
        with strategy.scope():
            fed = model.placeholders()
            parts = _split(fed, replicas)
            optimizer = _optimizer()

            def train_on(part: Batch) -> tuple[Any, Any]:
                loss = model.loss(part) / replicas
                return loss, optimizer.minimize(loss)

            of_replica = strategy.experimental_distribute_values_from_function(
                lambda context: parts[context.replica_id_in_sync_group]
            )
            losses, updates = strategy.run(train_on, (of_replica,))
            loss = strategy.reduce("SUM", losses, axis=None)
            train = tf.group(*strategy.experimental_local_results(updates))
            return _step(_start_session(replicas), model, fed, loss, train)


def by_hand(model: Model, replicas: int) -> Step:
    """One copy of the model per device.

    They share variables, which are updated once with the mean gradient.
    """
    with tf.Graph().as_default():
        fed = model.placeholders()
        losses, gradients, variables, optimizer = [], [], (), _optimizer()
        with tf.device("/cpu:0"):
            for i, part in enumerate(_split(fed, replicas)):
                with (
                    tf1.variable_scope(tf1.get_variable_scope(), reuse=i > 0),
                    tf.device(f"/cpu:{i}"),
                ):
                    losses.append(model.loss(part))
                    # As `minimize` does; `tf.gradients` alone would leave its gates out.
                    found = optimizer.compute_gradients(losses[-1], tf1.trainable_variables())
                    of_replica, variables = zip(*found, strict=True)
                    gradients.append(of_replica)
            means = [_mean(list(copies)) for copies in zip(*gradients, strict=True)]
            train = optimizer.apply_gradients(zip(means, variables, strict=True))
            loss = tf.add_n(losses) / replicas
        return _step(_start_session(replicas), model, fed, loss, train)


def _mean(gradients: list[Any]) -> Any:
    share = np.float32(1 / len(gradients))
    if isinstance(gradients[0], tf.IndexedSlices):
        return tf.IndexedSlices(
            tf.concat([g.values for g in gradients], 0) * share,
            tf.concat([g.indices for g in gradients], 0),
            gradients[0].dense_shape,
        )
    return tf.add_n(gradients) * share


def _split(fed: Batch, replicas: int) -> list[Batch]:
    split = {name: tf.split(tensor, replicas) for name, tensor in fed.items()}
    return [{name: parts[i] for name, parts in split.items()} for i in range(replicas)]


def _optimizer() -> Any:
    return tf1.train.AdamOptimizer(1e-3)


def _start_session(replicas: int) -> Any:
    session = tf1.Session(config=tf1.ConfigProto(device_count={"CPU": replicas}))
    session.run(tf1.global_variables_initializer())
    return session


def _step(session: Any, model: Model, fed: Batch, loss: Any, train: Any) -> Step:
    batch = model.draw_batch()
    feeds = {fed[name]: batch[name] for name in fed}
    return lambda: float(session.run([loss, train], feeds)[0])
