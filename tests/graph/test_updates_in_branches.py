"""Updates inside a branch, a loop or a function reach every copy of a variable."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from autodist.strategy import AllReduce, PartitionedPS, PSLoadBalancing
from support.equivalence import training
from support.equivalence.models import MODELS

tf1 = tf.compat.v1


def update_in_branch(v: Any) -> Any:
    return tf.cond(tf.constant(value=True), lambda: tf.group(v.assign_add([1.0, 1.0])), tf.no_op)


def update_in_placeholder_branch(v: Any) -> Any:
    switch = tf1.placeholder_with_default(tf.constant(value=True), [])
    return tf.cond(switch, lambda: v.assign_add([1.0, 1.0]), v.read_value)


def update_in_loop(v: Any) -> Any:
    def body(i: Any) -> Any:
        with tf.control_dependencies([v.assign_add([0.5, 0.5])]):
            return i + 1

    return tf.while_loop(lambda i: i < 2, body, [0])


def update_in_function(v: Any) -> Any:
    @tf.function
    def update() -> Any:
        v.assign_add([1.0, 1.0])
        return tf.constant(3.0)

    return update()


@pytest.mark.parametrize("strategy", [AllReduce, lambda: PartitionedPS(min_variable_bytes=0)])
@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize(
    "update",
    [update_in_branch, update_in_placeholder_branch, update_in_loop, update_in_function],
    ids=lambda f: f.__name__,
)
def test_every_replica_sees_the_update(
    update: Callable[[Any], Any], v2: bool, strategy: Any, distribute: Any
) -> None:
    def build() -> Any:
        x = tf1.placeholder(tf.float32, [None, 2], "x")
        v = tf1.get_variable("v", initializer=tf.ones([2]))
        with training.control_flow(v2):
            return x * v, update(v), v

    session, (y, made, v) = distribute(build, strategy(), 3)
    session.run(made)
    assert session.run(v).tolist() == [2.0, 2.0]
    np.testing.assert_array_equal(session.run(y, {"x:0": np.ones([6, 2])}), np.full([6, 2], 2.0))


def train_every_second_step(_: Any, compute: Callable[[], Any], variables: list[Any]) -> Any:
    loss = compute()
    gradients = [tf.convert_to_tensor(g) for g in tf.gradients(loss, variables)]
    step = tf1.train.get_or_create_global_step()
    with tf.control_dependencies([tf1.assign_add(step, 1), *gradients]):
        is_even = tf.equal(step.read_value() % 2, 0)
    optimizer = tf1.train.AdamOptimizer(0.05)
    pairs = list(zip(gradients, variables, strict=True))
    return loss, tf.cond(is_even, lambda: optimizer.apply_gradients(pairs), tf.no_op)


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize(
    "strategy", [AllReduce, PSLoadBalancing, lambda: PartitionedPS(min_variable_bytes=0)]
)
def test_training_in_a_branch_equals_that_of_one_node(
    strategy: Any, v2: bool, make_autodist: Any
) -> None:
    model = dataclasses.replace(MODELS["mlp"], control_flow_v2=v2)

    def build() -> training.Program:
        return training.build(model, lambda: None, train_every_second_step)

    batches = training.draw_batches(model)
    ours = training.train_distributed(make_autodist(strategy(), 2), build, batches)
    training.assert_equal(ours, training.train_on_one_node(build, batches))
