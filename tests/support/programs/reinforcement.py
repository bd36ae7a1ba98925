"""Agents: values, policies, advantages, target networks."""

from typing import Any

import numpy as np
import tensorflow as tf

from support.programs.inputs import ROWS, draw, fed
from support.programs.parts import adam, dense, f64, sgd, tf1, weight
from support.programs.registry import Built, program

STATE, ACTIONS = 3, 3


def network(x: Any, name: str, units: int = ACTIONS) -> Any:
    with tf1.variable_scope(name, reuse=tf1.AUTO_REUSE):
        return dense(dense(x, 5, "h", tf.nn.relu), units, "out")


def of(name: str) -> list[Any]:
    return tf1.get_collection(tf1.GraphKeys.TRAINABLE_VARIABLES, name + "/")


@program(splits=True)
def dqn() -> Built:
    """The value of the chosen action by `gather_nd`; a target network that is copied; a Huber loss."""
    s, following = fed([None, STATE]), fed([None, STATE])
    a, reward, done = fed([None], tf.int32), fed([None]), fed([None])
    q, later = network(s, "online"), network(following, "target")
    wanted = tf.stop_gradient(reward + 0.9 * (1 - done) * tf.reduce_max(later, 1))
    chosen = tf.gather_nd(q, tf.stack([tf.range(tf.shape(a)[0]), a], 1))
    error = wanted - chosen
    small = tf.minimum(tf.abs(error), 1.0)
    loss = tf.reduce_mean(0.5 * tf.square(small) + (tf.abs(error) - small))
    online = of("online")
    optimizer = tf1.train.AdamOptimizer(0.05)
    pairs = [(tf.clip_by_norm(g, 1.0), v) for g, v in optimizer.compute_gradients(loss, online)]
    train = optimizer.apply_gradients(pairs, tf1.train.get_or_create_global_step())
    copy = tf.group(*[t.assign(v) for t, v in zip(of("target"), online, strict=True)])

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            s: r.randn(n, STATE),
            following: r.randn(n, STATE),
            a: r.randint(0, ACTIONS, n),
            reward: r.randn(n),
            done: r.randint(0, 2, n),
        }

    return Built([train, copy], {"loss": loss, "q": q, "errors": error}, feed)


@program()
def dqn_with_priorities() -> Built:
    """Weights of the replay by the largest of the batch."""
    s, a, y, p = fed([None, STATE]), fed([None], tf.int32), fed([None]), fed([None])
    q = network(s, "q")
    chosen = tf.reduce_sum(q * tf.one_hot(a, ACTIONS, dtype=f64), 1)
    errors = tf.abs(y - chosen)
    weights = tf.pow(p * 10.0, -0.6)
    weights /= tf.reduce_max(weights)
    loss = tf.reduce_mean(weights * tf.square(errors))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            s: r.randn(n, STATE),
            a: r.randint(0, ACTIONS, n),
            y: r.randn(n),
            p: 0.1 + r.rand(n),
        }

    return Built([adam(loss)], {"loss": loss, "errors": errors, "weights": weights}, feed)


@program(splits=True)
def sac() -> Built:
    """Two critics, a policy with fed noise, a temperature, and soft updates of the targets."""
    s, following, a = fed([None, STATE]), fed([None, STATE]), fed([None, 2])
    reward, noise = fed([None]), fed([None, 2])
    log_alpha = tf1.get_variable("log_alpha", initializer=tf.constant(0.0, f64))

    def policy(x: Any) -> tuple[Any, Any]:
        mean, log = tf.split(network(x, "policy", 4), 2, 1)
        log = tf.clip_by_value(log, -2.0, 1.0)
        u = mean + tf.exp(log) * noise
        logp = tf.reduce_sum(-0.5 * tf.square(noise) - log - 0.5 * np.log(2 * np.pi), 1)
        logp -= tf.reduce_sum(tf.math.log(1 - tf.square(tf.tanh(u)) + 1e-6), 1)
        return tf.tanh(u), logp

    def critic(x: Any, action: Any, name: str) -> Any:
        return network(tf.concat([x, action], 1), name, 1)[:, 0]

    own, logp = policy(s)
    later, later_logp = policy(following)
    alpha = tf.exp(log_alpha)
    least = tf.minimum(critic(following, later, "t1"), critic(following, later, "t2"))
    backup = tf.stop_gradient(reward + 0.9 * (least - alpha * later_logp))
    critics = [0.5 * tf.reduce_mean(tf.square(backup - critic(s, a, n))) for n in ("q1", "q2")]
    actor = tf.reduce_mean(alpha * logp - tf.minimum(critic(s, own, "q1"), critic(s, own, "q2")))
    heat = -tf.reduce_mean(log_alpha * tf.stop_gradient(logp - 2.0))
    train_actor = tf1.train.AdamOptimizer(0.01).minimize(actor, var_list=of("policy"))
    with tf.control_dependencies([train_actor]):
        train_critics = tf1.train.AdamOptimizer(0.01).minimize(
            sum(critics), var_list=of("q1") + of("q2")
        )
    with tf.control_dependencies([train_critics]):
        pairs = zip(of("t1") + of("t2"), of("q1") + of("q2"), strict=True)
        soft = [t.assign(0.9 * t + 0.1 * v.read_value()) for t, v in pairs]
        heated = tf1.train.AdamOptimizer(0.01).minimize(heat, var_list=[log_alpha])

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            s: r.randn(n, STATE),
            following: r.randn(n, STATE),
            a: r.rand(n, 2) - 0.5,
            reward: r.randn(n),
            noise: r.randn(n, 2),
        }

    fetches = {"actor": actor, "critic": critics[0], "logp": logp}
    return Built([tf.group(heated, *soft)], fetches, feed)


