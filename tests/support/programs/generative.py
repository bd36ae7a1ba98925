"""Generative models: two networks against each other, codes, bounds."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed
from support.programs.parts import adam, dense, f64, initial, layers, momentum, sgd, tf1, weight
from support.programs.registry import Built, program


def pair(x: Any, z: Any) -> Any:
    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], x.shape[1]), z: r.randn(ROWS[step], z.shape[1])}

    return feed


def critic(x: Any) -> Any:
    with tf1.variable_scope("critic", reuse=tf1.AUTO_REUSE):
        return dense(dense(x, 5, "h", tf.nn.leaky_relu), 1, "out")


def generator(z: Any) -> Any:
    with tf1.variable_scope("generator", reuse=tf1.AUTO_REUSE):
        return dense(dense(z, 5, "h", tf.nn.relu), 4, "out", tf.tanh)


def players() -> tuple[list[Any], list[Any]]:
    return tf1.trainable_variables("critic"), tf1.trainable_variables("generator")


def cross(logits: Any, label: float) -> Any:
    labels = label * tf.ones_like(logits)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))


@program(splits=True)
def gan() -> Built:
    x, z = fed([None, 4]), fed([None, 2])
    made = generator(z)
    real, fake = critic(x), critic(made)
    d_loss, g_loss = cross(real, 0.9) + cross(fake, 0.0), cross(fake, 1.0)
    d, g = players()
    d_train = tf1.train.AdamOptimizer(0.01, 0.5).minimize(d_loss, var_list=d)
    g_train = tf1.train.AdamOptimizer(0.01, 0.5).minimize(g_loss, var_list=g)
    fetches = {"d": d_loss, "g": g_loss, "made": made}
    return Built([d_train, g_train], fetches, pair(x, z))


@program()
def gan_on_one_batch() -> Built:
    """Real and made rows go through the critic in one batch, and are taken apart by the number of rows."""
    x, z = fed([None, 4]), fed([None, 2])
    made = generator(z)
    both = critic(tf.concat([x, made], 0))
    n = tf.shape(x)[0]
    real, fake = both[:n], both[n:]
    d_loss, g_loss = cross(real, 1.0) + cross(fake, 0.0), cross(fake, 1.0)
    d, g = players()
    train = tf.group(
        sgd(d_loss, variables=d),
        tf1.train.GradientDescentOptimizer(0.1).minimize(g_loss, var_list=g),
    )
    return Built([train], {"d": d_loss, "g": g_loss, "fake": fake}, pair(x, z))


@program()
def dcgan_of_a_fixed_batch() -> Built:
    """As DCGAN is written: the transposed convolution has the batch size as a number, and so has the feed of images."""
    batch = 5
    x, z = fed([batch, 4, 4, 1]), fed([None, 3])
    with tf1.variable_scope("generator"):
        h = tf.reshape(dense(z, 8, "h", tf.nn.relu), [-1, 2, 2, 2])
        kernel = weight("deconv", [3, 3, 1, 2])
        made = tf.tanh(tf.nn.conv2d_transpose(h, kernel, [batch, 4, 4, 1], [1, 2, 2, 1]))

    def judge(images: Any) -> Any:
        with tf1.variable_scope("critic", reuse=tf1.AUTO_REUSE):
            k = weight("conv", [3, 3, 1, 2])
            h = tf.nn.leaky_relu(tf.nn.conv2d(images, k, [1, 2, 2, 1], "SAME"))
            return dense(tf.reshape(h, [batch, 8]), 1, "out")

    real, fake = judge(x), judge(made)
    d_loss, g_loss = cross(real, 1.0) + cross(fake, 0.0), cross(fake, 1.0)
    d, g = players()
    train = [sgd(d_loss, variables=d), sgd(g_loss, variables=g)]

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(batch, 4, 4, 1), z: r.randn(batch, 3)}

    return Built(train, {"d": d_loss, "g": g_loss, "made": made}, feed)


@program(splits=True)
def dcgan() -> Built:
    x, z = fed([None, 4, 4, 1]), fed([None, 3])
    with tf1.variable_scope("generator"):
        h = tf.reshape(dense(z, 8, "h", tf.nn.relu), [-1, 2, 2, 2])
        made = layers.conv2d_transpose(
            h, 1, 3, 2, "same", activation=tf.tanh, kernel_initializer=initial()
        )

    def judge(images: Any) -> Any:
        with tf1.variable_scope("critic", reuse=tf1.AUTO_REUSE):
            h = layers.conv2d(
                images,
                2,
                3,
                2,
                "same",
                activation=tf.nn.leaky_relu,
                name="conv",
                kernel_initializer=initial(),
            )
            return dense(layers.flatten(h), 1, "out")

    real, fake = judge(x), judge(made)
    d_loss, g_loss = cross(real, 1.0) + cross(fake, 0.0), cross(fake, 1.0)
    d, g = players()

    def feed(step: int) -> Any:
        r = draw(step)
        return {x: r.randn(ROWS[step], 4, 4, 1), z: r.randn(ROWS[step], 3)}

    train = [sgd(d_loss, variables=d), sgd(g_loss, variables=g)]
    return Built(train, {"d": d_loss, "g": g_loss, "made": made}, feed)


def penalised(mixing: Any, x: Any, z: Any) -> tuple[Any, Any, Any]:
    made = generator(z)
    between = x + mixing * (made - x)
    slopes = tf.sqrt(
        tf.reduce_sum(tf.square(tf.gradients(critic(between), [between])[0]), 1) + 1e-12
    )
    penalty = tf.reduce_mean(tf.square(slopes - 1.0))
    d_loss = tf.reduce_mean(critic(made)) - tf.reduce_mean(critic(x)) + 10.0 * penalty
    return d_loss, -tf.reduce_mean(critic(made)), slopes


@program()
def wgan_with_gradient_penalty() -> Built:
    x, z, mixing = fed([None, 4]), fed([None, 2]), fed([None, 1])
    d_loss, g_loss, slopes = penalised(mixing, x, z)
    d, g = players()
    d_train = tf1.train.AdamOptimizer(0.01, 0.5, 0.9).minimize(d_loss, var_list=d)
    g_train = tf1.train.AdamOptimizer(0.01, 0.5, 0.9).minimize(g_loss, var_list=g)
    feed = pair(x, z)
    fetches = {"d": d_loss, "g": g_loss, "slopes": slopes}

    def feed_all(step: int) -> Any:
        return {**feed(step), mixing: draw(step, 5).rand(ROWS[step], 1)}

    return Built([d_train, g_train], fetches, feed_all)


@program()
def wgan_of_a_fixed_batch() -> Built:
    """The mixing weights have a fixed number of rows, and so has the noise."""
    x = fed([None, 4])
    z = tf.constant(draw(3).randn(5, 2), f64)
    mixing = tf.constant(draw(4).rand(5, 1), f64)
    d_loss, g_loss, slopes = penalised(mixing, x, z)
    d, g = players()
    clip = tf.group(*[v.assign(tf.clip_by_value(v, -0.5, 0.5)) for v in d])
    train = [sgd(d_loss, 0.01, d), clip, sgd(g_loss, 0.01, g)]
    fetches = {"d": d_loss, "g": g_loss, "slopes": slopes}
    return Built(train, fetches, lambda step: {x: draw(step).randn(5, 4)})


@program(chosen=True)
def gan_with_noise_of_a_fixed_batch() -> Built:
    """Noise is drawn in the graph for a batch whose size is a number."""
    x = fed([None, 4])
    made = generator(tf.random.normal([5, 2], dtype=f64, seed=4))
    mixing = tf.random.uniform([5, 1], dtype=f64, seed=5)
    between = x + mixing * (made - x)
    d_loss = tf.reduce_mean(critic(made)) - tf.reduce_mean(critic(between))
    d, _ = players()
    return Built([sgd(d_loss, 0.01, d)], {}, lambda step: {x: draw(step).randn(5, 4)})


@program()
def vae_of_sums() -> Built:
    """The bound is a sum over the pixels and the batch, and the other term a mean of sums."""
    x, noise = fed([None, 4]), fed([None, 2])
    mean, log = tf.split(dense(dense(x, 5, "h", tf.tanh), 4, "code"), 2, 1)
    z = mean + tf.exp(0.5 * log) * noise
    logits = dense(dense(z, 5, "back", tf.tanh), 4, "out")
    p = tf.sigmoid(x)
    lost = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=p, logits=logits))
    kl = -0.5 * tf.reduce_sum(1 + log - tf.square(mean) - tf.exp(log))
    loss = lost + kl
    return Built([adam(loss, 0.01)], {"loss": loss, "kl": kl, "z": z}, pair(x, noise))


@program()
def vae_of_mixed_sums() -> Built:
    """A sum over the batch beside a mean over it: no weight makes both right."""
    x, noise = fed([None, 4]), fed([None, 2])
    mean, log = tf.split(dense(x, 4, "code"), 2, 1)
    out = dense(mean + tf.exp(0.5 * log) * noise, 4, "out")
    lost = tf.nn.l2_loss(out - x)
    kl = tf.reduce_mean(-0.5 * tf.reduce_sum(1 + log - tf.square(mean) - tf.exp(log), 1))
    loss = lost + kl
    return Built([sgd(loss, 0.01)], {"loss": loss, "lost": lost, "kl": kl}, pair(x, noise))


@program(splits=True)
def vae() -> Built:
    x, noise = fed([None, 4]), fed([None, 2])
    mean, log = tf.split(dense(x, 4, "code"), 2, 1)
    out = dense(mean + tf.exp(0.5 * log) * noise, 4, "out")
    lost = tf.reduce_sum(tf.square(out - x), 1)
    kl = -0.5 * tf.reduce_sum(1 + log - tf.square(mean) - tf.exp(log), 1)
    bound = lost + kl
    loss = tf.reduce_mean(bound)
    return Built([momentum(loss, 0.01)], {"loss": loss, "bound": bound}, pair(x, noise))


@program(chosen=True)
def vae_that_draws() -> Built:
    x = fed([None, 4])
    mean, log = tf.split(dense(x, 4, "code"), 2, 1)
    z = mean + tf.exp(0.5 * log) * tf.random.normal(tf.shape(mean), dtype=f64)
    loss = tf.reduce_mean(tf.reduce_sum(tf.square(dense(z, 4, "out") - x), 1))
    return Built([sgd(loss, 0.01)], {"loss": loss}, lambda s: {x: draw(s).randn(ROWS[s], 4)})


@program()
def vq_vae() -> Built:
    """Codes are moved by exponential moving averages of counts and sums, and divided by what all counts are."""
    x = fed([None, 4])
    z = dense(x, 2, "encode")
    codes = tf1.get_variable(
        "codes", initializer=tf.constant(draw(1).randn(2, 3), f64), trainable=False
    )
    sizes = tf1.get_variable("sizes", [3], f64, tf1.zeros_initializer(), trainable=False)
    sums = tf1.get_variable("sums", initializer=codes.initial_value, trainable=False)
    d = (
        tf.reduce_sum(z**2, 1, keepdims=True)
        - 2 * tf.matmul(z, codes)
        + tf.reduce_sum(codes**2, 0, keepdims=True)
    )
    index = tf.argmin(d, 1)
    hot = tf.one_hot(index, 3, dtype=f64)
    quantised = tf.nn.embedding_lookup(tf.transpose(codes.read_value()), index)
    commitment = tf.reduce_mean(tf.square(tf.stop_gradient(quantised) - z))
    new_sizes = sizes.assign(0.9 * sizes + 0.1 * tf.reduce_sum(hot, 0))
    new_sums = sums.assign(0.9 * sums + 0.1 * tf.matmul(tf.stop_gradient(z), hot, transpose_a=True))
    n = tf.reduce_sum(new_sizes)
    even = (new_sizes + 1e-5) / (n + 3 * 1e-5) * n
    move = codes.assign(new_sums / tf.reshape(even, [1, -1]))
    straight = z + tf.stop_gradient(quantised - z)
    out = dense(straight, 4, "decode")
    lost = tf.reduce_mean(tf.square(out - x))
    loss = lost + 0.25 * commitment
    used = tf.reduce_mean(hot, 0)
    perplexity = tf.exp(-tf.reduce_sum(used * tf.math.log(used + 1e-10)))
    fetches = {"loss": loss, "perplexity": perplexity, "index": index}
    train = [sgd(loss), tf.group(move)]
    return Built(train, fetches, lambda step: {x: draw(step).randn(ROWS[step], 4)})


@program()
def vq_vae_with_learned_codes() -> Built:
    x = fed([None, 4])
    z, codes = dense(x, 2, "encode"), weight("codes", [3, 2])
    d = tf.reduce_sum(tf.square(z[:, tf.newaxis] - codes[tf.newaxis]), 2)
    index = tf.argmin(d, 1)
    q = tf.gather(codes, index)
    q_loss = tf.reduce_mean(tf.square(q - tf.stop_gradient(z)))
    c_loss = tf.reduce_mean(tf.square(tf.stop_gradient(q) - z))
    out = dense(z + tf.stop_gradient(q - z), 4, "decode")
    loss = tf.reduce_mean(tf.square(out - x)) + q_loss + 0.25 * c_loss
    return Built(
        [adam(loss)], {"loss": loss, "index": index}, lambda s: {x: draw(s).randn(ROWS[s], 4)}
    )


@program(splits=True)
def real_nvp() -> Built:
    x = fed([None, 4])
    z, logdet = x, tf.zeros([tf.shape(x)[0]], f64)
    for layer in range(2):
        a, b = (z[:, :2], z[:, 2:]) if layer == 0 else (z[:, 2:], z[:, :2])
        scale, shift = tf.split(dense(a, 4, f"layer{layer}"), 2, 1)
        scale = tf.tanh(scale)
        z = tf.concat([a, b * tf.exp(scale) + shift], 1)
        logdet += tf.reduce_sum(scale, 1)
    prior = tf.reduce_sum(-0.5 * tf.square(z) - 0.5 * np.log(2 * np.pi), 1)
    loss = -tf.reduce_mean(prior + logdet)
    return Built([adam(loss)], {"loss": loss, "z": z}, lambda s: {x: draw(s).randn(ROWS[s], 4)})


@program()
def minibatch_discrimination() -> Built:
    """Each row sees how near all other rows of the batch are."""
    x, z = fed([None, 4]), fed([None, 2])

    def judge(rows: Any) -> Any:
        with tf1.variable_scope("critic", reuse=tf1.AUTO_REUSE):
            m = tf.reshape(dense(rows, 6, "t"), [-1, 2, 3])
            d = tf.expand_dims(m, 3) - tf.expand_dims(tf.transpose(m, [1, 2, 0]), 0)
            near = tf.reduce_sum(tf.exp(-tf.reduce_sum(tf.abs(d), 2)), 2)
            return dense(tf.concat([rows, near], 1), 1, "out")

    real, fake = judge(x), judge(generator(z))
    d_loss, g_loss = cross(real, 1.0) + cross(fake, 0.0), cross(fake, 1.0)
    d, g = players()
    train = [sgd(d_loss, variables=d), sgd(g_loss, variables=g)]
    return Built(train, {"d": d_loss, "g": g_loss, "real": real}, pair(x, z))


@program()
def minibatch_deviation() -> Built:
    """StyleGAN: the mean deviation of groups of rows is one more feature."""
    x = fed([None, 4])
    groups = tf.minimum(4, tf.shape(x)[0]) // 2
    y = tf.reshape(x[: 2 * groups * (tf.shape(x)[0] // (2 * groups))], [2 * groups, -1, 4])
    y -= tf.reduce_mean(y, 0, keepdims=True)
    y = tf.reduce_mean(tf.sqrt(tf.reduce_mean(tf.square(y), 0) + 1e-8))
    h = tf.concat([x, tf.fill([tf.shape(x)[0], 1], y)], 1)
    loss = tf.reduce_mean(tf.nn.softplus(dense(h, 1, "out")))
    return Built([sgd(loss)], {"loss": loss, "y": y}, lambda s: {x: draw(s).randn(ROWS[s], 4)})
