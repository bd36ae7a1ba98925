"""Language models and word vectors."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed, lengths_of
from support.programs.parts import adam, dense, f64, momentum, sgd, tf1, weight
from support.programs.registry import Built, program

WORDS, LENGTH, HIDDEN = 9, 4, 4


def shape_list(x: Any) -> list[Any]:
    """The sizes of a tensor, known ones as numbers."""
    dynamic = tf.shape(x)
    return [dynamic[i] if s is None else s for i, s in enumerate(x.shape.as_list())]


def layer_norm(x: Any, name: str) -> Any:
    gain = tf1.get_variable(f"{name}_g", [x.shape[-1]], f64, tf1.ones_initializer())
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-5) * gain


def bert_body(ids: Any, mask: Any, table: Any) -> Any:
    batch, length = shape_list(ids)
    flat = tf.gather(table, tf.reshape(ids, [-1]))
    x = (
        tf.reshape(flat, [batch, length, HIDDEN])
        + weight("positions", [LENGTH, HIDDEN])[tf.newaxis]
    )
    ones = tf.ones([batch, length, 1], f64)
    adder = (1.0 - ones * tf.cast(mask, f64)[:, tf.newaxis]) * -10000.0
    h = tf.reshape(x, [-1, HIDDEN])

    def heads(t: Any) -> Any:
        return tf.transpose(tf.reshape(t, [batch, length, 2, 2]), [0, 2, 1, 3])

    q, k, v = (heads(dense(h, HIDDEN, n)) for n in ("query", "key", "value"))
    scores = tf.matmul(q, k, transpose_b=True) / np.sqrt(2.0) + adder[:, tf.newaxis]
    z = tf.matmul(tf.nn.softmax(scores), v)
    z = tf.reshape(tf.transpose(z, [0, 2, 1, 3]), [-1, HIDDEN])
    h = layer_norm(h + dense(z, HIDDEN, "attended"), "a")
    h = layer_norm(h + dense(dense(h, 6, "up", tf.nn.gelu), HIDDEN, "down"), "b")
    return tf.reshape(h, [batch, length, HIDDEN])


def bert_feed(*fed_tensors: Any) -> Any:
    ids, mask, places, labels, weights, follows = fed_tensors

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        found = (np.arange(2)[None] <= np.arange(n)[:, None] % 2) * 1.0
        return {
            ids: r.randint(0, WORDS, [n, LENGTH]),
            mask: np.arange(LENGTH)[None] < lengths_of(step, LENGTH)[:, None],
            places: r.randint(0, LENGTH, [n, 2]),
            labels: r.randint(0, WORDS, [n, 2]),
            weights: found,
            follows: r.randint(0, 2, [n, 1]),
        }

    return feed


@program(splits=True)
def bert_pretraining() -> Built:
    """Masked words are gathered by flat offsets; one loss by the sum of its weights, the other a mean; AdamW."""
    ids, mask = fed([None, LENGTH], tf.int32), fed([None, LENGTH], tf.int32)
    places, labels, weights = fed([None, 2], tf.int32), fed([None, 2], tf.int32), fed([None, 2])
    follows = fed([None, 1], tf.int32)
    table = weight("table", [WORDS, HIDDEN])
    sequence = bert_body(ids, mask, table)
    batch, length, width = shape_list(sequence)
    offsets = tf.reshape(tf.range(0, batch, dtype=tf.int32) * length, [-1, 1])
    flat = tf.reshape(places + offsets, [-1])
    found = tf.gather(tf.reshape(sequence, [batch * length, width]), flat)
    logits = tf.matmul(dense(found, HIDDEN, "transform", tf.nn.gelu), table, transpose_b=True)
    logs = tf.nn.log_softmax(logits + weight("output_bias", [WORDS]))
    hot = tf.one_hot(tf.reshape(labels, [-1]), WORDS, dtype=f64)
    per_word = -tf.reduce_sum(logs * hot, [-1])
    w = tf.reshape(weights, [-1])
    masked = tf.reduce_sum(w * per_word) / (tf.reduce_sum(w) + 1e-5)
    pooled = dense(tf.squeeze(sequence[:, 0:1, :], 1), HIDDEN, "pooled", tf.tanh)
    next_logs = tf.nn.log_softmax(dense(pooled, 2, "next"))
    next_hot = tf.one_hot(tf.reshape(follows, [-1]), 2, dtype=f64)
    following = tf.reduce_mean(-tf.reduce_sum(next_hot * next_logs, -1))
    loss = masked + following
    variables = tf1.trainable_variables()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, variables), 1.0)
    updates = []
    for v, g in zip(variables, gradients, strict=True):
        name = v.op.name
        m = tf1.get_variable(f"{name}/m", v.shape, f64, tf1.zeros_initializer(), trainable=False)
        s = tf1.get_variable(f"{name}/v", v.shape, f64, tf1.zeros_initializer(), trainable=False)
        next_m, next_s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * tf.square(g)
        step = next_m / (tf.sqrt(next_s) + 1e-6) + 0.01 * v
        updates += [v.assign(v - 0.01 * step), m.assign(next_m), s.assign(next_s)]
    count = tf1.train.get_or_create_global_step()
    train = tf.group(*updates, count.assign_add(1))
    fetches = {"loss": loss, "per_word": per_word, "masked": masked, "next": following}
    return Built([train], fetches, bert_feed(ids, mask, places, labels, weights, follows))


@program(splits=True)
def bert_classifier_with_metrics() -> Built:
    ids, mask = fed([None, LENGTH], tf.int32), fed([None, LENGTH], tf.int32)
    y, real = fed([None], tf.int32), fed([None])
    sequence = bert_body(ids, mask, weight("table", [WORDS, HIDDEN]))
    logits = dense(sequence[:, 0], 3, "classifier")
    losses = -tf.reduce_sum(tf.one_hot(y, 3, dtype=f64) * tf.nn.log_softmax(logits), -1)
    loss = tf.reduce_mean(losses)
    predicted = tf.argmax(logits, -1, output_type=tf.int32)
    accuracy = tf1.metrics.accuracy(y, predicted, weights=real)
    mean = tf1.metrics.mean(losses, weights=real)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            ids: r.randint(0, WORDS, [n, LENGTH]),
            mask: np.arange(LENGTH)[None] < lengths_of(step, LENGTH)[:, None],
            y: r.randint(0, 3, n),
            real: np.arange(n) > 0,
        }

    train = [adam(loss, 0.01), accuracy[1], mean[1]]
    return Built(train, {"loss": loss, "accuracy": accuracy[0], "mean": mean[0]}, feed)


@program(splits=True)
def gpt2() -> Built:
    """Everything is reshaped by `shape_list`; the past is a fetch; the loss leaves the last word out."""
    ids = fed([None, None], tf.int32)
    batch, length = shape_list(ids)
    table = weight("wte", [WORDS, HIDDEN])
    positions = tf.tile(tf.range(length)[tf.newaxis], [batch, 1])
    h = tf.gather(table, ids) + tf.gather(weight("wpe", [6, HIDDEN]), positions)

    def conv1d(x: Any, units: int, name: str) -> Any:
        *start, width = shape_list(x)
        y = tf.matmul(tf.reshape(x, [-1, width]), weight(name, [width, units]))
        return tf.reshape(y, [*start, units])

    def split_heads(x: Any) -> Any:
        *start, width = shape_list(x)
        return tf.transpose(tf.reshape(x, [*start, 2, width // 2]), [0, 2, 1, 3])

    x = layer_norm(h, "ln1")
    q, k, v = map(split_heads, tf.split(conv1d(x, 3 * HIDDEN, "attn"), 3, axis=2))
    present = tf.stack([k, v], 1)
    w = tf.matmul(q, k, transpose_b=True) * tf.math.rsqrt(tf.cast(v.shape[-1], f64))
    _, _, nd, ns = shape_list(w)
    b = tf.cast(tf.range(nd)[:, tf.newaxis] >= tf.range(ns) - ns + nd, f64)
    b = tf.reshape(b, [1, 1, nd, ns])
    a = tf.matmul(tf.nn.softmax(w * b - 1e10 * (1 - b)), v)
    a = tf.transpose(a, [0, 2, 1, 3])
    *start, heads, width = shape_list(a)
    h += conv1d(tf.reshape(a, [*start, heads * width]), HIDDEN, "proj")
    h += conv1d(tf.nn.gelu(conv1d(layer_norm(h, "ln2"), 6, "fc")), HIDDEN, "fc_proj")
    flat = tf.reshape(layer_norm(h, "lnf"), [batch * length, HIDDEN])
    logits = tf.reshape(tf.matmul(flat, table, transpose_b=True), [batch, length, WORDS])
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids[:, 1:], logits=logits[:, :-1])
    )

    def feed(step: int) -> Any:
        return {ids: draw(step).randint(0, WORDS, [ROWS[step], 4])}

    return Built([adam(loss, 0.01)], {"loss": loss, "present": present, "logits": logits}, feed)


@program()
def lm1b_sampled_softmax() -> Built:
    """Rows of all steps in one list, `concat` of the steps' outputs; candidates are given, so nothing is random."""
    x, y = fed([None, LENGTH], tf.int32), fed([None, LENGTH], tf.int64)
    w = fed([None, LENGTH])
    inputs = tf.unstack(tf.nn.embedding_lookup(weight("table", [WORDS, 3]), x), LENGTH, 1)
    outs = [dense(e, 4, f"step{i}", tf.tanh) for i, e in enumerate(inputs)]
    flat = tf.reshape(tf.concat(outs, 1), [-1, 4])
    candidates = (
        tf.constant([1, 3, 5], tf.int64),
        0.3 * tf.ones([tf.size(y), 1], f64),
        tf.constant([0.2, 0.3, 0.4], f64),
    )
    losses = tf.nn.sampled_softmax_loss(
        weight("softmax_w", [WORDS, 4]),
        tf1.get_variable("softmax_b", [WORDS], f64, tf1.zeros_initializer()),
        tf.reshape(y, [-1, 1]),
        flat,
        3,
        WORDS,
        sampled_values=candidates,
    )
    loss = tf.reduce_mean(losses * tf.reshape(w, [-1]))
    total = LENGTH * loss
    step = tf1.train.get_or_create_global_step()
    variables = tf1.trainable_variables()
    gradients, norm = tf.clip_by_global_norm(tf.gradients(total, variables), 1.0)
    train = tf1.train.AdagradOptimizer(0.2).apply_gradients(
        zip(gradients, variables, strict=True), step
    )
    average = tf1.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([train]):
        train = average.apply(variables[-2:])

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        kept = np.arange(LENGTH)[None] < lengths_of(step, LENGTH)[:, None]
        return {x: r.randint(0, WORDS, [n, LENGTH]), y: r.randint(0, WORDS, [n, LENGTH]), w: kept}

    return Built([train], {"loss": loss, "norm": norm}, feed)


