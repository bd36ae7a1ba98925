"""Sequences of uneven length: translation, tagging, alignment, search."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed, lengths_of
from support.programs.parts import adam, cells, dense, f64, initial, momentum, sgd, tf1, weight
from support.programs.registry import Built, program

WORDS, LONGEST = 9, 4


def tokens(step: int, salt: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Words of the rows, padded with 0, and the lengths; padded to the longest row."""
    length = lengths_of(step, LONGEST, salt)
    found = draw(step, salt).randint(1, WORDS, [ROWS[step], LONGEST])
    found[np.arange(LONGEST)[None] >= length[:, None]] = 0
    return found, length


def lstm(units: int) -> Any:
    return cells.LSTMCell(units, initializer=initial())


@program(flow=("v1", "v2"))
def nmt() -> Built:
    """Encoder, decoder with attention, and a loss masked by `sequence_mask`, by the size of the batch."""
    source, source_length = fed([None, None], tf.int32), fed([None], tf.int32)
    target, target_length = fed([None, None], tf.int32), fed([None], tf.int32)
    table = weight("table", [WORDS, 3])
    with tf1.variable_scope("encoder"):
        memory, state = tf1.nn.dynamic_rnn(
            lstm(4), tf.nn.embedding_lookup(table, source), source_length, dtype=f64
        )
    inputs = tf.pad(target[:, :-1], [[0, 0], [1, 0]])
    with tf1.variable_scope("decoder"):
        out, _ = tf1.nn.dynamic_rnn(
            lstm(4), tf.nn.embedding_lookup(table, inputs), target_length, initial_state=state
        )
    scores = tf.matmul(tf.tensordot(out, weight("attention", [4, 4]), 1), memory, transpose_b=True)
    mask = tf.sequence_mask(source_length, tf.shape(source)[1], dtype=f64)
    scores += (1.0 - mask[:, tf.newaxis]) * -1e9
    context = tf.matmul(tf.nn.softmax(scores), memory)
    logits = dense(tf.concat([out, context], -1), WORDS, "output")
    cross = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=logits)
    weights = tf.sequence_mask(target_length, tf.shape(target)[1], dtype=f64)
    loss = tf.reduce_sum(cross * weights) / tf.cast(tf.shape(source)[0], f64)
    count = tf.reduce_sum(source_length) + tf.reduce_sum(target_length)
    variables = tf1.trainable_variables()
    gradients, norm = tf.clip_by_global_norm(tf.gradients(loss, variables), 1.0)
    step = tf1.train.get_or_create_global_step()
    optimizer = tf1.train.GradientDescentOptimizer(0.5)
    train = optimizer.apply_gradients(zip(gradients, variables, strict=True), step)

    def feed(step: int) -> Any:
        a, n = tokens(step)
        b, m = tokens(step, 4)
        return {source: a, source_length: n, target: b, target_length: m}

    fetches = {"loss": loss, "count": count, "norm": norm, "logits": logits}
    return Built([train], fetches, feed)


@program()
def nmt_masked_to_the_longest() -> Built:
    """The padded targets are masked by `sequence_mask(lengths)`, which is as long as the longest row."""
    target, length, x = fed([None, None], tf.int32), fed([None], tf.int32), fed([None, 3])
    table = weight("table", [WORDS, 3])
    h = tf.nn.embedding_lookup(table, target) + x[:, tf.newaxis]
    logits = dense(h, WORDS, "output")
    cross = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.roll(target, -1, 1), logits=logits
    )
    mask = tf.sequence_mask(length, dtype=f64)
    loss = tf.reduce_sum(cross * mask) / tf.reduce_sum(mask)
    longest = tf.reduce_max(length)

    def feed(step: int) -> Any:
        words, n = tokens(step)
        return {target: words, length: n, x: draw(step).randn(ROWS[step], 3)}

    return Built([sgd(loss)], {"loss": loss, "longest": longest, "mask": mask}, feed)


def forward(scores: Any, transitions: Any, length: Any) -> Any:
    """The logarithm of the sum over all paths of a chain, row by row, by `tf.scan` over time."""
    steps = tf.transpose(scores, [1, 0, 2])
    times = tf.range(1, tf.shape(steps)[0])

    def advance(alpha: Any, parts: Any) -> Any:
        score, time = parts
        grown = tf.reduce_logsumexp(alpha[:, :, tf.newaxis] + transitions[tf.newaxis], 1) + score
        return tf.where((time < length)[:, tf.newaxis], grown, alpha)

    alphas = tf.scan(advance, (steps[1:], times), steps[0])
    return tf.reduce_logsumexp(alphas[-1], 1)


