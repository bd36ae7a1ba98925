"""The demo's data and model: an ordinary single-node TensorFlow program.

Each of the 64 pixels of a digit has one of 17 intensities. A table has one row per pixel and
intensity; a digit is the sum of its 64 rows, followed by two dense layers. The table gets sparse
gradients, the layers dense ones.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

tf1 = tf.compat.v1

TRAIN_OP_KEY = "train_op"
PIXELS = 64
INTENSITIES = 17
WIDTH = 48
HIDDEN = 128
CLASSES = 10
BATCH_SIZE = 128
LEARNING_RATE = 5e-4


@dataclasses.dataclass(frozen=True)
class Digits:
    """Images of handwritten digits and what they show.

    Attributes:
        train_pixels: int32 [1437, 64], intensities 0 to 16.
        train_labels: int64 [1437], digits 0 to 9.
        test_pixels: int32 [360, 64].
        test_labels: int64 [360].
    """

    train_pixels: Any
    train_labels: Any
    test_pixels: Any
    test_labels: Any

    @staticmethod
    def load() -> "Digits":
        """Reads the 1,797 images that come with scikit-learn.

        A fifth of each class is for testing.
        """
        data = load_digits()
        pixels, labels = data.data.astype(np.int32), data.target.astype(np.int64)
        parts = train_test_split(pixels, labels, test_size=360, random_state=0, stratify=labels)
        return Digits(parts[0], parts[2], parts[1], parts[3])

    def batch(self, step: int) -> tuple[Any, Any]:
        """Pixels and labels of training step `step`: the same in every process."""
        steps_per_epoch = len(self.train_labels) // BATCH_SIZE
        epoch, place = divmod(step, steps_per_epoch)
        order = np.random.default_rng(epoch).permutation(len(self.train_labels))
        rows = order[place * BATCH_SIZE : (place + 1) * BATCH_SIZE]
        return self.train_pixels[rows], self.train_labels[rows]


@dataclasses.dataclass(frozen=True)
class Model:
    """The tensors and the op of the graph that a program uses.

    Attributes:
        pixels: placeholder, int32 [batch, 64].
        labels: placeholder, int64 [batch].
        loss: float32 scalar, the mean cross-entropy of the batch in nats.
        correct: int32 scalar, how many digits of the batch are recognised.
        train_op: runs one step.
    """

    pixels: Any
    labels: Any
    loss: Any
    correct: Any
    train_op: Any


def build_model() -> Model:
    """Adds the model to the default graph.

    Its training op goes into the collection `TRAIN_OP_KEY`.
    """
    pixels = tf1.placeholder(tf.int32, [None, PIXELS], name="pixels")
    labels = tf1.placeholder(tf.int64, [None], name="labels")
    table = tf1.get_variable(
        "table",
        [PIXELS * INTENSITIES, WIDTH],
        initializer=tf1.random_uniform_initializer(-0.02, 0.02, seed=1),
        use_resource=True,
    )
    rows = tf.nn.embedding_lookup(table, pixels + INTENSITIES * tf.range(PIXELS))
    hidden = tf.nn.relu(_dense(tf.reduce_sum(rows, axis=1), HIDDEN, "hidden", seed=2))
    logits = _dense(hidden, CLASSES, "logits", seed=3)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = tf.reduce_mean(losses, name="loss")
    hits = tf.equal(tf.argmax(logits, axis=1), labels)
    correct = tf.reduce_sum(tf.cast(hits, tf.int32), name="correct")
    step = tf1.train.get_or_create_global_step()
    train_op = tf1.train.AdamOptimizer(LEARNING_RATE).minimize(loss, global_step=step)
    tf1.add_to_collection(TRAIN_OP_KEY, train_op)
    return Model(pixels, labels, loss, correct, train_op)


def train(session: Any, model: Model, digits: Digits, steps: Iterable[int]) -> list[float]:
    """Runs training steps and returns the loss before each.

    Args:
        session: a session on the model's graph.
        model: the model.
        digits: the data.
        steps: which batches to train on.
    """
    losses = []
    for step in steps:
        pixels, labels = digits.batch(step)
        feeds = {model.pixels: pixels, model.labels: labels}
        loss, _ = session.run([model.loss, model.train_op], feeds)
        losses.append(float(loss))
    return losses


def count_correct(session: Any, model: Model, digits: Digits) -> int:
    """How many of the test images are recognised."""
    feeds = {model.pixels: digits.test_pixels, model.labels: digits.test_labels}
    return int(session.run(model.correct, feeds))


def _dense(inputs: Any, width: int, name: str, seed: int) -> Any:
    with tf1.variable_scope(name, use_resource=True):
        shape = [inputs.shape[-1], width]
        kernel = tf1.get_variable("kernel", shape, initializer=tf1.glorot_uniform_initializer(seed))
        bias = tf1.get_variable("bias", [width], initializer=tf1.zeros_initializer())
    return tf.matmul(inputs, kernel) + bias