@program()
def lm1b_of_a_fixed_batch() -> Built:
    """The state has a fixed number of rows in a variable and meets a batch of unknown size, as lm1b is written."""
    x, y = fed([None, 3]), fed([None], tf.int32)
    state = tf1.get_variable("state", [5, 3], f64, tf1.zeros_initializer(), trainable=False)
    mixed = tf.tanh(tf.matmul(x, weight("w", [3, 3])) + state.read_value())
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=dense(mixed, WORDS, "out"))
    )
    train = sgd(loss)
    with tf.control_dependencies([train]):
        keep = state.assign(tf.identity(mixed))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(5, 3), y: r.randint(0, WORDS, 5)}

    return Built([keep.op], {"loss": loss, "mixed": mixed}, feed)


@program()
def word2vec_nce() -> Built:
    """Noise-contrastive estimation with given candidates: a sum over rows of sums."""
    x, y = fed([None], tf.int32), fed([None, 1], tf.int64)
    table = weight("table", [WORDS, 3])
    candidates = (
        tf.constant([1, 3, 5, 7], tf.int64),
        0.3 * tf.ones([tf.shape(y)[0], 1], f64),
        tf.constant([0.2, 0.3, 0.4, 0.5], f64),
    )
    losses = tf.nn.nce_loss(
        weight("nce_w", [WORDS, 3]),
        tf1.get_variable("nce_b", [WORDS], f64, tf1.zeros_initializer()),
        y,
        tf.nn.embedding_lookup(table, x),
        4,
        WORDS,
        sampled_values=candidates,
    )
    loss = tf.reduce_mean(losses)
    normed = table / tf.sqrt(tf.reduce_sum(tf.square(table), 1, keepdims=True))
    near = tf.matmul(tf.nn.embedding_lookup(normed, tf.constant([1, 2])), normed, transpose_b=True)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randint(0, WORDS, n), y: r.randint(0, WORDS, [n, 1])}

    return Built([sgd(loss, 1.0)], {"loss": loss, "near": near}, feed)