def ppo_loss(normalise: bool) -> tuple[Any, Any, Any]:
    s, a, old = fed([None, STATE]), fed([None], tf.int32), fed([None])
    advantage, returns = fed([None]), fed([None])
    logits, value = network(s, "pi"), network(s, "v", 1)[:, 0]
    if normalise:
        mean, variance = tf.nn.moments(advantage, [0])
        scaled = (advantage - mean) / (tf.sqrt(variance) + 1e-8)
    else:
        scaled = advantage
    logs = tf.nn.log_softmax(logits)
    logp = tf.reduce_sum(tf.one_hot(a, ACTIONS, dtype=f64) * logs, 1)
    ratio = tf.exp(logp - old)
    clipped = tf.clip_by_value(ratio, 0.8, 1.2) * scaled
    gain = tf.reduce_mean(tf.minimum(ratio * scaled, clipped))
    entropy = tf.reduce_mean(-tf.reduce_sum(tf.exp(logs) * logs, 1))
    error = tf.reduce_mean(tf.square(returns - value))
    kl = 0.5 * tf.reduce_mean(tf.square(logp - old))
    share = tf.reduce_mean(tf.cast(tf.abs(ratio - 1.0) > 0.2, f64))
    loss = -gain + 0.5 * error - 0.01 * entropy

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            s: r.randn(n, STATE),
            a: r.randint(0, ACTIONS, n),
            old: -1.0 - r.rand(n),
            advantage: np.linspace(-3, 5, n) + r.randn(n),
            returns: r.randn(n),
        }

    return loss, {"loss": loss, "kl": kl, "share": share, "entropy": entropy}, feed


@program(splits=True)
def ppo() -> Built:
    loss, fetches, feed = ppo_loss(normalise=False)
    variables = tf1.trainable_variables()
    gradients, norm = tf.clip_by_global_norm(tf.gradients(loss, variables), 0.5)
    step = tf1.train.get_or_create_global_step()
    train = tf1.train.AdamOptimizer(0.01, epsilon=1e-5).apply_gradients(
        zip(gradients, variables, strict=True), step
    )
    return Built([train], {**fetches, "norm": norm}, feed)


@program()
def ppo_with_normalised_advantages() -> Built:
    """Advantages are centred and scaled by their own mean and variance over the batch, in the graph."""
    loss, fetches, feed = ppo_loss(normalise=True)
    return Built([adam(loss, 0.01)], fetches, feed)


@program()
def running_normalisation() -> Built:
    """A running mean of what was seen, from sums and the number of rows, before the network."""
    s, y = fed([None, STATE]), fed([None])
    zeros, ones = tf1.zeros_initializer(), tf1.ones_initializer()
    total = tf1.get_variable("total", [STATE], f64, zeros, trainable=False)
    squares = tf1.get_variable("squares", [STATE], f64, ones, trainable=False)
    count = tf1.get_variable("count", [], f64, ones, trainable=False)
    update = tf.group(
        total.assign_add(tf.reduce_sum(s, 0)),
        squares.assign_add(tf.reduce_sum(tf.square(s), 0)),
        count.assign_add(tf.cast(tf.shape(s)[0], f64)),
    )
    mean = total / count
    deviation = tf.sqrt(tf.maximum(squares / count - tf.square(mean), 1e-2))
    x = tf.clip_by_value((s - mean) / deviation, -5.0, 5.0)
    loss = tf.reduce_mean(tf.square(network(x, "v", 1)[:, 0] - y))

    def feed(step: int) -> Any:
        r = draw(step)
        return {s: 2 + r.randn(ROWS[step], STATE), y: r.randn(ROWS[step])}

    return Built([update, sgd(loss)], {"loss": loss, "x": x}, feed)


