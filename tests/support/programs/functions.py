"""Python and graph functions inside the model, Keras models, custom gradients."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from support.programs.inputs import ROWS, draw, fed
from support.programs.parts import adam, dense, f64, sgd, tf1, weight
from support.programs.registry import Built, program

BOTH = ("v1", "v2")


def regression() -> tuple[Any, Any, Any]:
    x, y = fed([None, 3]), fed([None])

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {x: r.randn(n, 3) + np.linspace(0, 2, n)[:, None], y: r.randn(n)}

    return x, y, feed


@program()
def py_func_of_rows() -> Built:
    """A function of Python for each row by itself, which nobody can see."""
    x, y, feed = regression()
    (grown,) = tf1.py_func(lambda a: [np.tanh(a) + 1.0], [x], [f64])
    grown.set_shape([None, 3])
    loss = tf.reduce_mean(tf.square(dense(grown, 1, "h")[:, 0] - y))
    return Built([sgd(loss)], {"loss": loss, "grown": grown}, feed)


@program()
def py_func_over_the_batch() -> Built:
    """The same op, and a function that sorts the batch and centres it."""
    x, y, feed = regression()
    h = dense(x, 1, "h")[:, 0]
    ranks = tf1.py_func(lambda a: np.argsort(np.argsort(a)).astype(np.float64), [h], f64)
    ranks.set_shape([None])
    loss = tf.reduce_mean(tf.square(h - y) * (1.0 + ranks))
    return Built([sgd(loss, 0.02)], {"loss": loss, "ranks": ranks}, feed)


@program()
def py_function_with_a_gradient() -> Built:
    x, y, feed = regression()
    h = dense(x, 1, "h")[:, 0]
    out = tf.py_function(lambda a: tf.nn.softmax(a) * tf.cast(tf.size(a), f64), [h], f64)
    out.set_shape([None])
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss, 0.02)], {"loss": loss, "out": out}, feed)


@program()
def numpy_function_of_a_number() -> Built:
    """A rate from Python, by the global step: nothing of the batch."""
    x, y, feed = regression()
    loss = tf.reduce_mean(tf.square(dense(x, 1, "h")[:, 0] - y))
    step = tf1.train.get_or_create_global_step()
    rate = tf.numpy_function(lambda s: np.float64(0.1 / (1 + s)), [step.read_value()], f64)
    rate.set_shape([])
    return Built([sgd(loss, rate)], {"loss": loss, "rate": rate}, feed)


@program(flow=BOTH)
def function_of_rows() -> Built:
    x, y, feed = regression()
    w = weight("w", [3, 2])

    @tf.function(autograph=False)
    def layer(rows: Any, kernel: Any) -> Any:
        return tf.reduce_sum(tf.tanh(tf.matmul(rows, kernel)), 1)

    out = layer(x, w.read_value())
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss)], {"loss": loss, "out": out}, feed)


@program(flow=BOTH)
def function_over_the_batch() -> Built:
    """Inside of a function the rows are compared with one another."""
    x, y, feed = regression()
    h = dense(x, 2, "h")

    @tf.function(autograph=False)
    def attention(rows: Any) -> Any:
        return tf.matmul(tf.nn.softmax(tf.matmul(rows, rows, transpose_b=True)), rows)

    out = tf.reduce_sum(attention(h), 1)
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss, 0.02)], {"loss": loss, "out": out}, feed)


@program(flow=BOTH)
def function_of_the_loss() -> Built:
    """The whole loss is in a function, with its sum and its number of rows."""
    x, y, feed = regression()
    out = dense(x, 1, "h")[:, 0]

    @tf.function(autograph=False)
    def loss_of(a: Any, b: Any) -> Any:
        return tf.reduce_sum(tf.square(a - b)) / tf.cast(tf.shape(a)[0], f64)

    loss = loss_of(out, y)
    return Built([sgd(loss, 0.02)], {"loss": loss}, feed)


@program(flow=BOTH)
def defun_with_a_gradient_of_its_own() -> Built:
    """`Defun` of TensorFlow 1."""
    from tensorflow.python.framework import function  # noqa: TID251 - as programs of old do

    x, y, feed = regression()

    @function.Defun(f64, f64)
    def swish_grad(features: Any, grad: Any) -> Any:
        s = tf.sigmoid(features)
        return grad * (s * (1.0 + features * (1.0 - s)))

    @function.Defun(f64, grad_func=swish_grad, shape_func=lambda op: [op.inputs[0].shape])
    def swish(features: Any) -> Any:
        return features * tf.sigmoid(features)

    loss = tf.reduce_mean(tf.square(dense(swish(dense(x, 3, "h")), 1, "out")[:, 0] - y))
    return Built([sgd(loss)], {"loss": loss}, feed)


@program(splits=True)
def custom_gradient_of_rows() -> Built:
    """The sign of the activations is taken, and the gradient goes straight through where they are small."""
    x, y, feed = regression()

    @tf.custom_gradient
    def binarise(v: Any) -> Any:
        return tf.sign(v), lambda g: g * tf.cast(tf.abs(v) < 1.5, v.dtype)

    loss = tf.reduce_mean(tf.square(dense(binarise(dense(x, 4, "h")), 1, "out")[:, 0] - y))
    return Built([sgd(loss)], {"loss": loss}, feed)


@program()
def custom_gradient_that_clips() -> Built:
    """What flows back is clipped by its norm over the whole batch."""
    x, y, feed = regression()

    @tf.custom_gradient
    def clip(v: Any) -> Any:
        return tf.identity(v), lambda g: tf.clip_by_norm(g, 0.1)

    loss = tf.reduce_mean(tf.square(dense(clip(dense(x, 4, "h")), 1, "out")[:, 0] - y))
    return Built([sgd(loss)], {"loss": loss}, feed)


@program(splits=True)
def gradient_reversal() -> Built:
    """Domain adversarial: the gradient of one head is turned round on its way back."""
    x, y, feed = regression()
    h = dense(x, 4, "h", tf.tanh)

    @tf.custom_gradient
    def reverse(v: Any) -> Any:
        return tf.identity(v), lambda g: -0.5 * g

    out = dense(h, 1, "out")[:, 0]
    domain = dense(reverse(h), 1, "domain")[:, 0]
    label = tf.cast(x[:, 0] > 1.0, f64)
    other = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=domain))
    loss = tf.reduce_mean(tf.square(out - y)) + other
    return Built([sgd(loss)], {"loss": loss, "other": other}, feed)


@program(splits=True)
def keras_functional_model() -> Built:
    """Layers of tf_keras in a training loop of one's own."""
    x, y, feed = regression()
    keras = tf_keras.layers
    start = tf_keras.initializers.Constant
    inputs = keras.Input(tensor=x)
    h = keras.Dense(4, "relu", kernel_initializer=start(0.2), dtype="float64", name="h")(inputs)
    h = keras.LayerNormalization(dtype="float64", name="norm")(
        keras.Concatenate(dtype="float64")([h, inputs])
    )
    out = keras.Dense(1, kernel_initializer=start(0.3), dtype="float64", name="out")(h)
    model = tf_keras.Model(inputs, out)
    loss = tf.reduce_mean(tf.square(model(x)[:, 0] - y))
    initial = tf.group(*[v.initializer for v in model.variables])
    return Built([adam(loss)], {"loss": loss, "out": model.output}, feed, prepare=[initial])


