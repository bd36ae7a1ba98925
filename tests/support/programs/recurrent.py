"""State that is carried: from step to step, from segment to segment, in a memory."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed, lengths_of
from support.programs.parts import adam, cells, dense, f64, initial, sgd, tf1, weight
from support.programs.registry import Built, program


def lstm(units: int) -> Any:
    return cells.LSTMCell(units, initializer=initial())


def attend(query: Any, memory: Any, mask: Any) -> Any:
    scores = tf.einsum("bid,bjd->bij", query, memory) / 2.0
    scores = scores * mask - 1e30 * (1.0 - mask)
    return tf.einsum("bij,bjd->bid", tf.nn.softmax(scores), memory)


@program()
def transformer_xl() -> Built:
    """The memory of the former segment is fed, extended and fetched; relative positions by padding and reshape."""
    x, y, memory = fed([None, 3], tf.int32), fed([None, 3], tf.int32), fed([None, 2, 4])
    table = weight("table", [8, 4])
    h = tf.nn.embedding_lookup(table, x)
    both = tf.concat([memory, h], 1)
    klen, qlen = tf.shape(both)[1], tf.shape(x)[1]
    new = tf.stop_gradient(both[:, -2:])
    positions = tf.cast(tf.range(klen - 1, -1, -1), f64)
    angles = tf.einsum("i,j->ij", positions, tf.constant([1.0, 0.1], f64))
    r = tf.matmul(tf.concat([tf.sin(angles), tf.cos(angles)], -1), weight("r", [4, 4]))
    q, k = tf.tensordot(h, weight("q", [4, 4]), 1), tf.tensordot(both, weight("k", [4, 4]), 1)
    content = tf.einsum("bid,bjd->bij", q + weight("u", [4]), k)
    shifted = tf.einsum("bid,jd->bij", q + weight("v", [4]), r)
    padded = tf.pad(shifted, [[0, 0], [0, 0], [1, 0]])
    size = tf.shape(shifted)
    padded = tf.reshape(padded, [size[0], size[2] + 1, size[1]])[:, 1:]
    scores = (content + tf.reshape(padded, size)) / 2.0
    mask = tf.linalg.band_part(tf.ones([qlen, qlen], f64), 0, -1)
    mask -= tf.linalg.band_part(tf.ones([qlen, qlen], f64), 0, 0)
    mask = tf.concat([tf.zeros([qlen, klen - qlen], f64), mask], 1)[tf.newaxis]
    scores = scores * (1 - mask) - 1e30 * mask
    out = h + tf.matmul(tf.nn.softmax(scores), both)
    mean, variance = tf.nn.moments(out, [-1], keepdims=True)
    out = (out - mean) * tf.math.rsqrt(variance + 1e-6)
    logits = tf.tensordot(out, tf.transpose(table), 1)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    loss = tf.reduce_mean(losses)

    def feed(step: int) -> Any:
        s = draw(step)
        n = ROWS[step]
        return {x: s.randint(0, 8, [n, 3]), y: s.randint(0, 8, [n, 3]), memory: s.randn(n, 2, 4)}

    return Built([adam(loss)], {"loss": loss, "memory": new, "losses": losses}, feed)


@program()
def transformer_xl_time_first() -> Built:
    """The same idea with time first, and the batch in dimension 1 of a transposed feed."""
    x, y, memory = fed([None, 3], tf.int32), fed([None, 3], tf.int32), fed([None, 2, 4])
    table = weight("table", [8, 4])
    h = tf.nn.embedding_lookup(table, tf.transpose(x))
    past = tf.transpose(memory, [1, 0, 2])
    both = tf.concat([past, h], 0)
    w = weight("w", [4, 2, 3])
    q = tf.einsum("ibh,hnd->ibnd", h, w)
    k = tf.einsum("jbh,hnd->jbnd", both, weight("k", [4, 2, 3]))
    v = tf.einsum("jbh,hnd->jbnd", both, weight("v", [4, 2, 3]))
    p = tf.nn.softmax(tf.einsum("ibnd,jbnd->ijbn", q, k), 1)
    z = tf.einsum("ijbn,jbnd->ibnd", p, v)
    shape = tf.shape(z)
    out = h + dense(tf.reshape(z, [shape[0], shape[1], 6]), 4, "o")
    logits = tf.einsum("ibd,vd->ibv", out, table)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.transpose(y), logits=logits)
    )

    def feed(step: int) -> Any:
        s = draw(step)
        n = ROWS[step]
        return {x: s.randint(0, 8, [n, 3]), y: s.randint(0, 8, [n, 3]), memory: s.randn(n, 2, 4)}

    return Built([sgd(loss)], {"loss": loss, "next": tf.transpose(both[-2:], [1, 0, 2])}, feed)


@program(flow=("v1", "v2"))
def char_rnn_with_state_in_a_variable() -> Built:
    """The batch has a fixed size, and the state stays in a variable between the steps."""
    batch = 5
    x, y = fed([batch, 3], tf.int32), fed([batch, 3], tf.int32)
    state = tf1.get_variable("state", [batch, 4], f64, tf1.zeros_initializer(), trainable=False)
    with tf1.variable_scope("rnn"):
        cell = cells.GRUCell(4, kernel_initializer=initial())
        inputs = tf.nn.embedding_lookup(weight("table", [7, 3]), x)
        out, final = tf1.nn.dynamic_rnn(cell, inputs, initial_state=state.read_value())
    logits = dense(out, 7, "out")
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    train = sgd(loss)
    with tf.control_dependencies([train]):
        keep = state.assign(final)

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randint(0, 7, [batch, 3]), y: r.randint(0, 7, [batch, 3])}

    return Built([keep.op], {"loss": loss, "final": final}, feed)


@program()
def char_rnn_with_state_that_grows() -> Built:
    """The batch has any size, and the state lies in a variable of a fixed number of rows."""
    x, y = fed([None, 3]), fed([None])
    state = tf1.get_variable("state", [4], f64, tf1.zeros_initializer(), trainable=False)
    rows = tf.shape(x)[0]
    start = tf.tile(state.read_value()[tf.newaxis], [rows, 1])
    with tf1.variable_scope("rnn"):
        cell = cells.GRUCell(4, kernel_initializer=initial())
        _, final = cell(x, start)
    loss = tf.reduce_mean(tf.square(dense(final, 1, "out")[:, 0] - y))
    train = sgd(loss)
    with tf.control_dependencies([train]):
        keep = state.assign(tf.identity(final)[-1])

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 3), y: r.randn(ROWS[step])}

    return Built([keep.op], {"loss": loss, "final": final}, feed)


@program()
def state_tuple_is_fed() -> Built:
    """The state is fed in one tensor whose second dimension is the batch."""
    x, y, state = fed([None, 3], tf.int32), fed([None, 3], tf.int32), fed([2, None, 4])
    with tf1.variable_scope("rnn"):
        cell = lstm(4)
        inputs = tf.nn.embedding_lookup(weight("table", [7, 3]), x)
        start = cells.LSTMStateTuple(state[0], state[1])
        out, final = tf1.nn.dynamic_rnn(cell, inputs, initial_state=start)
    logits = dense(out, 7, "out")
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    flat = tf.reshape(tf.concat(final, 0), [2, -1, 4])

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randint(0, 7, [n, 3]), y: r.randint(0, 7, [n, 3]), state: r.randn(2, n, 4)}

    return Built([sgd(loss)], {"loss": loss, "final": flat}, feed)


@program(flow=("v1", "v2"))
def bidirectional_with_lengths() -> Built:
    x, length, y = fed([None, 4, 3]), fed([None], tf.int32), fed([None], tf.int32)
    (a, b), (last_a, last_b) = tf1.nn.bidirectional_dynamic_rnn(
        lstm(3), lstm(3), x, length, dtype=f64
    )
    h = tf.concat([a, b], 2)
    rows = tf.range(tf.shape(x)[0])
    last = tf.gather_nd(h, tf.stack([rows, length - 1], 1))
    logits = dense(tf.concat([last, last_a.h, last_b.h], 1), 3, "out")
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    loss = tf.reduce_mean(losses)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, 4, 3), length: lengths_of(step, 4), y: r.randint(0, 3, n)}

    return Built([sgd(loss)], {"loss": loss, "logits": logits, "h": h}, feed)


@program()
def static_rnn_with_lengths() -> Built:
    """The loop is unrolled; conds on the shortest and longest row choose what is computed."""
    x, length, y = fed([None, 4, 3]), fed([None], tf.int32), fed([None], tf.int32)
    outs, _ = tf1.nn.static_rnn(lstm(3), tf.unstack(x, 4, 1), dtype=f64, sequence_length=length)
    stacked = tf.stack(outs, 1)
    rows = tf.range(tf.shape(x)[0]) * 4 + (length - 1)
    last = tf.gather(tf.reshape(stacked, [-1, 3]), rows)
    logits = dense(last, 3, "out")
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, 4, 3), length: lengths_of(step, 4), y: r.randint(0, 3, n)}

    return Built([sgd(loss)], {"loss": loss, "outs": stacked}, feed)


@program()
def turing_machine() -> Built:
    """A memory that each row writes and reads, in an unrolled controller; it begins with a learned value."""
    x, y = fed([None, 3, 3]), fed([None, 3])
    start = weight("memory", [4, 3])
    memory = tf.tile(start[tf.newaxis], [tf.shape(x)[0], 1, 1])
    key_w, add_w, erase_w = (weight(n, [3, 3]) for n in ("key", "add", "erase"))
    reads = []
    for t in range(3):
        key = tf.tanh(tf.matmul(x[:, t], key_w))
        inner = tf.matmul(memory, key[:, :, tf.newaxis])[:, :, 0]
        norms = tf.norm(memory + 1e-6, axis=2) * tf.norm(key, axis=1, keepdims=True)
        w = tf.nn.softmax(inner / (norms + 1e-6))
        memory *= 1 - w[:, :, tf.newaxis] * tf.sigmoid(tf.matmul(x[:, t], erase_w))[:, tf.newaxis]
        memory += w[:, :, tf.newaxis] * tf.tanh(tf.matmul(x[:, t], add_w))[:, tf.newaxis]
        reads.append(tf.reduce_sum(w[:, :, tf.newaxis] * memory, 1))
    out = dense(reads[-1], 3, "out")
    loss = tf.reduce_mean(tf.square(out - y))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 3, 3), y: r.randn(ROWS[step], 3)}

    return Built([adam(loss)], {"loss": loss, "memory": memory}, feed)


@program(splits=True)
def memory_network() -> Built:
    """End-to-end memory: several hops over a story, with the weights of an adjacent hop."""
    story, query, y = fed([None, 3, 4], tf.int32), fed([None, 4], tf.int32), fed([None], tf.int32)
    a, b, c = (weight(n, [8, 3]) for n in "abc")
    encoding = tf.constant(np.linspace(0.5, 1.5, 12).reshape(4, 3), f64)
    u = tf.reduce_sum(tf.nn.embedding_lookup(b, query) * encoding, 1)
    m = tf.reduce_sum(tf.nn.embedding_lookup(a, story) * encoding, 2) + weight("time", [3, 3])
    for _ in range(2):
        p = tf.nn.softmax(tf.reduce_sum(m * u[:, tf.newaxis], 2))
        kept = tf.reduce_sum(tf.nn.embedding_lookup(c, story) * encoding, 2)
        u += tf.reduce_sum(tf.transpose(kept, [0, 2, 1]) * p[:, tf.newaxis], 2)
    logits = tf.matmul(u, c, transpose_b=True)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    zero = tf.zeros([1, 3], f64)
    train = sgd(loss)
    with tf.control_dependencies([train]):
        keep = [tf1.scatter_update(v, [0], zero) for v in (a, b)]

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            story: r.randint(0, 8, [n, 3, 4]),
            query: r.randint(0, 8, [n, 4]),
            y: r.randint(0, 8, n),
        }

    return Built([tf.group(*keep)], {"loss": loss, "p": p}, feed)


@program()
def attention_with_masks() -> Built:
    """A padding mask from the words, a look-ahead mask from the shape, heads by transposes."""
    words, y = fed([None, None], tf.int32), fed([None, None], tf.int32)
    shape = tf.shape(words)
    x = tf.nn.embedding_lookup(weight("table", [8, 4]), words)
    padding = tf.cast(tf.equal(words, 0), f64)[:, tf.newaxis, tf.newaxis]
    ahead = 1 - tf.linalg.band_part(tf.ones([shape[1], shape[1]], f64), -1, 0)
    mask = tf.maximum(padding, ahead)

    def heads(v: Any) -> Any:
        return tf.transpose(tf.reshape(v, [shape[0], -1, 2, 2]), [0, 2, 1, 3])

    q, k, v = (heads(dense(x, 4, n)) for n in "qkv")
    p = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / np.sqrt(2.0) + mask * -1e9)
    z = tf.reshape(tf.transpose(tf.matmul(p, v), [0, 2, 1, 3]), [shape[0], -1, 4])
    logits = dense(x + z, 8, "out")
    cross = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    kept = tf.cast(tf.not_equal(y, 0), f64)
    loss = tf.reduce_mean(cross * kept)
    weighted = tf.reduce_sum(cross * kept) / tf.reduce_sum(kept)
    total = loss + weighted

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        ids = r.randint(1, 8, [n, 4])
        ids[np.arange(4)[None] >= lengths_of(step, 4)[:, None]] = 0
        return {words: ids, y: np.roll(ids, -1, 1)}

    return Built([sgd(total)], {"loss": loss, "weighted": weighted, "p": p}, feed)
