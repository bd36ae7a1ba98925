"""Images: detectors with mining, flows, segmentation, style, capsules."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed
from support.programs.parts import adam, dense, f64, initial, layers, momentum, sgd, tf1, weight
from support.programs.registry import Built, program


def images(step: int, size: int = 4, channels: int = 2) -> np.ndarray:
    return draw(step, 1).randn(ROWS[step], size, size, channels)


def conv(x: Any, filters: int, name: str, stride: int = 1, size: int = 3) -> Any:
    kernel = weight(f"{name}_kernel", [size, size, x.shape[-1], filters], 0.3)
    return tf.nn.conv2d(x, kernel, [1, stride, stride, 1], "SAME", name=name)


def mined(losses: Any, positive: Any, count: Any) -> Any:
    """The sum of the losses of the negatives that are hardest, over all images at once."""
    negative = tf.reshape(tf.where(positive, tf.zeros_like(losses), losses), [-1])
    hardest, _ = tf.nn.top_k(negative, tf.minimum(count, tf.size(negative)))
    return tf.reduce_sum(hardest)


@program(tolerance=1e-5)
def ssd_mining_over_the_batch() -> Built:
    anchors, classes = 5, 3
    x, y = fed([None, 6]), fed([None, anchors], tf.int32)
    boxes = fed([None, anchors, 4])
    h = dense(x, 8, "body", tf.nn.relu)
    logits = tf.reshape(dense(h, anchors * classes, "classes"), [-1, anchors, classes])
    offsets = tf.reshape(dense(h, anchors * 4, "offsets"), [-1, anchors, 4])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    positive = y > 0
    count = tf.reduce_sum(tf.cast(positive, tf.int32))
    hard = mined(losses, positive, 3 * count)
    easy = tf.reduce_sum(losses * tf.cast(positive, f64))
    huber = tf1.losses.huber_loss(
        tf.boolean_mask(boxes, positive), tf.boolean_mask(offsets, positive)
    )
    loss = (hard + easy) / tf.cast(tf.maximum(count, 1), f64) + tf.cast(huber, f64)

    def feed(step: int) -> Any:
        r = draw(step)
        labels = np.where(
            r.rand(ROWS[step], anchors) < 0.3, r.randint(1, classes, [ROWS[step], anchors]), 0
        )
        labels[0, 0] = 1
        return {x: r.randn(ROWS[step], 6), y: labels, boxes: r.randn(ROWS[step], anchors, 4)}

    return Built([momentum(loss)], {"loss": loss, "logits": logits, "positives": count}, feed)


@program()
def ssd_mining_per_image() -> Built:
    anchors, classes = 6, 3
    x, y = fed([None, 6]), fed([None, anchors], tf.int32)
    logits = tf.reshape(dense(x, anchors * classes, "classes"), [-1, anchors, classes])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    positive = tf.cast(y > 0, f64)
    counts = tf.reduce_sum(positive, 1)
    negatives = tf.reduce_max(tf.minimum(3 * tf.cast(counts, tf.int32), anchors))
    hard, _ = tf.nn.top_k(losses * (1 - positive), negatives)
    ranks = tf.range(negatives)[tf.newaxis, :]
    kept = tf.cast(ranks < 3 * tf.cast(counts, tf.int32)[:, tf.newaxis], f64)
    per_image = tf.reduce_sum(hard * kept, 1) + tf.reduce_sum(losses * positive, 1)
    loss = tf.reduce_mean(
        tf.where(counts > 0, per_image / tf.maximum(counts, 1), tf.zeros_like(counts))
    )

    def feed(step: int) -> Any:
        r = draw(step)
        labels = np.where(r.rand(ROWS[step], anchors) < 0.25, 1, 0)
        return {x: r.randn(ROWS[step], 6), y: labels}

    return Built([sgd(loss)], {"loss": loss, "per_image": per_image, "most": negatives}, feed)


@program()
def faster_rcnn() -> Built:
    """Regions of all images in one list, each with the number of its image."""
    x = fed([None, 4, 4, 2])
    rois, image_of, y = fed([None, 4]), fed([None], tf.int32), fed([None], tf.int64)
    features = tf.nn.relu(conv(x, 3, "body"))
    crops = tf.image.crop_and_resize(
        tf.cast(features, tf.float32), tf.cast(rois, tf.float32), image_of, [2, 2]
    )
    logits = dense(tf.cast(tf.reshape(crops, [-1, 12]), f64), 3, "head")
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    foreground = tf.where(y > 0)[:, 0]
    picked = tf.gather(losses, foreground)
    loss = tf.reduce_mean(losses) + 0.5 * tf.reduce_sum(picked) / tf.cast(tf.size(picked) + 1, f64)

    def feed(step: int) -> Any:
        r = draw(step)
        count = 2 * ROWS[step] + 1
        corners = np.sort(r.rand(count, 2, 2), 1).reshape(count, 4)
        where = np.sort(r.randint(0, ROWS[step], count))
        return {x: images(step), rois: corners, image_of: where, y: r.randint(0, 3, count)}

    return Built([sgd(loss)], {"loss": loss, "picked": picked, "logits": logits}, feed)


@program()
def faster_rcnn_proposals() -> Built:
    """Anchors and non-maximum suppression of one image after the other, in `map_fn` with TensorFlow's own op."""
    x = fed([None, 4, 4, 2])
    scores = tf.reshape(conv(x, 1, "scores"), [-1, 16])
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij"), -1).reshape(16, 2)
    anchors = tf.constant(np.concatenate([grid - 0.7, grid + 0.7], 1), f64)
    deltas = tf.reshape(conv(x, 4, "deltas"), [-1, 16, 4])
    boxes = anchors + 0.1 * deltas

    def keep(parts: Any) -> Any:
        box, score = (tf.cast(p, tf.float32) for p in parts)
        index = tf.image.non_max_suppression(tf.stop_gradient(box), tf.stop_gradient(score), 3, 0.3)
        return tf.reduce_sum(tf.gather(parts[1], index))

    kept = tf.map_fn(keep, (boxes, scores), fn_output_signature=f64)
    loss = tf.reduce_mean(tf.square(kept - 1.0)) + 0.1 * tf.reduce_mean(tf.square(deltas))
    return Built([sgd(loss)], {"loss": loss, "kept": kept}, lambda step: {x: images(step)})