@program(flow=("v1", "v2"))
def crf() -> Built:
    x, tags, length = fed([None, LONGEST, 3]), fed([None, LONGEST], tf.int32), fed([None], tf.int32)
    scores = dense(x, 3, "scores")
    transitions = weight("transitions", [3, 3])
    mask = tf.sequence_mask(length, LONGEST, dtype=f64)
    own = tf.reduce_sum(tf.reduce_sum(scores * tf.one_hot(tags, 3, dtype=f64), 2) * mask, 1)
    pairs = tf.gather_nd(transitions, tf.stack([tags[:, :-1], tags[:, 1:]], -1))
    own += tf.reduce_sum(pairs * mask[:, 1:], 1)
    likelihood = own - forward(scores, transitions, length)
    loss = tf.reduce_mean(-likelihood)

    def feed(step: int) -> Any:
        r = draw(step)
        return {
            x: r.randn(ROWS[step], LONGEST, 3),
            tags: r.randint(0, 3, [ROWS[step], LONGEST]),
            length: lengths_of(step, LONGEST),
        }

    return Built([sgd(loss)], {"loss": loss, "likelihood": likelihood}, feed)


@program()
def tf_ner() -> Built:
    """Words with characters, convolved with masks of the longest word; a CRF in `dynamic_rnn`; time first."""
    words, length = fed([None, None], tf.int32), fed([None], tf.int32)
    characters, lengths = fed([None, None, None], tf.int32), fed([None, None], tf.int32)
    tags = fed([None, None], tf.int32)
    shape = tf.shape(characters)
    found = tf.nn.embedding_lookup(weight("characters", [7, 2]), characters)
    flat = tf.reshape(found, [shape[0] * shape[1], shape[2], 2])
    mask = tf.sequence_mask(tf.reshape(lengths, [-1]), shape[2], dtype=f64)[:, :, tf.newaxis]
    h = tf.nn.conv1d(flat * mask, weight("kernel", [3, 2, 3]), 1, "SAME") * mask
    h += (mask - 1.0) * 100.0
    h = tf.reshape(tf.reduce_max(h, 1), [shape[0], shape[1], 3])
    x = tf.concat([tf.nn.embedding_lookup(weight("words", [WORDS, 3]), words), h], -1)
    time_first = tf.transpose(x, [1, 0, 2])
    with tf1.variable_scope("forward"):
        a, _ = tf1.nn.dynamic_rnn(lstm(3), time_first, length, dtype=f64, time_major=True)
    with tf1.variable_scope("backward"):
        b, _ = tf1.nn.dynamic_rnn(
            lstm(3),
            tf.reverse_sequence(time_first, length, 0, 1),
            length,
            dtype=f64,
            time_major=True,
        )
        b = tf.reverse_sequence(b, length, 0, 1)
    scores = dense(tf.transpose(tf.concat([a, b], -1), [1, 0, 2]), 3, "scores")
    mask = tf.sequence_mask(length, dtype=f64)
    own = tf.reduce_sum(tf.reduce_sum(scores * tf.one_hot(tags, 3, dtype=f64), 2) * mask, 1)
    likelihood = own - forward(scores, weight("transitions", [3, 3]), length)
    loss = tf.reduce_mean(-likelihood)

    def feed(step: int) -> Any:
        r = draw(step)
        found, n = tokens(step)
        return {
            words: found,
            length: n,
            characters: r.randint(0, 7, [ROWS[step], LONGEST, 5]),
            lengths: r.randint(1, 6, [ROWS[step], LONGEST]),
            tags: r.randint(0, 3, [ROWS[step], LONGEST]),
        }

    return Built([adam(loss)], {"loss": loss, "scores": scores}, feed)


@program(tolerance=1e-5)
def ctc() -> Built:
    """Time first, and labels in a sparse feed."""
    x, length = fed([None, 5, 3]), fed([None], tf.int32)
    labels = tf1.sparse_placeholder(tf.int32, [None, None])
    logits = tf.transpose(dense(x, 4, "out"), [1, 0, 2])
    losses = tf1.nn.ctc_loss(labels, tf.cast(logits, tf.float32), length)
    loss = tf.reduce_mean(losses)
    decoded, _ = tf.nn.ctc_greedy_decoder(tf.cast(logits, tf.float32), length)
    errors = tf.reduce_mean(tf.edit_distance(tf.cast(decoded[0], tf.int32), labels))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        places = [[row, k] for row in range(n) for k in range(1 + (row + step) % 2)]
        value = tf1.SparseTensorValue(places, r.randint(0, 3, len(places)), [n, 2])
        return {x: r.randn(n, 5, 3), length: 5 - np.arange(n) % 2, labels: value}

    return Built([sgd(loss)], {"loss": loss, "losses": losses, "errors": errors}, feed)


