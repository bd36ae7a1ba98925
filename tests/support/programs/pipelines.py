"""What stands around a model: serialised examples, tables, iterators, queues, summaries, defaults."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed
from support.programs.parts import adam, dense, f64, sgd, tf1, weight
from support.programs.registry import Built, program

WORDS = ["a", "bb", "ccc", "d"]


def serialised(step: int) -> np.ndarray:
    """Examples with a dense feature, a label, and one to three words."""
    r = draw(step)
    rows = []
    for row in range(ROWS[step]):
        example = tf.train.Example()
        feature = example.features.feature
        feature["x"].float_list.value.extend(r.randn(3))
        feature["label"].int64_list.value.append(r.randint(2))
        words = r.choice(WORDS, 1 + row % 3)
        feature["words"].bytes_list.value.extend(w.encode() for w in words)
        rows.append(example.SerializeToString())
    return np.array(rows, object)


def parsed(examples: Any) -> Any:
    return tf.io.parse_example(
        examples,
        {
            "x": tf.io.FixedLenFeature([3], tf.float32),
            "label": tf.io.FixedLenFeature([], tf.int64),
            "words": tf.io.VarLenFeature(tf.string),
        },
    )


def cross(label: Any, logits: Any) -> Any:
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(label, f64), logits=logits)
    )


@program()
def parsed_examples_with_sparse_words() -> Built:
    examples = fed([None], tf.string)
    features = parsed(examples)
    words = features["words"]
    ids = tf.SparseTensor(
        words.indices, tf.strings.to_hash_bucket_fast(words.values, 7), words.dense_shape
    )
    bag = tf1.nn.embedding_lookup_sparse(weight("table", [7, 2]), ids, None, combiner="mean")
    logits = dense(tf.concat([bag, tf.cast(features["x"], f64)], 1), 1, "out")[:, 0]
    loss = cross(features["label"], logits)
    return Built([sgd(loss)], {"loss": loss, "logits": logits}, lambda s: {examples: serialised(s)})


@program()
def parsed_examples_padded() -> Built:
    """The words are made dense: as wide as the longest row of the batch; then a mean without a mask."""
    examples = fed([None], tf.string)
    features = parsed(examples)
    words = tf1.sparse_tensor_to_dense(features["words"], default_value="")
    ids = tf.strings.to_hash_bucket_fast(words, 7)
    h = tf.reduce_mean(tf.nn.embedding_lookup(weight("table", [7, 2]), ids), 1)
    logits = dense(h, 1, "out")[:, 0]
    loss = cross(features["label"], logits)
    return Built([sgd(loss)], {"loss": loss, "ids": ids}, lambda s: {examples: serialised(s)})


@program(splits=True)
def table_of_words() -> Built:
    words, y = fed([None, 3], tf.string), fed([None])
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(WORDS, tf.constant([0, 1, 2, 3], tf.int64)), 4
    )
    ids = table.lookup(words)
    h = tf.reduce_sum(tf.nn.embedding_lookup(weight("embedding", [5, 2]), ids), 1)
    loss = tf.reduce_mean(tf.square(dense(h, 1, "out")[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {words: r.choice([*WORDS, "?"], [n, 3]), y: r.randn(n)}

    return Built([sgd(loss)], {"loss": loss, "ids": ids}, feed)


@program()
def split_strings() -> Built:
    """Lines are split in the graph: a sparse tensor whose width is the longest line's."""
    lines, y = fed([None], tf.string), fed([None])
    tokens = tf1.string_split(lines, " ")
    padded = tf1.sparse_tensor_to_dense(tokens, default_value="")
    kept = tf.cast(tf.not_equal(padded, ""), f64)
    length = tf.reduce_sum(kept, 1)
    ids = tf.strings.to_hash_bucket_fast(padded, 7)
    e = tf.nn.embedding_lookup(weight("embedding", [7, 2]), ids) * kept[:, :, tf.newaxis]
    h = tf.reduce_sum(e, 1) / length[:, tf.newaxis]
    loss = tf.reduce_mean(tf.square(dense(h, 1, "out")[:, 0] - y))
    width = tf.shape(padded)[1]

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {lines: [" ".join(r.choice(WORDS, 1 + k % 3)) for k in range(n)], y: r.randn(n)}

    return Built([sgd(loss)], {"loss": loss, "ids": ids, "width": width}, feed)


