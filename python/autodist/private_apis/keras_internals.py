"""The private API of Keras that we use, of `tf_keras` (Keras 2) and `keras` (Keras 3).

Read in tf_keras 2.21 and Keras 3.15. Neither package is required: what is asked of one that is not
installed is None or empty.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def _module(name: str) -> Any:
    """A module; None where its package is not installed."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        return None
    return importlib.import_module(name)


def backend() -> Any:
    """The module through which Keras 2 asks for its session: `_get_session`, `set_session`.

    None without tf_keras.

    Its public functions are exported under `tf.compat.v1.keras.backend` only where `tf.keras` is
    Keras 2.
    """
    return _module("tf_keras.src.backend")


def current_graph(inputs: Any) -> Any:
    """The graph that Keras 2 takes a call with these inputs for."""
    return backend()._current_graph(inputs)


def session_given() -> Any:
    """The session that Keras 2 keeps for this thread, as `set_session` gives it one.

    None where there is none.
    """
    return getattr(backend()._SESSION, "session", None)


def session_of_backend() -> Any:
    """The session that Keras 2 runs its graph in."""
    return backend().get_session()


def callback_class() -> Any:
    """The base class of callbacks of Keras 2.

    Raises:
        ModuleNotFoundError: tf_keras is not installed.
    """
    return importlib.import_module("tf_keras.callbacks").Callback


def graph_model_class() -> Any:
    """The class that Keras 2 gives to models made in a graph; None without tf_keras."""
    module = _module("tf_keras.src.engine.training_v1")
    return None if module is None else module.Model


def optimizer_bases() -> list[Any]:
    """The base classes of Keras 2's and Keras 3's optimizers, without `optimizers.legacy`."""
    found = []
    for name, base in (
        ("tf_keras.src.optimizers.optimizer", "_BaseOptimizer"),
        ("keras.src.optimizers.base_optimizer", "BaseOptimizer"),
    ):
        module = _module(name)
        if module is not None:
            found.append(getattr(module, base))
    return found


def keras3_trainer_class() -> Any:
    """The class that defines `fit`, `evaluate` and `predict` of Keras 3; None without keras."""
    module = _module("keras.src.backend.tensorflow.trainer")
    return None if module is None else module.TensorFlowTrainer