@program(tolerance=1e-5)
def ctc_of_dense_labels() -> Built:
    """The sparse labels are made in the graph, of padded rows."""
    x, length, labels = fed([None, 5, 3]), fed([None], tf.int32), fed([None, 2], tf.int32)
    logits = tf.transpose(dense(x, 4, "out"), [1, 0, 2])
    places = tf.where(tf.not_equal(labels, -1))
    sparse = tf.SparseTensor(
        places, tf.gather_nd(labels, places), tf.cast(tf.shape(labels), tf.int64)
    )
    losses = tf1.nn.ctc_loss(sparse, tf.cast(logits, tf.float32), length)
    loss = tf.reduce_mean(losses)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        found = r.randint(0, 3, [n, 2])
        found[::2, 1] = -1
        return {x: r.randn(n, 5, 3), length: 5 - np.arange(n) % 2, labels: found}

    return Built([sgd(loss)], {"loss": loss, "losses": losses}, feed)


@program(flow=("v1", "v2"))
def beam_search() -> Built:
    """Trained with a plain loss; a loop searches until all rows of the batch have ended."""
    x, y = fed([None, 4]), fed([None], tf.int32)
    h = dense(x, 5, "encode", tf.tanh)
    table = weight("table", [5, 5])
    beams = 2
    batch = tf.shape(x)[0]

    def tiled(t: Any) -> Any:
        return tf.reshape(tf.tile(t[:, tf.newaxis], [1, beams, 1]), [-1, 5])

    start = tf.ones([batch * beams, 1], tf.int32)
    scores = tf.tile(tf.constant([[0.0, -1e9]], f64), [batch, 1])

    def unfinished(i: Any, _: Any, ended: Any, __: Any) -> Any:
        return tf.logical_and(i < 6, tf.logical_not(tf.reduce_all(ended)))

    def advance(i: Any, ids: Any, ended: Any, total: Any) -> Any:
        state = tiled(h) + tf.nn.embedding_lookup(table, ids[:, -1])
        logits = tf.nn.log_softmax(tf.matmul(state, table, transpose_b=True))
        stay = tf.zeros_like(logits) + tf.constant([0.0, -1e9, -1e9, -1e9, -1e9], f64)
        logits = tf.where(tf.reshape(ended, [-1, 1]), stay, logits)
        grown = tf.reshape(tf.reshape(total, [-1, 1]) + logits, [batch, beams * 5])
        total, flat = tf.nn.top_k(grown, beams)
        parent, word = flat // 5, flat % 5
        rows = tf.reshape(tf.range(batch)[:, tf.newaxis] * beams + parent, [-1])
        ids = tf.concat([tf.gather(ids, rows), tf.reshape(word, [-1, 1])], 1)
        return i + 1, ids, tf.equal(word, 0), total

    shapes = [
        tf.TensorShape([]),
        tf.TensorShape([None, None]),
        tf.TensorShape([None, beams]),
        tf.TensorShape([None, beams]),
    ]
    loop = [tf.constant(0), start, tf.zeros([batch, beams], tf.bool), scores]
    count, ids, _, best = tf1.while_loop(unfinished, advance, loop, shapes)
    found = tf.reshape(ids, [batch, beams, -1])
    logits = tf.matmul(h, table, transpose_b=True)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randint(0, 5, ROWS[step])}

    fetches = {"loss": loss, "found": found, "best": best, "count": count}
    return Built([sgd(loss)], fetches, feed)


@program(flow=("v1", "v2"))
def greedy_decoder() -> Built:
    """A loop with tensor arrays that lasts until the longest row ends, and its mean score is trained on."""
    x, length = fed([None, 4]), fed([None], tf.int32)
    h = dense(x, 4, "encode", tf.tanh)
    w = weight("step", [4, 4])
    longest = tf.reduce_max(length)

    def advance(i: Any, state: Any, outs: Any) -> Any:
        state = tf.tanh(tf.matmul(state, w))
        kept = tf.cast(i < length, f64)
        return i + 1, state, outs.write(i, tf.reduce_sum(state, 1) * kept)

    outs = tf.TensorArray(f64, longest, element_shape=[None])
    _, _, outs = tf1.while_loop(lambda i, *_: i < longest, advance, [tf.constant(0), h, outs])
    stacked = tf.transpose(outs.stack())
    loss = tf.reduce_mean(tf.square(stacked - 0.3))

    def feed(step: int) -> Any:
        return {x: draw(step).randn(ROWS[step], 4), length: lengths_of(step, LONGEST)}

    return Built([sgd(loss)], {"loss": loss, "outs": stacked}, feed)