@program()
def reinforce_with_returns() -> Built:
    """One episode is the batch: discounted returns by a reversed cumulative sum over its rows."""
    s, a, reward = fed([None, STATE]), fed([None], tf.int32), fed([None])
    logits = network(s, "pi")
    times = tf.cast(tf.range(tf.shape(s)[0]), f64)
    discount = tf.pow(tf.constant(0.9, f64), times)
    returns = tf.cumsum(reward * discount, reverse=True) / discount
    returns -= tf.reduce_mean(returns)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=a, logits=logits)
    loss = tf.reduce_mean(losses * tf.stop_gradient(returns))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {s: r.randn(n, STATE), a: r.randint(0, ACTIONS, n), reward: r.rand(n)}

    return Built([adam(loss)], {"loss": loss, "returns": returns}, feed)


@program(flow=("v1", "v2"))
def advantages_by_scan() -> Built:
    """Generalised advantages of one trajectory by `tf.scan` over the rows."""
    s, reward, done = fed([None, STATE]), fed([None]), fed([None])
    value = network(s, "v", 1)[:, 0]
    later = tf.concat([value[1:], value[-1:]], 0)
    delta = reward + 0.9 * later * (1 - done) - value

    def add(total: Any, parts: Any) -> Any:
        return parts[0] + 0.8 * total * (1 - parts[1])

    found = tf.scan(add, (delta, done), tf.constant(0.0, f64), reverse=True)
    loss = tf.reduce_mean(tf.square(found))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {s: r.randn(n, STATE), reward: r.rand(n), done: np.arange(n) == n // 2}

    return Built([sgd(loss)], {"loss": loss, "advantages": found}, feed)


@program()
def ddpg() -> Built:
    """The gradient of the actor is put together by hand; soft updates by an exponential moving average."""
    s, y, action = fed([None, STATE]), fed([None, 1]), fed([None, 2])

    def critic(a: Any) -> Any:
        return network(tf.concat([s, a], 1), "critic", 1)

    a = tf.tanh(network(s, "actor", 2))
    q = critic(action)
    error = tf.reduce_mean(tf.square(y - q))
    train_critic = tf1.train.GradientDescentOptimizer(0.05).minimize(error, var_list=of("critic"))
    up = tf.gradients(critic(a), a)[0]
    size = tf.cast(tf.shape(s)[0], f64)
    actor = of("actor")
    gradients = [-g / size for g in tf.gradients(a, actor, grad_ys=up)]
    train_actor = tf1.train.GradientDescentOptimizer(0.05).apply_gradients(
        zip(gradients, actor, strict=True)
    )
    average = tf1.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([train_actor]):
        soft = average.apply(actor)

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {s: r.randn(n, STATE), y: r.randn(n, 1), action: r.rand(n, 2)}

    return Built([train_critic, soft], {"error": error, "a": a, "up": up}, feed)


@program()
def trust_region() -> Built:
    """TRPO: a product of the Fisher matrix and a fed vector, flattened gradients, parameters set from a vector."""
    s, old, a, advantage = fed([None, STATE]), fed([None, 2]), fed([None, 2]), fed([None])
    tangent = fed([8])
    w = weight("w", [STATE, 2])
    b = tf1.get_variable("b", [2], f64, tf1.zeros_initializer())
    mean = tf.matmul(s, w) + b
    logp = -0.5 * tf.reduce_sum(tf.square(a - mean), 1)
    gain = tf.reduce_mean(tf.exp(logp + 0.5 * tf.reduce_sum(tf.square(a - old), 1)) * advantage)
    kl = 0.5 * tf.reduce_mean(tf.reduce_sum(tf.square(tf.stop_gradient(mean) - mean), 1))

    def flat(y: Any) -> Any:
        return tf.concat([tf.reshape(g, [-1]) for g in tf.gradients(y, [w, b])], 0)

    g = flat(gain)
    product = flat(tf.reduce_sum(flat(kl) * tangent))
    theta = tf.concat([tf.reshape(w, [-1]), b], 0) + 0.05 * g + 0.01 * product
    train = tf.group(w.assign(tf.reshape(theta[:6], [3, 2])), b.assign(theta[6:]))

    def feed(step: int) -> Any:
        r = draw(step)
        n = ROWS[step]
        return {
            s: r.randn(n, STATE),
            old: r.randn(n, 2),
            a: r.randn(n, 2),
            advantage: r.randn(n),
            tangent: r.randn(8),
        }

    return Built([train], {"gain": gain, "kl": kl, "g": g, "product": product}, feed)
