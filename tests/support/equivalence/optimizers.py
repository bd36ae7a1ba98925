"""Every optimizer, and the ways to train with one.

`STOCK` optimizers return a train op in a stock graph, so that their reference is the single-node graph.
`KERAS` ones train nothing there: their reference is eager training. Two of these are missing, for no graph
can hold them: Keras 2's Nadam (`pred must not be a Python bool`) and Keras 3's Adafactor (`'v:0' is
not a valid scope name`).
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
import tf_keras

v1 = tf.compat.v1.train
legacy = tf_keras.optimizers.legacy

STOCK: dict[str, Callable[[], Any]] = {
    "v1_sgd": lambda: v1.GradientDescentOptimizer(0.1),
    "v1_momentum": lambda: v1.MomentumOptimizer(0.1, 0.9),
    "v1_nesterov": lambda: v1.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "v1_adam": lambda: v1.AdamOptimizer(0.05),
    "v1_adagrad": lambda: v1.AdagradOptimizer(0.1),
    "v1_adagrad_da": lambda: v1.AdagradDAOptimizer(0.1, v1.get_or_create_global_step()),
    "v1_adadelta": lambda: v1.AdadeltaOptimizer(0.1),
    "v1_ftrl": lambda: v1.FtrlOptimizer(0.1, l1_regularization_strength=0.001),
    "v1_rmsprop": lambda: v1.RMSPropOptimizer(0.05),
    "v1_rmsprop_centered": lambda: v1.RMSPropOptimizer(0.05, momentum=0.5, centered=True),
    "v1_proximal_sgd": lambda: v1.ProximalGradientDescentOptimizer(0.1),
    "v1_proximal_adagrad": lambda: v1.ProximalAdagradOptimizer(0.1),
    "legacy_sgd": lambda: legacy.SGD(0.1, momentum=0.9),
    "legacy_adam": lambda: legacy.Adam(0.05),
    "legacy_amsgrad": lambda: legacy.Adam(0.05, amsgrad=True),
    "legacy_adamax": lambda: legacy.Adamax(0.05),
    "legacy_nadam": lambda: legacy.Nadam(0.05),
    "legacy_adagrad": lambda: legacy.Adagrad(0.1),
    "legacy_adadelta": lambda: legacy.Adadelta(0.1),
    "legacy_ftrl": lambda: legacy.Ftrl(0.1),
    "legacy_rmsprop": lambda: legacy.RMSprop(0.05),
}

# Their hyperparameters are float32 whatever the variables are.
SINGLE_PRECISION = ("v1_proximal_sgd", "v1_proximal_adagrad")

KERAS: dict[str, Callable[[], Any]] = {
    "keras2_sgd": lambda: tf_keras.optimizers.SGD(0.1),
    "keras2_momentum": lambda: tf_keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "keras2_adam": lambda: tf_keras.optimizers.Adam(0.05),
    "keras2_adamw": lambda: tf_keras.optimizers.AdamW(0.05),
    "keras2_adamax": lambda: tf_keras.optimizers.Adamax(0.05),
    "keras2_adagrad": lambda: tf_keras.optimizers.Adagrad(0.1),
    "keras2_adadelta": lambda: tf_keras.optimizers.Adadelta(0.1),
    "keras2_adafactor": lambda: tf_keras.optimizers.Adafactor(0.05),
    "keras2_ftrl": lambda: tf_keras.optimizers.Ftrl(0.1),
    "keras2_lion": lambda: tf_keras.optimizers.Lion(0.01),
    "keras2_rmsprop": lambda: tf_keras.optimizers.RMSprop(0.05, centered=True, momentum=0.5),
    "keras3_sgd": lambda: keras.optimizers.SGD(0.1),
    "keras3_momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "keras3_adam": lambda: keras.optimizers.Adam(0.05),
    "keras3_adamw": lambda: keras.optimizers.AdamW(0.05),
    "keras3_adamax": lambda: keras.optimizers.Adamax(0.05),
    "keras3_adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "keras3_adadelta": lambda: keras.optimizers.Adadelta(0.1),
    "keras3_ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "keras3_lion": lambda: keras.optimizers.Lion(0.01),
    "keras2_clipnorm": lambda: tf_keras.optimizers.SGD(0.1, clipnorm=0.1),
    "keras2_global_clipnorm": lambda: tf_keras.optimizers.Adam(0.05, global_clipnorm=0.1),
    "keras2_clipvalue": lambda: tf_keras.optimizers.SGD(0.1, clipvalue=0.05),
    "keras2_weight_decay": lambda: tf_keras.optimizers.SGD(0.1, weight_decay=0.01),
    "keras2_ema": lambda: tf_keras.optimizers.SGD(0.1, use_ema=True),
    "keras3_ema": lambda: keras.optimizers.SGD(0.1, use_ema=True),
    "keras2_schedule": lambda: tf_keras.optimizers.Adam(
        tf_keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.7, staircase=True)
    ),
    "keras3_clipnorm": lambda: keras.optimizers.SGD(0.1, clipnorm=0.1),
    "keras3_global_clipnorm": lambda: keras.optimizers.Adam(0.05, global_clipnorm=0.1),
    "keras3_schedule": lambda: keras.optimizers.Adam(
        keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.7, staircase=True)
    ),
    "keras3_rmsprop": lambda: keras.optimizers.RMSprop(0.05, centered=True, momentum=0.5),
}
if hasattr(keras.optimizers, "Lamb"):
    # In Keras 2, as TensorFlow 2.15 has it, there is no Lamb, and its Nadam fails in a graph.
    KERAS["keras3_lamb"] = lambda: keras.optimizers.Lamb(0.05)
    KERAS["keras3_nadam"] = lambda: keras.optimizers.Nadam(0.05)


def differentiate(compute: Callable[[], Any], variables: list[Any]) -> tuple[Any, list[Any]]:
    """A loss and its gradients, by `tf.gradients`."""
    loss = compute()
    return loss, tf.gradients(loss, variables)


def tape(compute: Callable[[], Any], variables: list[Any]) -> tuple[Any, list[Any]]:
    """A loss and its gradients, by a `tf.GradientTape`; in a graph or eagerly."""
    with tf.GradientTape() as recorded:
        loss = compute()
    return loss, recorded.gradient(loss, variables)
