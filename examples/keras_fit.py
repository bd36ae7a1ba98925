"""A `tf_keras` model that `fit` trains on two replicas, and that plain Keras goes on with.

python keras_fit.py --directory keras-model
"""

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

from autodist import AutoDist
from autodist.checkpoint.saver import Saver
from autodist.strategy import PartitionedPS

RESOURCE_SPEC = """
nodes:
  - address: localhost
    cpus: [0, 1]
"""


def make_data():
    """Returns points of the plane, and whether each lies in the unit circle."""
    points = np.random.default_rng(0).uniform(-1.5, 1.5, size=[512, 2]).astype(np.float32)
    return points, (np.linalg.norm(points, axis=1) < 1.0).astype(np.float32)


def build_model():
    """Builds and compiles a small classifier."""
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Dense(32, activation="relu", input_shape=(2,), name="hidden"),
            tf_keras.layers.Dense(1, activation="sigmoid", name="output"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def train_distributed(directory):
    """Trains on two replicas, with variables in shards, and saves a checkpoint."""
    spec = directory / "resource_spec.yml"
    spec.write_text(RESOURCE_SPEC, encoding="utf-8")
    points, labels = make_data()
    with tf.Graph().as_default():
        autodist = AutoDist(str(spec), PartitionedPS(min_variable_bytes=0))
        with autodist.scope():
            model = build_model()
            history = model.fit(points, labels, batch_size=32, epochs=20, verbose=0)
            session = autodist.create_distributed_session()
            saver = Saver(model.trainable_weights)
            saver.save(session, str(directory / "model.ckpt"))
    print(f"distributed: loss {history.history['loss'][-1]:.4f}")


def train_in_plain_keras(directory):
    """Goes on with Keras and TensorFlow alone."""
    points, labels = make_data()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        model = build_model()
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(model.trainable_weights)
        saver.restore(session, tf.train.latest_checkpoint(str(directory)))
        history = model.fit(points, labels, batch_size=32, epochs=20, verbose=0)
    print(f"plain Keras: loss {history.history['loss'][-1]:.4f}")


def main():
    """Trains distributed, then goes on without autodist."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path("keras-model"))
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    train_distributed(directory)
    train_in_plain_keras(directory)


if __name__ == "__main__":
    main()
