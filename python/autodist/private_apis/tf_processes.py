"""TensorFlow's private Python API of a process: its servers, and functions that ops call.

Read in TensorFlow 2.21.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# `tf.raw_ops.PyFunc` calls a function by its name, in the process of the op's device.
# `tf.py_function` makes up names. Here a function has a fixed name, which other processes know.
from tensorflow.python.ops import script_ops

__all__ = ["call_on_device", "has_no_function", "register", "servers"]

_registered: dict[str, Callable[[bytes], bytes]] = {}


def register(name: str, function: Callable[[bytes], bytes]) -> None:
    """Lets other processes of a cluster call a function of this one.

    Args:
        name: Its name, for `call_on_device`.
        function: Takes and returns bytes. It must not wait.
    """
    # TensorFlow keeps only a weak reference, so this module keeps the function alive.
    _registered[name] = function
    script_ops._py_funcs._funcs[name] = function


def call_on_device(name: str, argument: Any) -> Any:
    """Makes an op that calls a registered function of the process in which the op's device is.

    Args:
        name: Its name.
        argument: A scalar of type string.

    Returns:
        A scalar of type string.
    """
    return tf.raw_ops.PyFunc(input=[argument], token=name, Tout=[tf.string])[0]


def has_no_function(error: Exception) -> bool:
    """Tells whether a run of `call_on_device` failed because no such function was registered."""
    return "Could not find callback with key=" in str(error)


def servers() -> list[Any]:
    """Returns the TensorFlow servers of this process."""
    server_class = tf.distribute.Server
    # TensorFlow keeps no list of them. `isinstance` would run code of proxies of other packages.
    return [each for each in gc.get_objects() if issubclass(type(each), server_class)]