@program()
def faster_rcnn_targets_in_python() -> Built:
    """Targets are sampled over the regions of all images, in `tf.py_function` of old."""
    x, y = fed([None, 5]), fed([None], tf.int64)

    def sample(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
        order = np.argsort(-scores[:, 0], kind="stable")
        return np.asarray(order[labels[order] > 0][:3], np.int64)

    logits = dense(x, 3, "head")
    (chosen,) = tf1.py_func(sample, [logits, y], [tf.int64])
    chosen.set_shape([None])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.gather(y, chosen), logits=tf.gather(logits, chosen)
    )
    loss = tf.reduce_mean(losses)

    def feed(step: int) -> Any:
        r = draw(step)
        labels = r.randint(0, 3, ROWS[step])
        labels[:2] = 1
        return {x: r.randn(ROWS[step], 5), y: labels}

    return Built([sgd(loss)], {"loss": loss, "chosen": chosen}, feed)


@program()
def glow() -> Built:
    """Normalisation that is initialised from the first batch, and the determinants of an invertible layer."""
    x = fed([None, 4, 4, 2])
    mean, variance = tf.nn.moments(x, [0, 1, 2], keepdims=True)
    bias = tf1.get_variable("actnorm_bias", [1, 1, 1, 2], f64, tf1.zeros_initializer())
    logs = tf1.get_variable("actnorm_logs", [1, 1, 1, 2], f64, tf1.zeros_initializer())
    first = tf.group(bias.assign(-mean), logs.assign(tf.math.log(1.0 / (tf.sqrt(variance) + 1e-6))))
    z = (x + bias) * tf.exp(logs)
    pixels = tf.cast(tf.shape(x)[1] * tf.shape(x)[2], f64)
    logdet = tf.zeros_like(x[:, 0, 0, 0]) + pixels * tf.reduce_sum(logs)
    w = weight("invertible", [2, 2])
    z = tf.nn.conv2d(z, tf.reshape(w, [1, 1, 2, 2]), [1, 1, 1, 1], "SAME")
    logdet += pixels * tf.math.log(tf.abs(tf.linalg.det(w)))
    a, b = tf.split(z, 2, 3)
    h = conv(tf.nn.relu(conv(a, 3, "h1")), 2, "h2")
    shift, scale = h[:, :, :, 0::2], tf.nn.sigmoid(h[:, :, :, 1::2] + 2.0)
    b = (b + shift) * scale
    logdet += tf.reduce_sum(tf.math.log(scale), axis=[1, 2, 3])
    z = tf.concat([a, b], 3)
    prior = tf.reduce_sum(-0.5 * (np.log(2 * np.pi) + tf.square(z)), axis=[1, 2, 3])
    bits = -(logdet + prior) / (np.log(2.0) * 32)
    loss = tf.reduce_mean(bits)
    fetches = {"loss": loss, "bits": bits, "z": z}
    return Built([adam(loss, 0.01)], fetches, lambda step: {x: images(step)}, prepare=[first])


