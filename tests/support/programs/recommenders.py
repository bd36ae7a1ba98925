"""Click-through rates and ratings: embeddings, crossed features, attention over a history."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed, lengths_of
from support.programs.parts import adam, dense, f64, momentum, sgd, tf1, weight
from support.programs.registry import Built, program

FIELDS, FEATURES, K = 4, 12, 3


def factors() -> tuple[Any, Any, Any, Any]:
    """Numbers and values of features, labels, and the feed."""
    index, value, label = fed([None, FIELDS], tf.int32), fed([None, FIELDS]), fed([None, 1])

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            index: r.randint(0, FEATURES, [n, FIELDS]),
            value: r.rand(n, FIELDS),
            label: r.randint(0, 2, [n, 1]),
        }

    return index, value, label, feed


@program(tolerance=1e-5, splits=True)
def deep_fm() -> Built:
    index, value, label, feed = factors()
    table, bias = weight("table", [FEATURES, K]), weight("bias", [FEATURES, 1])
    e = tf.nn.embedding_lookup(table, index) * tf.reshape(value, [-1, FIELDS, 1])
    first = tf.reduce_sum(tf.nn.embedding_lookup(bias, index) * value[:, :, tf.newaxis], 2)
    second = 0.5 * (tf.square(tf.reduce_sum(e, 1)) - tf.reduce_sum(tf.square(e), 1))
    deep = dense(tf.reshape(e, [-1, FIELDS * K]), 5, "deep", tf.nn.relu)
    out = tf.sigmoid(dense(tf.concat([first, second, deep], 1), 1, "out"))
    loss = tf1.losses.log_loss(label, out) + 0.01 * tf.cast(tf.nn.l2_loss(table), tf.float32)
    return Built([adam(loss)], {"loss": loss, "out": out}, feed)


@program(splits=True)
def x_deep_fm() -> Built:
    """The compressed interaction network: split along the embedding, and a batched product."""
    index, value, label, feed = factors()
    e = tf.nn.embedding_lookup(weight("table", [FEATURES, K]), index) * value[:, :, tf.newaxis]
    fields = [FIELDS]
    first = tf.split(e, K * [1], 2)
    hidden, outs = e, []
    for layer in range(2):
        parts = tf.split(hidden, K * [1], 2)
        product = tf.matmul(first, parts, transpose_b=True)
        product = tf.reshape(product, [K, -1, FIELDS * fields[-1]])
        product = tf.transpose(product, [1, 0, 2])
        kernel = weight(f"cin{layer}", [1, FIELDS * fields[-1], 3])
        hidden = tf.nn.relu(tf.nn.conv1d(product, kernel, 1, "VALID"))
        hidden = tf.transpose(hidden, [0, 2, 1])
        fields.append(3)
        outs.append(hidden)
    logit = dense(tf.reduce_sum(tf.concat(outs, 1), -1), 1, "out")
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit))
    return Built([sgd(loss)], {"loss": loss, "logit": logit}, feed)


@program(splits=True)
def deep_and_cross() -> Built:
    index, value, label, feed = factors()
    e = tf.nn.embedding_lookup(weight("table", [FEATURES, K]), index) * value[:, :, tf.newaxis]
    x0 = tf.reshape(e, [-1, FIELDS * K])
    x = x0
    for layer in range(2):
        w = weight(f"cross{layer}", [FIELDS * K, 1])
        x = (
            tf.matmul(
                x0[:, :, tf.newaxis] * x[:, tf.newaxis, :],
                tf.tile(w[tf.newaxis], [tf.shape(x)[0], 1, 1]),
            )[:, :, 0]
            + x
        )
    logit = dense(tf.concat([x, dense(x0, 4, "deep", tf.nn.relu)], 1), 1, "out")
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit))
    return Built([sgd(loss)], {"loss": loss, "logit": logit}, feed)


@program(splits=True)
def afm_with_pairs() -> Built:
    """Attentional factorisation machine: pairs of fields by `tf.stack`, softmax over them."""
    index, value, label, feed = factors()
    e = tf.nn.embedding_lookup(weight("table", [FEATURES, K]), index) * value[:, :, tf.newaxis]
    pairs = [e[:, i, :] * e[:, j, :] for i in range(FIELDS) for j in range(i + 1, FIELDS)]
    stacked = tf.transpose(tf.stack(pairs), [1, 0, 2])
    count = len(pairs)
    scores = dense(dense(tf.reshape(stacked, [-1, K]), 2, "a", tf.nn.relu), 1, "p")
    attention = tf.nn.softmax(tf.reshape(scores, [-1, count, 1]), axis=1)
    logit = dense(tf.reduce_sum(attention * stacked, 1), 1, "out")
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logit))
    return Built([sgd(loss)], {"loss": loss, "logit": logit, "attention": attention}, feed)


@program(splits=True)
def din() -> Built:
    """Attention over a history whose lengths differ, up to the length of the padded history."""
    item, other, label = fed([None], tf.int32), fed([None], tf.int32), fed([None])
    history, length = fed([None, None], tf.int32), fed([None], tf.int32)
    table, bias = weight("items", [9, 3]), weight("bias", [9])
    category, kind = weight("categories", [3, 2]), tf.constant(np.arange(9) % 3, tf.int64)

    def embed(ids: Any) -> Any:
        found = tf.nn.embedding_lookup(category, tf.gather(kind, ids))
        return tf.concat([tf.nn.embedding_lookup(table, ids), found], -1)

    keys, query = embed(history), embed(item)
    queries = tf.reshape(tf.tile(query, [1, tf.shape(keys)[1]]), [-1, tf.shape(keys)[1], 5])
    both = tf.concat([queries, keys, queries - keys, queries * keys], -1)
    scores = dense(dense(both, 4, "a1", tf.nn.sigmoid), 1, "a2")
    scores = tf.reshape(scores, [-1, 1, tf.shape(keys)[1]])
    mask = tf.sequence_mask(length, tf.shape(keys)[1])[:, tf.newaxis]
    scores = tf.where(mask, scores, tf.ones_like(scores) * (-(2.0**32) + 1)) / np.sqrt(5.0)
    pooled = tf.squeeze(tf.matmul(tf.nn.softmax(scores), keys), 1)
    h = dense(tf.concat([pooled, query], 1), 4, "f1", tf.nn.sigmoid)
    logits = tf.gather(bias, item) + tf.reshape(dense(h, 1, "f2"), [-1])
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logits))
    against = tf.reduce_sum(pooled * embed(other), 1)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        lengths = lengths_of(step, 4)
        return {
            item: r.randint(0, 9, n),
            other: r.randint(0, 9, n),
            label: r.randint(0, 2, n),
            history: r.randint(0, 9, [n, 4]),
            length: lengths,
        }

    return Built([sgd(loss, 0.5)], {"loss": loss, "logits": logits, "against": against}, feed)


@program()
def din_padded_to_the_longest() -> Built:
    """As DIN, but the mask is as long as the longest history of the batch."""
    history, length, label = fed([None, None], tf.int32), fed([None], tf.int32), fed([None])
    keys = tf.nn.embedding_lookup(weight("items", [9, 3]), history)
    mask = tf.sequence_mask(length, dtype=f64)[:, :, tf.newaxis]
    pooled = tf.reduce_sum(keys * mask, 1) / tf.cast(length[:, tf.newaxis], f64)
    logits = dense(pooled, 1, "out")[:, 0]
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logits))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            history: r.randint(0, 9, [n, 4]),
            length: lengths_of(step, 4),
            label: r.randint(0, 2, n),
        }

    return Built([sgd(loss, 0.5)], {"loss": loss, "logits": logits, "mask": mask}, feed)


@program()
def wide_and_deep_columns() -> Built:
    """Feature columns, which have float32 only; and two optimizers."""
    column = tf1.feature_column
    features = {
        "age": fed([None, 1], tf.float32),
        "job": fed([None], tf.string),
        "school": fed([None], tf.string),
    }
    label = fed([None, 1], tf.float32)
    age = column.numeric_column("age")
    job = column.categorical_column_with_hash_bucket("job", 7)
    school = column.categorical_column_with_vocabulary_list("school", ["x", "y"])
    cross = column.crossed_column(["job", "school"], 5)
    ages = column.bucketized_column(age, [0.2, 0.5])
    with tf1.variable_scope("wide"):
        wide = column.linear_model(features, [job, school, cross, ages])
    start = tf1.constant_initializer(np.linspace(-1, 1, 21))
    with tf1.variable_scope("deep"):
        columns = [
            age,
            column.embedding_column(job, 3, initializer=start),
            column.indicator_column(school),
        ]
        deep = column.input_layer(features, columns)
        out = tf1.get_variable(
            "out", initializer=tf.constant(np.linspace(-1, 1, 6)[:, None], tf.float32)
        )
    logits = wide + tf.matmul(deep, out)
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logits))
    step = tf1.train.get_or_create_global_step()
    train = tf.group(
        tf1.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01).minimize(
            loss, var_list=tf1.trainable_variables("wide")
        ),
        tf1.train.AdagradOptimizer(0.1).minimize(loss, step, tf1.trainable_variables("deep")),
    )

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            features["age"]: r.rand(n, 1),
            features["job"]: r.choice(["a", "b", "c", "dd"], n),
            features["school"]: r.choice(["x", "y", "z"], n),
            label: r.randint(0, 2, [n, 1]),
        }

    return Built([train], {"loss": loss, "logits": logits}, feed)


def bags(words: list[str], step: int) -> Any:
    """Rows with one to three entries each, as a sparse tensor."""
    r = draw(step)
    places, found = [], []
    for row in range(ROWS[step]):
        for column in range(1 + (row + step) % 3):
            places.append([row, column])
            found.append(words[r.randint(len(words))])
    return places, np.array(found), [ROWS[step], 3]


@program()
def hash_embeddings() -> Built:
    """Strings in a sparse feed, hashed, and looked up with a combiner."""
    sparse = tf1.sparse_placeholder(tf.string, [None, None])
    label, x = fed([None, 1]), fed([None, 2])
    hashed = tf.SparseTensor(
        sparse.indices, tf.strings.to_hash_bucket_fast(sparse.values, 11), sparse.dense_shape
    )
    bag = tf1.nn.safe_embedding_lookup_sparse(weight("table", [11, 3]), hashed, combiner="mean")
    logits = dense(tf.concat([bag, x], 1), 1, "out")
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logits))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        places, values, shape = bags(["a", "bb", "ccc", "d", "e"], step)
        value = tf1.SparseTensorValue(places, values, shape)
        return {sparse: value, label: r.randint(0, 2, [n, 1]), x: r.randn(n, 2)}

    return Built([momentum(loss)], {"loss": loss, "bag": bag}, feed)


@program()
def hash_embeddings_of_dense_strings() -> Built:
    words, label = fed([None, 3], tf.string), fed([None, 1])
    ids = tf.strings.to_hash_bucket_fast(words, 11)
    kept = tf.cast(tf.not_equal(words, ""), f64)[:, :, tf.newaxis]
    e = tf.nn.embedding_lookup(weight("table", [11, 3]), ids) * kept
    bag = tf.reduce_sum(e, 1) / tf.maximum(tf.reduce_sum(kept, 1), 1.0)
    logits = dense(bag, 1, "out")
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logits))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {words: r.choice(["a", "bb", "c", ""], [n, 3]), label: r.randint(0, 2, [n, 1])}

    return Built([sgd(loss)], {"loss": loss, "ids": ids}, feed)


@program()
def bags_by_segments() -> Built:
    """Entries of all rows in one list, with the row of each; one more feed than there are rows."""
    ids, rows, label = fed([None], tf.int32), fed([None], tf.int32), fed([None, 1])
    found = tf.nn.embedding_lookup(weight("table", [11, 3]), ids)
    bag = tf.math.segment_mean(found, rows)
    logits = dense(bag, 1, "out")
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=logits))

    def feed(step: int) -> Any:
        r = draw(step)
        where = np.repeat(np.arange(ROWS[step]), 1 + np.arange(ROWS[step]) % 3)
        return {
            ids: r.randint(0, 11, len(where)),
            rows: where,
            label: r.randint(0, 2, [ROWS[step], 1]),
        }

    return Built([sgd(loss)], {"loss": loss, "logits": logits}, feed)


@program(splits=True)
def svd_plus_plus() -> Built:
    """Ratings: the implicit items of a user in a padded matrix, by the root of their number."""
    user, item, rating = fed([None], tf.int32), fed([None], tf.int32), fed([None])
    implicit, count = fed([None, 4], tf.int32), fed([None])
    mean = tf1.get_variable("mean", initializer=tf.constant(3.5, f64), trainable=False)
    p, q, y = weight("p", [6, 3]), weight("q", [7, 3]), weight("y", [8, 3])
    bu, bi = weight("bu", [6]), weight("bi", [7])
    kept = tf.cast(implicit > 0, f64)[:, :, tf.newaxis]
    around = (
        tf.reduce_sum(tf.nn.embedding_lookup(y, implicit) * kept, 1) / tf.sqrt(count)[:, tf.newaxis]
    )
    u = tf.nn.embedding_lookup(p, user) + around
    prediction = mean + tf.gather(bu, user) + tf.gather(bi, item)
    prediction += tf.reduce_sum(u * tf.nn.embedding_lookup(q, item), 1)
    error = tf.reduce_mean(tf.square(rating - prediction))
    rmse = tf.sqrt(error)
    loss = error + 0.02 * sum(tf.nn.l2_loss(v) for v in (p, q, y, bu, bi))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        entries = r.randint(1, 8, [n, 4])
        counts = 1 + np.arange(n) % 4
        entries[np.arange(4)[None] >= counts[:, None]] = 0
        return {
            user: r.randint(0, 6, n),
            item: r.randint(0, 7, n),
            rating: r.randint(1, 6, n),
            implicit: entries,
            count: counts,
        }

    return Built([sgd(loss)], {"loss": loss, "rmse": rmse, "prediction": prediction}, feed)


@program()
def matrix_factorisation_of_sums() -> Built:
    """The loss is a sum over the batch, as many matrix factorisations have it."""
    user, item, rating = fed([None], tf.int32), fed([None], tf.int32), fed([None])
    u = tf.nn.embedding_lookup(weight("p", [6, 3]), user)
    i = tf.nn.embedding_lookup(weight("q", [7, 3]), item)
    prediction = tf.reduce_sum(u * i, 1)
    regular = tf.nn.l2_loss(u) + tf.nn.l2_loss(i)
    loss = tf.nn.l2_loss(prediction - rating) + 0.02 * regular

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {user: r.randint(0, 6, n), item: r.randint(0, 7, n), rating: r.randint(1, 6, n)}

    return Built([sgd(loss, 0.01)], {"loss": loss, "prediction": prediction}, feed)


@program()
def mixture_of_experts_for_tasks() -> Built:
    """MMoE: gates over experts, and a sum of the tasks' losses where one is masked."""
    x, y, z, mask = fed([None, 4]), fed([None, 1]), fed([None, 1]), fed([None, 1])
    experts = tf.stack([dense(x, 3, f"e{i}", tf.nn.relu) for i in range(3)], 1)
    outs = []
    for task in range(2):
        gate = tf.nn.softmax(dense(x, 3, f"g{task}"))
        outs.append(dense(tf.reduce_sum(gate[:, :, tf.newaxis] * experts, 1), 1, f"t{task}"))
    click = tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=outs[0])
    buy = tf.nn.sigmoid_cross_entropy_with_logits(labels=z, logits=outs[1]) * mask
    loss = tf.reduce_mean(click) + tf.reduce_sum(buy) / tf.maximum(tf.reduce_sum(mask), 1.0)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            x: r.randn(n, 4),
            y: r.randint(0, 2, [n, 1]),
            z: r.randint(0, 2, [n, 1]),
            mask: np.arange(n)[:, None] >= n // 2,
        }

    return Built([adam(loss)], {"loss": loss, "click": tf.sigmoid(outs[0])}, feed)