@program()
def higher_order_functions() -> Built:
    """`vectorized_map`, `einsum` between rows, and `batch_jacobian`."""
    x, y, feed = regression()
    h = dense(x, 2, "h", tf.tanh)
    outer = tf.vectorized_map(lambda r: tf.tensordot(r, r, 0), h)
    near = tf.einsum("id,jd->i", h, h)
    out = tf.reduce_sum(outer, [1, 2]) + 0.1 * near
    loss = tf.reduce_mean(tf.square(out - y))
    return Built([sgd(loss, 0.02)], {"loss": loss, "out": out}, feed)


@program()
def per_example_gradients() -> Built:
    """Differential privacy: the gradient of each row is clipped by its own norm, then they are averaged."""
    x, y, feed = regression()
    w = weight("w", [3])

    def of_row(parts: Any) -> Any:
        error = tf.reduce_sum(parts[0] * w) - parts[1]
        return tf.clip_by_norm(2.0 * error * parts[0], 0.5)

    rows = tf.map_fn(of_row, (x, y), fn_output_signature=f64)
    mean = tf.reduce_mean(rows, 0)
    return Built([w.assign_sub(0.1 * mean).op], {"rows": rows, "mean": mean}, feed)


@program()
def iterator_of_a_dataset() -> Built:
    """The batch comes from `tf.data`, with a last batch that is smaller."""
    r = np.random.RandomState(5)
    data = tf.data.Dataset.from_tensor_slices((r.randn(13, 3), r.randn(13))).batch(5).repeat()
    iterator = tf1.data.make_initializable_iterator(data)
    x, y = iterator.get_next()
    loss = tf.reduce_mean(tf.square(dense(x, 1, "h")[:, 0] - y))
    train = sgd(loss)
    return Built([train], {}, lambda _: {}, beside={"loss": loss}, prepare=[iterator.initializer])


@program()
def padded_batches_of_a_dataset() -> Built:
    data = tf.data.Dataset.range(1, 14).map(lambda n: (tf.range(n % 4 + 1), n % 2))
    data = data.padded_batch(5, ([None], [])).repeat()
    iterator = tf1.data.make_initializable_iterator(data)
    ids, label = iterator.get_next()
    length = tf.reduce_sum(tf.cast(ids > 0, tf.int32), 1) + 1
    mask = tf.sequence_mask(length, tf.shape(ids)[1], dtype=f64)
    h = tf.reduce_sum(
        tf.nn.embedding_lookup(weight("table", [6, 2]), ids) * mask[:, :, tf.newaxis], 1
    )
    logits = dense(h, 1, "out")[:, 0]
    loss = tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(label, f64), logits=logits)
    )
    return Built(
        [sgd(loss)], {}, lambda _: {}, beside={"loss": loss}, prepare=[iterator.initializer]
    )