@program(splits=True)
def unet() -> Built:
    """Batch normalisation whose moving averages are updated by the ops of `UPDATE_OPS`, without training on them."""
    x, y = fed([None, 4, 4, 2]), fed([None, 4, 4], tf.int32)
    a = layers.conv2d(
        x, 3, 3, padding="same", activation=tf.nn.relu, name="down", kernel_initializer=initial()
    )
    b = layers.max_pooling2d(a, 2, 2)
    b = layers.conv2d(
        b, 4, 3, padding="same", activation=tf.nn.relu, name="bottom", kernel_initializer=initial()
    )
    b = layers.conv2d_transpose(b, 3, 2, 2, name="up", kernel_initializer=initial())
    h = tf.concat([a, b], -1)
    logits = layers.conv2d(h, 2, 1, name="logits", kernel_initializer=initial())
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    predicted = tf.argmax(logits, -1, output_type=tf.int32)
    accuracy = tf.reduce_mean(tf.cast(tf.equal(predicted, y), f64))

    def feed(step: int) -> Any:
        return {x: images(step), y: draw(step).randint(0, 2, [ROWS[step], 4, 4])}

    fetches = {"loss": loss, "predicted": predicted, "accuracy": accuracy}
    return Built([adam(loss, 0.01)], fetches, feed)


@program(chosen=True, global_twin=True)
def unet_batch_normalised() -> Built:
    x, y = fed([None, 4, 4, 2]), fed([None, 4, 4, 1])
    is_training = tf1.placeholder_with_default(False, [])
    h = layers.conv2d(x, 3, 3, padding="same", use_bias=False, kernel_initializer=initial())
    h = tf.nn.relu(layers.batch_normalization(h, momentum=0.9, training=is_training))
    out = layers.conv2d(h, 1, 1, kernel_initializer=initial())
    loss = tf.reduce_mean(tf.square(out - y))
    step = tf1.train.get_or_create_global_step()
    with tf.control_dependencies(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)):
        train = tf1.train.GradientDescentOptimizer(0.1).minimize(loss, step)

    def feed(step: int) -> Any:
        labels = draw(step).randn(ROWS[step], 4, 4, 1)
        return {x: images(step), y: labels, is_training: True}

    return Built([train], {"loss": loss, "out": out}, feed)


@program()
def dice_loss() -> Built:
    x, y = fed([None, 4, 4, 2]), fed([None, 4, 4, 1])
    p = tf.sigmoid(conv(x, 1, "out"))
    both = tf.reduce_sum(p * y)
    loss = 1.0 - (2.0 * both + 1.0) / (tf.reduce_sum(p) + tf.reduce_sum(y) + 1.0)

    def feed(step: int) -> Any:
        r = draw(step)
        share = np.linspace(0.1, 0.9, ROWS[step])[:, None, None, None]
        return {x: images(step), y: (r.rand(ROWS[step], 4, 4, 1) < share) * 1.0}

    return Built([sgd(loss)], {"loss": loss}, feed)


@program()
def style_transfer() -> Built:
    """Gram matrices of single images, and one of the whole batch."""
    x, target = fed([None, 4, 4, 2]), fed([None, 4, 4, 2])

    def gram(h: Any) -> Any:
        shape = tf.shape(h)
        flat = tf.reshape(h, [shape[0], shape[1] * shape[2], shape[3]])
        return tf.matmul(flat, flat, transpose_a=True) / tf.cast(tf.size(h[0]), f64)

    kernel = weight("kernel", [3, 3, 2, 3], 0.3)
    image = tf.tanh(conv(x, 2, "transform"))

    def features(v: Any) -> Any:
        return tf.nn.relu(tf.nn.conv2d(v, kernel, [1, 1, 1, 1], "SAME"))

    a, b = features(image), features(target)
    style = tf.reduce_mean(tf.square(gram(a) - gram(b)))
    flat_a, flat_b = tf.reshape(a, [-1, 3]), tf.reshape(b, [-1, 3])
    whole = tf.matmul(flat_a, flat_a, transpose_a=True) - tf.matmul(
        flat_b, flat_b, transpose_a=True
    )
    size = tf.cast(tf.size(a), f64)
    content = 2 * tf.nn.l2_loss(a - b) / size
    variation = tf.reduce_sum(tf.abs(image[:, 1:] - image[:, :-1])) + tf.reduce_sum(
        tf.abs(image[:, :, 1:] - image[:, :, :-1])
    )
    loss = style + content + tf.nn.l2_loss(whole / size) + 1e-2 * variation / size

    def feed(step: int) -> Any:
        return {x: images(step), target: draw(step, 2).randn(ROWS[step], 4, 4, 2)}

    return Built([adam(loss)], {"loss": loss, "style": style, "variation": variation}, feed)


