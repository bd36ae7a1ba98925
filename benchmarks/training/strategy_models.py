"""A transformer encoder like BERT's, with its training step, to compare strategies on."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from training.variables import new_variable

tf1 = tf.compat.v1

_new_variable = functools.partial(new_variable, stddev=0.05)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the encoder and its batch."""

    layers: int = 8
    width: int = 64
    heads: int = 4
    tokens: int = 32
    words: int = 1000
    batch: int = 15


@dataclasses.dataclass(frozen=True)
class Built:
    """What a program has in hand when its graph is built."""

    fed: dict[str, Any]
    loss: Any
    train: Any


def build(sizes: Sizes) -> Built:
    """Embedding, layers, a classifier.

    Adam with a schedule and gradients clipped by their global norm.
    """
    fed = {
        "ids": tf1.placeholder(tf.int32, [None, sizes.tokens], "ids"),
        "seen": tf1.placeholder(tf.int32, [None, sizes.tokens], "seen"),
        "label": tf1.placeholder(tf.int32, [None], "label"),
    }
    hidden = _embed(fed["ids"], sizes)
    unseen = (1.0 - tf.cast(fed["seen"][:, None, None, :], tf.float32)) * -10000.0
    rows = tf.shape(fed["ids"])[0]
    for i in range(sizes.layers):
        hidden = _layer(hidden, f"layer_{i}", unseen, rows, sizes)
    first = tf.reshape(hidden, [rows, sizes.tokens, sizes.width])[:, 0]
    pooled = tf.tanh(_dense(first, "pool", sizes.width, sizes.width))
    logits = _dense(pooled, "class", sizes.width, 2)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=fed["label"], logits=logits)
    loss = tf.reduce_mean(entropy)
    step = tf1.train.get_or_create_global_step()
    variables = tf1.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 1.0)
    optimizer = tf1.train.AdamOptimizer(tf1.train.polynomial_decay(1e-3, step, 1000, 0.0))
    return Built(
        fed,
        loss,
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)), step),
    )


def draw_batch(sizes: Sizes) -> dict[str, np.ndarray]:
    """A batch, the same at each call."""
    generator = np.random.default_rng(1)
    shape = (sizes.batch, sizes.tokens)
    return {
        "ids": generator.integers(0, sizes.words, shape),
        "seen": np.ones(shape, np.int32),
        "label": generator.integers(0, 2, sizes.batch),
    }


def _embed(ids: Any, sizes: Sizes) -> Any:
    words = tf.nn.embedding_lookup(_new_variable("words", [sizes.words, sizes.width]), ids)
    places = _new_variable("positions", [sizes.tokens, sizes.width])
    return tf.reshape(_normed(words + places, "norm"), [-1, sizes.width])


def _layer(hidden: Any, name: str, unseen: Any, rows: Any, sizes: Sizes) -> Any:
    width, part = sizes.width, sizes.width // sizes.heads

    def heads(kind: str) -> Any:
        dense = _dense(hidden, f"{name}/{kind}", width, width)
        return tf.transpose(
            tf.reshape(dense, [rows, sizes.tokens, sizes.heads, part]), [0, 2, 1, 3]
        )

    query, key, value = heads("query"), heads("key"), heads("value")
    scores = tf.matmul(query, key, transpose_b=True) / np.float32(np.sqrt(part))
    seen = tf.transpose(tf.matmul(tf.nn.softmax(scores + unseen), value), [0, 2, 1, 3])
    out = _dense(tf.reshape(seen, [-1, width]), f"{name}/out", width, width)
    hidden = _normed(hidden + out, f"{name}/norm_1")
    wide = tf.nn.gelu(_dense(hidden, f"{name}/wide", width, 4 * width), approximate=True)
    narrow = _dense(wide, f"{name}/narrow", 4 * width, width)
    return _normed(hidden + narrow, f"{name}/norm_2")


def _normed(x: Any, name: str) -> Any:
    width = x.shape[-1]
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    scale, offset = (
        _new_variable(f"{name}/scale", [width], 1.0),
        _new_variable(f"{name}/offset", [width]),
    )
    return tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-6)


def _dense(x: Any, name: str, inputs: int, outputs: int) -> Any:
    kernel = _new_variable(f"{name}/kernel", [inputs, outputs])
    return tf.nn.bias_add(tf.matmul(x, kernel), _new_variable(f"{name}/bias", [outputs], 0.0))