@program()
def word2vec_true_and_sampled() -> Built:
    """The loss is two sums by a batch size that is a constant, with sampled words shared by the batch."""
    x, y, sampled = fed([None], tf.int32), fed([None], tf.int32), fed([3], tf.int32)
    table, softmax = weight("table", [WORDS, 3]), weight("softmax", [WORDS, 3])
    e = tf.nn.embedding_lookup(table, x)
    true = tf.reduce_sum(e * tf.nn.embedding_lookup(softmax, y), 1)
    noise = tf.matmul(e, tf.nn.embedding_lookup(softmax, sampled), transpose_b=True)
    a = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(true), logits=true)
    b = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.zeros_like(noise), logits=noise)
    loss = (tf.reduce_sum(a) + tf.reduce_sum(b)) / 8.0

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            x: r.randint(0, WORDS, n),
            y: r.randint(0, WORDS, n),
            sampled: r.randint(0, WORDS, 3),
        }

    return Built([sgd(loss)], {"loss": loss, "true": true}, feed)


@program(chosen=True)
def word2vec_random_candidates() -> Built:
    x, y = fed([None], tf.int32), fed([None, 1], tf.int64)
    table = tf1.get_variable("table", initializer=tf.constant(np.ones([WORDS, 3]) / 3, tf.float32))
    losses = tf.nn.nce_loss(
        tf1.get_variable("nce_w", initializer=tf.constant(np.ones([WORDS, 3]) / 4, tf.float32)),
        tf1.get_variable("nce_b", [WORDS], tf.float32, tf1.zeros_initializer()),
        y,
        tf.nn.embedding_lookup(table, x),
        4,
        WORDS,
    )
    loss = tf.reduce_mean(losses)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randint(0, WORDS, n), y: r.randint(0, WORDS, [n, 1])}

    return Built([sgd(loss)], {"loss": loss}, feed)


