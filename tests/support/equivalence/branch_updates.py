"""Updates in branches, loops and functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from support.equivalence.update_programs import (
    CHOSEN,
    WHOLE,
    Inputs,
    program,
    variable,
)

tf1 = tf.compat.v1


@program(v2=False)
@program(v2=True)
def in_a_branch(p: Inputs) -> Any:
    v, mean = variable("v", 3), tf.reduce_mean(p.x, 0)
    return v, tf.cond(p.scalar, lambda: v.assign_add(mean), lambda: v.assign_sub(0.5 * mean))


@program(v2=False)
@program(v2=True)
def in_a_branch_of_the_loss(p: Inputs) -> Any:
    v, loss = variable("v", value=9.0), tf.reduce_mean(tf.square(p.x))
    return v, tf.cond(loss < v, lambda: v.assign(loss), lambda: v.assign_add(1.0))


@program(v2=False)
@program(v2=True)
def of_constants_by_the_loss(p: Inputs) -> Any:
    v = variable("v")
    high = tf.reduce_sum(p.x) > 0
    made = tf.cond(
        high, lambda: tf.constant(1.0, tf.float64), lambda: tf.constant(-0.5, tf.float64)
    )
    return v, v.assign_add(made)


@program(v2=False)
@program(v2=True)
def of_a_branch(p: Inputs) -> Any:
    v = variable("v", 3)
    rows = tf.cond(p.scalar, lambda: p.x * 2.0, lambda: p.x + 1.0)
    return v, v.assign_add(tf.reduce_sum(tf.square(rows), 0))


@program(v2=False)
@program(WHOLE, v2=True)
def average_that_normalises_in_a_branch(p: Inputs) -> Any:
    v, w = variable("v", 3), tf1.get_variable("w", initializer=tf.ones([3, 1], tf.float64))
    batch_mean = tf.reduce_mean(p.x, 0)

    def of_the_batch() -> Any:
        with tf.control_dependencies([v.assign(0.9 * v + 0.1 * batch_mean)]):
            return tf.identity(batch_mean)

    mean = tf.cond(p.scalar, of_the_batch, v.read_value)
    loss = tf.reduce_mean((p.x - tf.stop_gradient(mean)) @ w)
    return [v], tf1.train.GradientDescentOptimizer(0.1).minimize(loss)


@program(WHOLE, v2=False)
@program(v2=True)
def in_a_loop(p: Inputs) -> Any:
    v, largest = variable("v"), tf.reduce_max(p.x)

    def step(i: Any) -> Any:
        with tf.control_dependencies([v.assign_add(largest)]):
            return i + 1

    return v, tf.while_loop(lambda i: i < 3, step, [0])


@program(v2=False)
@program(v2=True)
def of_a_loop(p: Inputs) -> Any:
    v = variable("v", 3)
    made = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(y + p.x)), [0, p.x])[1]
    return v, v.assign_add(tf.reduce_sum(made, 0))


@program(v2=False)
@program(v2=True)
def of_mapped_rows(p: Inputs) -> Any:
    v = variable("v")
    return v, v.assign_add(tf.reduce_max(tf.map_fn(tf.reduce_sum, p.x)))


@program()
def in_a_function(p: Inputs) -> Any:
    v = variable("v", 3)

    @tf.function
    def update(rows: Any) -> Any:
        v.assign_add(tf.reduce_sum(tf.sort(rows, 0)[:1], 0))
        return tf.constant(1.0)

    return v, update(p.x)


@program()
def of_a_function(p: Inputs) -> Any:
    v = variable("v", 3)
    compute = tf.function(lambda rows: tf.sort(rows, 0)[0] * (1.0 + v))
    return v, v.assign(compute(p.x))


@program(WHOLE)
def function_that_returns_rows(p: Inputs) -> Any:
    v, total = variable("v", 3), variable("total")

    @tf.function
    def update(rows: Any) -> Any:
        v.assign_add(tf.reduce_max(rows, 0))
        return rows * 2.0

    return [v, total], total.assign(tf.reduce_max(update(p.x)))


@program(WHOLE)
def of_a_python_function(p: Inputs) -> Any:
    v = variable("v", 3)
    made = tf1.py_func(lambda rows: np.median(rows, 0), [p.x], tf.float64)
    return v, v.assign_add(tf.ensure_shape(made, [3]))


@program(WHOLE)
def generator_of_random_numbers(p: Inputs) -> Any:
    state = tf1.get_variable("state", initializer=tf.constant([1, 2, 3], tf.int64), trainable=False)
    seen = variable("seen")
    drawn = tf.raw_ops.StatefulStandardNormalV2(
        resource=state.handle,
        algorithm=tf.constant(1, tf.int64),
        shape=tf.shape(p.x, out_type=tf.int64),
        dtype=tf.float64,
    )
    return [state, seen], seen.assign_add(tf.reduce_sum(tf.abs(drawn)))


# What the user or the guide says.


@program(WHOLE)
def first_copy(p: Inputs) -> Any:
    how = tf.VariableAggregation.ONLY_FIRST_REPLICA
    v = variable("v", aggregation=how)
    made = tf1.py_func(lambda rows: rows[0, 0], [p.x], tf.float64)
    return v, v.assign(tf.ensure_shape(made, []))


@program()
def batch_normalisation(p: Inputs) -> Any:
    mean, var = variable("mean", 3), variable("var", 3, value=1.0)
    batch_mean, batch_var = tf.nn.moments(p.x, [0])
    normal = tf.nn.batch_normalization(p.x, batch_mean, batch_var, None, None, 1e-3)
    updates = [mean.assign(0.9 * mean + 0.1 * batch_mean), var.assign(0.9 * var + 0.1 * batch_var)]
    return [mean, var], [*updates, tf.reduce_mean(normal)]


@program(CHOSEN)
def noise_for_each_row(p: Inputs) -> Any:
    v = variable("v", 3)
    noise = tf.random.normal(tf.shape(p.x), stddev=1e-12, dtype=tf.float64, seed=3)
    return v, v.assign_add(tf.reduce_mean(p.x + noise, 0))
