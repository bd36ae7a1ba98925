"""The private API of Keras that we use: Keras 2 and Keras 3.

Keras 2 is the package `tf_keras`, and `keras` below version 3, as TensorFlow 2.15 installs it. Both
may be there, with classes of their own. Keras 3 is `keras` from version 3. Read in tf_keras 2.21,
Keras 2.15 and Keras 3.15. No package is required: what is asked of one that is not installed is
None or empty.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
from typing import Any

from autodist.errors import ArgumentTypeError


class Keras2:
    """One package of Keras 2.

    Attributes:
        name: Its name, for `import`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self.name}.{name}")

    def backend(self) -> Any:
        """The module through which it asks for its session: `_get_session`, `set_session`.

        Its public functions are exported under `tf.compat.v1.keras.backend` only where `tf.keras`
        is this package.
        """
        return self._module("src.backend")

    def current_graph(self, inputs: Any) -> Any:
        """The graph that it takes a call with these inputs for."""
        return self.backend()._current_graph(inputs)

    def session_given(self) -> Any:
        """The session that it keeps for this thread, as `set_session` gives it one.

        None where there is none.
        """
        return getattr(self.backend()._SESSION, "session", None)

    def graph_model_class(self) -> Any:
        """The class that it gives to models made in a graph."""
        return self._module("src.engine.training_v1").Model

    def callback_class(self) -> Any:
        """The base class of its callbacks."""
        return self._module("src.callbacks").Callback

    def optimizer_base(self) -> Any:
        """The base class of its optimizers, without `optimizers.legacy`."""
        return self._module("src.optimizers.optimizer")._BaseOptimizer

    def legacy_optimizer_base(self) -> Any:
        """The base class of `optimizers.legacy`."""
        return self._module("src.optimizers.legacy.optimizer_v2").OptimizerV2


@functools.cache
def keras2_packages() -> tuple[Keras2, ...]:
    """The packages of Keras 2 that are installed; first the one that is `tf.keras` by default."""
    names = ["keras"] if _is_installed("keras") and not _is_keras_3() else []
    if _is_installed("tf_keras"):
        names.append("tf_keras")
    return tuple(Keras2(name) for name in names)


def keras2_of(value: Any) -> Keras2:
    """The package of Keras 2 that the class of an object comes from, or inherits from.

    Raises:
        ArgumentTypeError: None does.
    """
    packages = {each.name: each for each in keras2_packages()}
    for base in type(value).__mro__:
        found = packages.get(_root(base))
        if found is not None:
            return found
    raise ArgumentTypeError(f"{type(value).__name__} is no class of Keras 2")


def callback_class() -> Any:
    """A base class of callbacks, of the first package of Keras 2.

    The others take the callbacks too: they call methods by their names.

    Raises:
        ModuleNotFoundError: Keras 2 is not installed.
    """
    packages = keras2_packages()
    return packages[0].callback_class() if packages else Keras2("tf_keras").callback_class()


def is_keras_3(value: Any) -> bool:
    """Whether an object is of a class that the package of Keras 3 defines."""
    return _root(type(value)) == "keras" and _is_keras_3()


def optimizer_bases() -> list[Any]:
    """The base classes of Keras 2's and Keras 3's optimizers, without `optimizers.legacy`."""
    found = [each.optimizer_base() for each in keras2_packages()]
    if _is_keras_3():
        found.append(importlib.import_module("keras.src.optimizers.base_optimizer").BaseOptimizer)
    return found


def legacy_optimizer_bases() -> list[Any]:
    """The base classes of `optimizers.legacy`."""
    return [each.legacy_optimizer_base() for each in keras2_packages()]


def keras3_trainer_class() -> Any:
    """The class that defines `fit`, `evaluate` and `predict` of Keras 3; None without it."""
    if not _is_keras_3():
        return None
    return importlib.import_module("keras.src.backend.tensorflow.trainer").TensorFlowTrainer


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@functools.cache
def _is_keras_3() -> bool:
    if not _is_installed("keras"):
        return False
    try:
        version = importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError:  # `keras-nightly`, which is Keras 3
        return True
    return int(version.partition(".")[0]) >= 3


def _root(of: type) -> str:
    return of.__module__.partition(".")[0]