@program(tolerance=1e-5)
def summaries() -> Built:
    """One merged summary of scalars, histograms, images and text."""
    x, y = fed([None, 4]), fed([None])
    out = dense(x, 1, "out")[:, 0]
    loss = tf.reduce_mean(tf.square(out - y))
    optimizer = tf1.train.GradientDescentOptimizer(0.1)
    pairs = optimizer.compute_gradients(loss)
    for g, v in pairs:
        tf1.summary.histogram(v.op.name, v.read_value())
        tf1.summary.histogram(v.op.name + "/gradient", g)
        tf1.summary.scalar(v.op.name + "/norm", tf.norm(g))
    tf1.summary.scalar("loss", loss)
    tf1.summary.scalar("largest", tf.reduce_max(out))
    tf1.summary.histogram("out", out)
    tf1.summary.image("x", tf.cast(tf.reshape(x, [-1, 2, 2, 1]), tf.float32), max_outputs=2)
    tf1.summary.text("y", tf.as_string(y, precision=3))
    merged = tf1.summary.merge_all()
    train = optimizer.apply_gradients(pairs, tf1.train.get_or_create_global_step())

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4), y: r.randn(ROWS[step])}

    return Built([train], {"loss": loss, "merged": merged}, feed)


@program()
def placeholders_with_defaults() -> Built:
    """Features have a default of a fixed number of rows; keep probabilities and phases are scalars."""
    rows = draw(1).randn(5, 3)
    x = tf1.placeholder_with_default(tf.constant(rows, f64), [None, 3])
    y = tf1.placeholder_with_default(tf.constant(rows[:, 0], f64), [None])
    keep = tf1.placeholder_with_default(tf.constant(1.0, f64), [])
    loss = tf.reduce_mean(tf.square(dense(x * keep, 1, "out")[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {} if step == 1 else {x: r.randn(n, 3), y: r.randn(n), keep: 0.5}

    return Built([sgd(loss)], {"loss": loss}, feed)


@program()
def reinitializable_iterator() -> Built:
    """One iterator over two datasets, which begins anew with the other one."""
    r = np.random.RandomState(3)

    def dataset(rows: int, batch: int) -> Any:
        data = (r.randn(rows, 3), r.randn(rows))
        return tf.data.Dataset.from_tensor_slices(data).batch(batch).repeat()

    first, second = dataset(13, 5), dataset(7, 4)
    iterator = tf1.data.Iterator.from_structure(
        tf1.data.get_output_types(first), tf1.data.get_output_shapes(first)
    )
    x, y = iterator.get_next()
    loss = tf.reduce_mean(tf.square(dense(x, 1, "h")[:, 0] - y))
    kept = tf1.get_variable("kept", [], f64, tf1.zeros_initializer(), trainable=False)
    train = sgd(loss)
    with tf.control_dependencies([train]):
        keep = kept.assign_add(loss)
    one, two = iterator.make_initializer(first), iterator.make_initializer(second)
    return Built([one, keep.op, keep.op, two, keep.op], {}, lambda _: {})


@program()
def initializable_iterator_of_fed_data() -> Built:
    """The dataset is fed: placeholders that look like batches and are none."""
    features, labels = fed([None, 3]), fed([None])
    data = tf.data.Dataset.from_tensor_slices((features, labels)).batch(4).repeat()
    iterator = tf1.data.make_initializable_iterator(data)
    x, y = iterator.get_next()
    loss = tf.reduce_mean(tf.square(dense(x, 1, "h")[:, 0] - y))
    r = np.random.RandomState(3)
    held = {features: r.randn(11, 3), labels: r.randn(11)}
    return Built([sgd(loss)], {}, lambda _: held, {"loss": loss}, [iterator.initializer])


@program()
def queue_of_batches() -> Built:
    """A queue is filled by one run and read by the next, many rows at a time."""
    rows, numbers = fed([None, 3]), fed([None])
    queue = tf.queue.FIFOQueue(100, [f64, f64], [[3], []])
    fill = queue.enqueue_many([rows, numbers])
    x, y = queue.dequeue_many(4)
    loss = tf.reduce_mean(tf.square(dense(x, 1, "h")[:, 0] - y))
    train = sgd(loss)
    size = queue.size()

    def feed(step: int) -> Any:
        r = draw(step)
        return {rows: r.randn(ROWS[step], 3), numbers: r.randn(ROWS[step])}

    return Built([fill, train], {"size": size}, feed)


@program()
def decoded_images() -> Built:
    """Bytes are decoded row by row in `map_fn`, then cropped and flipped by fed choices."""
    data, flip, y = fed([None], tf.string), fed([None], tf.bool), fed([None])

    def one(parts: Any) -> Any:
        image = tf.cast(tf.reshape(tf.io.decode_raw(parts[0], tf.uint8), [3, 3]), f64) / 255.0
        return tf.cond(parts[1], lambda: tf.reverse(image, [1]), lambda: image)

    images = tf.map_fn(one, (data, flip), fn_output_signature=f64)
    flat = tf.reshape(images, [-1, 9])
    loss = tf.reduce_mean(tf.square(dense(flat, 1, "out")[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        raw = [r.randint(0, 256, 9).astype(np.uint8).tobytes() for _ in range(n)]
        return {data: np.array(raw, object), flip: r.rand(n) < 0.5, y: r.randn(n)}

    return Built([adam(loss)], {"loss": loss, "images": images}, feed)
