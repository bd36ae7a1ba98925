"""A small masked language model in the style of BERT: train distributed, save, restore, export.

    python bert_like.py --directory bert --steps 30

A second call goes on from the last checkpoint. The variables are in shards, the batch is split
over two replicas, and the loss is a mean over the masked words.
"""

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf

from autodist import AutoDist, SavedModelBuilder, Saver
from autodist.strategy import PartitionedPS

tf1 = tf.compat.v1

RESOURCE_SPEC = """
nodes:
  - address: localhost
    cpus: [0, 1]
"""
WORDS, MASK, LENGTH, WIDTH, HEADS, LAYERS = 50, 0, 12, 32, 4, 2


def make_batch(seed, rows=16):
    """Returns words with some masked, the original words, and weights that are 1 where masked."""
    random = np.random.default_rng(seed)
    starts = random.integers(1, WORDS, size=[rows, 1])
    words = 1 + (starts + np.arange(LENGTH) - 1) % (WORDS - 1)
    masked = random.random(words.shape) < 0.15
    masked[:, 0] = True
    return np.where(masked, MASK, words), words, masked.astype(np.float32)


def dense(x, width, name):
    """Returns `x` times a kernel, plus a bias."""
    kernel = tf1.get_variable(f"{name}/kernel", [x.shape[-1], width])
    bias = tf1.get_variable(f"{name}/bias", [width], initializer=tf1.zeros_initializer())
    return tf.tensordot(x, kernel, 1) + bias


def normalized(x, name):
    """Returns layer normalization of `x`."""
    gamma = tf1.get_variable(f"{name}/gamma", [WIDTH], initializer=tf1.ones_initializer())
    beta = tf1.get_variable(f"{name}/beta", [WIDTH], initializer=tf1.zeros_initializer())
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-6) * gamma + beta


def attention(x):
    """Returns multi-head self-attention of `x`."""

    def heads(name):
        parts = tf.reshape(dense(x, WIDTH, name), [-1, LENGTH, HEADS, WIDTH // HEADS])
        return tf.transpose(parts, [0, 2, 1, 3])

    scores = tf.matmul(heads("query"), heads("key"), transpose_b=True)
    weights = tf.nn.softmax(scores / np.sqrt(WIDTH // HEADS))
    joined = tf.transpose(tf.matmul(weights, heads("value")), [0, 2, 1, 3])
    return dense(tf.reshape(joined, [-1, LENGTH, WIDTH]), WIDTH, "output")


def build_model():
    """Builds the encoder, the loss over masked words, and Adam with clipped gradients."""
    ids = tf1.placeholder(tf.int64, [None, LENGTH], name="ids")
    labels = tf1.placeholder(tf.int64, [None, LENGTH], name="labels")
    weights = tf1.placeholder(tf.float32, [None, LENGTH], name="weights")
    with tf1.variable_scope("bert"):
        table = tf1.get_variable("embeddings/words", [WORDS, WIDTH])
        places = tf1.get_variable("embeddings/places", [LENGTH, WIDTH])
        x = normalized(tf.nn.embedding_lookup(table, ids) + places, "embeddings/norm")
        for layer in range(LAYERS):
            with tf1.variable_scope(f"layer_{layer}"):
                x = normalized(x + attention(x), "norm_1")
                x = normalized(
                    x + dense(tf.nn.gelu(dense(x, 4 * WIDTH, "up")), WIDTH, "down"), "norm_2"
                )
        logits = tf.tensordot(x, table, [[2], [1]])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = tf.reduce_sum(losses * weights) / (tf.reduce_sum(weights) + 1e-5)
    variables = tf1.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 1.0)
    step = tf1.train.get_or_create_global_step()
    train_op = tf1.train.AdamOptimizer(0.003).apply_gradients(zip(gradients, variables), step)
    tf1.add_to_collection("train_op", train_op)
    return ids, labels, weights, logits, loss, step, train_op


def train(directory, steps):
    """Trains, saves a checkpoint and exports a SavedModel."""
    spec = directory / "resource_spec.yml"
    spec.write_text(RESOURCE_SPEC, encoding="utf-8")
    with tf.Graph().as_default():
        autodist = AutoDist(str(spec), PartitionedPS())
        with autodist.scope():
            ids, labels, weights, logits, loss, step, train_op = build_model()
            saver = Saver()
            session = autodist.create_distributed_session()
        latest = tf.train.latest_checkpoint(str(directory))
        if latest is not None:
            saver.restore(session, latest)
        for _ in range(steps):
            words, targets, where = make_batch(seed=int(session.run(step)))
            value, _ = session.run([loss, train_op], {ids: words, labels: targets, weights: where})
        path = saver.save(session, str(directory / "model.ckpt"), global_step=step)
        print(f"{Path(path).name}: loss {value:.4f}")
        info = tf1.saved_model.utils.build_tensor_info
        signature = tf1.saved_model.signature_def_utils.build_signature_def(
            {"ids": info(ids)}, {"logits": info(logits)}, "tensorflow/serving/predict"
        )
        export = directory / f"export-{Path(path).name.rpartition('-')[2]}"
        builder = SavedModelBuilder(str(export))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, saver=saver
        )
        builder.save()
    return export


def predict(export):
    """Loads the SavedModel in plain TensorFlow and fills in masked words."""
    words, targets, where = make_batch(seed=12_345)
    with tf.Graph().as_default(), tf1.Session() as session:
        loaded = tf1.saved_model.loader.load(session, ["serve"], str(export))
        signature = loaded.signature_def["serving_default"]
        feeds = {signature.inputs["ids"].name: words}
        logits = session.run(signature.outputs["logits"].name, feeds)
    right = np.argmax(logits, axis=-1) == targets
    print(f"{export.name}: {np.mean(right[where > 0]):.0%} of the masked words are right")


def main():
    """Trains, saves and exports; then predicts without autodist."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path("bert"))
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    predict(train(options.directory, options.steps))


if __name__ == "__main__":
    main()