@program(splits=True)
def label_smoothing() -> Built:
    """The Transformer's loss: smoothed labels, a constant taken off, and a mean of what is not padding."""
    x, y = fed([None, LENGTH, 3]), fed([None, LENGTH], tf.int32)
    logits = dense(x, WORDS, "out")
    low = 0.1 / (WORDS - 1)
    soft = tf.one_hot(y, WORDS, tf.constant(0.9, f64), tf.constant(low, f64))
    cross = tf.nn.softmax_cross_entropy_with_logits(labels=soft, logits=logits)
    cross -= -(0.9 * np.log(0.9) + (WORDS - 1) * low * np.log(low + 1e-20))
    kept = tf.cast(tf.not_equal(y, 0), f64)
    loss = tf.reduce_sum(cross * kept) / tf.reduce_sum(kept)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        ids = r.randint(1, WORDS, [n, LENGTH])
        ids[np.arange(LENGTH)[None] >= lengths_of(step, LENGTH)[:, None]] = 0
        return {x: r.randn(n, LENGTH, 3), y: ids}

    return Built([momentum(loss)], {"loss": loss, "logits": logits}, feed)


@program(splits=True)
def distillation() -> Built:
    """A teacher that does not learn, softened by a temperature."""
    x, y = fed([None, 4]), fed([None], tf.int32)
    with tf1.variable_scope("teacher"):
        teacher = dense(dense(x, 5, "h", tf.nn.relu), 3, "out")
    with tf1.variable_scope("student"):
        student = dense(x, 3, "out")
    soft = tf.stop_gradient(tf.nn.softmax(teacher / 2.0))
    far = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=soft, logits=student / 2.0))
    near = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=student))
    loss = 0.7 * far * 4.0 + 0.3 * near
    train = sgd(loss, variables=tf1.trainable_variables("student"))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randint(0, 3, ROWS[step])}

    return Built([train], {"loss": loss, "student": student}, feed)