@program(tolerance=1e-5)
def open_seq2seq_with_accumulation() -> Built:
    """Gradients are summed over steps in float32 copies, scaled, and applied in each second step."""
    x, y, length = fed([None, LONGEST, 3]), fed([None, LONGEST], tf.int32), fed([None], tf.int32)
    logits = dense(x, 4, "out")
    cross = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    mask = tf.sequence_mask(length, LONGEST, dtype=f64)
    loss = tf.reduce_sum(cross * mask) / tf.reduce_sum(mask)
    variables = tf1.trainable_variables()
    optimizer = tf1.train.MomentumOptimizer(0.1, 0.9)
    pairs = optimizer.compute_gradients(loss * 128.0, variables)
    step = tf1.train.get_or_create_global_step()
    count = tf1.get_variable("count", initializer=0, trainable=False)
    sums = [
        tf1.get_variable(f"sum{i}", initializer=tf.zeros(v.shape, f64), trainable=False)
        for i, v in enumerate(variables)
    ]
    added = [s.assign_add(g / 128.0) for s, (g, _) in zip(sums, pairs, strict=True)]
    with tf.control_dependencies([*added, count.assign_add(1)]):
        due = tf.equal(count.read_value() % 2, 0)

    def apply() -> Any:
        means = [s.read_value() / 2.0 for s in sums]
        clipped, _ = tf.clip_by_global_norm(means, 1.0)
        done = optimizer.apply_gradients(zip(clipped, variables, strict=True), step)
        with tf.control_dependencies([done]):
            return tf.group(*[s.assign(tf.zeros_like(s)) for s in sums])

    train = tf1.cond(due, apply, tf.no_op)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            x: r.randn(n, LONGEST, 3),
            y: r.randint(0, 4, [n, LONGEST]),
            length: lengths_of(step, LONGEST),
        }

    return Built([train], {"loss": loss}, feed)


@program(splits=True)
def text_cnn() -> Built:
    words, y = fed([None, LONGEST], tf.int32), fed([None, 2])
    e = tf.nn.embedding_lookup(weight("table", [WORDS, 3]), words)[:, :, :, tf.newaxis]
    outs = []
    for size in (1, 2, 3):
        h = tf.nn.conv2d(e, weight(f"w{size}", [size, 3, 1, 2]), [1, 1, 1, 1], "VALID")
        h = tf.nn.relu(tf.nn.bias_add(h, weight(f"b{size}", [2])))
        outs.append(tf.nn.max_pool(h, [1, LONGEST - size + 1, 1, 1], [1, 1, 1, 1], "VALID"))
    flat = tf.reshape(tf.concat(outs, 3), [-1, 6])
    logits = dense(flat, 2, "out")
    cross = tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=logits)
    regular = sum(tf.nn.l2_loss(v) for v in tf1.trainable_variables() if "out" in v.name)
    loss = tf.reduce_mean(cross) + 0.1 * regular
    hits = tf.equal(tf.argmax(logits, 1), tf.argmax(y, 1))
    accuracy = tf.reduce_mean(tf.cast(hits, tf.float32))

    def feed(step: int) -> Any:
        words_, _ = tokens(step)
        return {words: words_, y: np.eye(2)[draw(step).randint(0, 2, ROWS[step])]}

    return Built([adam(loss)], {"loss": loss, "accuracy": accuracy}, feed)


@program(splits=True)
def conv1d_text() -> Built:
    words, y = fed([None, None], tf.int32), fed([None], tf.int32)
    e = tf.nn.embedding_lookup(weight("table", [WORDS, 3]), words)
    h = tf.nn.relu(tf.nn.conv1d(e, weight("kernel", [2, 3, 4]), 1, "SAME"))
    kept = tf.cast(words > 0, f64)[:, :, tf.newaxis]
    pooled = tf.reduce_sum(h * kept, 1) / tf.reduce_sum(kept, 1)
    logits = dense(tf.concat([pooled, tf.reduce_max(h, 1)], 1), 3, "out")
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))

    def feed(step: int) -> Any:
        return {words: tokens(step)[0], y: draw(step).randint(0, 3, ROWS[step])}

    return Built([momentum(loss)], {"loss": loss, "top": tf.nn.top_k(logits, 2)}, feed)