@program(flow=("v1", "v2"))
def capsules() -> Built:
    """Routing by agreement in a while loop, whose state begins with zeros of the batch's size."""
    x, y = fed([None, 6, 3]), fed([None], tf.int32)
    w = weight("w", [6, 2, 3, 4])
    votes = tf.einsum("bic,iocd->biod", x, w)
    start = tf.zeros(tf.stack([tf.shape(x)[0], 6, 2]), f64)

    def squash(s: Any) -> Any:
        n = tf.reduce_sum(tf.square(s), -1, keepdims=True)
        return n / (1 + n) * s / tf.sqrt(n + 1e-9)

    def routed(b: Any) -> Any:
        c = tf.nn.softmax(b, 2)
        return squash(tf.reduce_sum(c[..., tf.newaxis] * votes, 1))

    def route(i: Any, b: Any) -> Any:
        return i + 1, b + tf.reduce_sum(votes * routed(b)[:, tf.newaxis], -1)

    shapes = [tf.TensorShape([]), tf.TensorShape([None, 6, 2])]
    _, b = tf1.while_loop(lambda i, _: i < 2, route, [0, start], shapes)
    v = routed(b)
    length = tf.norm(v + 1e-9, axis=-1)
    t = tf.one_hot(y, 2, dtype=f64)
    margin = t * tf.square(tf.nn.relu(0.9 - length)) + 0.5 * (1 - t) * tf.square(
        tf.nn.relu(length - 0.1)
    )
    loss = tf.reduce_mean(tf.reduce_sum(margin, 1))

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 6, 3), y: r.randint(0, 2, ROWS[step])}

    return Built([sgd(loss, 1.0)], {"loss": loss, "length": length}, feed)


@program()
def focal_loss() -> Built:
    """RetinaNet: the sum over the batch by the number of positives of the batch."""
    x, y = fed([None, 5]), fed([None, 4])
    logits = dense(x, 4, "head")
    p = tf.sigmoid(logits)
    cross = tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits)
    modulated = tf.pow(1.0 - (p * y + (1 - p) * (1 - y)), 2.0) * (0.25 * y + 0.75 * (1 - y)) * cross
    loss = tf.reduce_sum(modulated) / tf.maximum(tf.reduce_sum(y), 1.0)

    def feed(step: int) -> Any:
        r = draw(step)
        share = np.linspace(0.0, 1.0, ROWS[step])[:, None]
        return {x: r.randn(ROWS[step], 5), y: (r.rand(ROWS[step], 4) < share) * 1.0}

    return Built([sgd(loss)], {"loss": loss, "p": p}, feed)


@program()
def yolo_grid() -> Built:
    """A loss per batch: sums over masks of the cells, by the number of images as a float."""
    x, mask, boxes = fed([None, 4, 4, 2]), fed([None, 4, 4]), fed([None, 4, 4, 4])
    out = conv(x, 5, "out")
    confidence, offsets = out[..., 0], out[..., 1:]
    count = tf.cast(tf.shape(x)[0], f64)
    near = tf.boolean_mask(offsets, mask > 0)
    wanted = tf.boolean_mask(boxes, mask > 0)
    place = tf.reduce_sum(tf.square(near - wanted)) / count
    cells = tf.nn.sigmoid_cross_entropy_with_logits(labels=mask, logits=confidence)
    objects = tf.reduce_sum(mask * cells) / count
    others = tf.reduce_sum((1 - mask) * cells) / count
    loss = 5 * place + objects + 0.5 * others

    def feed(step: int) -> Any:
        r = draw(step)
        share = np.linspace(0.1, 0.6, ROWS[step])[:, None, None]
        full = (r.rand(ROWS[step], 4, 4) < share) * 1.0
        return {x: images(step), mask: full, boxes: r.randn(ROWS[step], 4, 4, 4)}

    return Built([adam(loss)], {"loss": loss, "place": place, "objects": objects}, feed)
