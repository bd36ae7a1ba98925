"""What only TensorFlow's private API says of a process: its servers, and functions that ops call.

Read in TensorFlow 2.21.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# `tf.raw_ops.PyFunc` calls a function of the process that its device is in, by a name that
# `tf.py_function` draws. Here the name is known to other processes.
from tensorflow.python.ops import script_ops

__all__ = ["call_on_device", "has_no_function", "register", "servers"]

_registered: dict[str, Callable[[bytes], bytes]] = {}


def register(name: str, function: Callable[[bytes], bytes]) -> None:
    """Lets other processes of a cluster call a function of this one.

    Args:
        name: Its name, for `call_on_device`.
        function: Takes and returns bytes. It must not wait.
    """
    # TensorFlow keeps a weak reference.
    _registered[name] = function
    script_ops._py_funcs._funcs[name] = function


def call_on_device(name: str, argument: Any) -> Any:
    """Makes an op that calls a function that was registered in the process of the op's device.

    Args:
        name: Its name.
        argument: A scalar of strings.

    Returns:
        A scalar of strings.
    """
    return tf.raw_ops.PyFunc(input=[argument], token=name, Tout=[tf.string])[0]


def has_no_function(error: Exception) -> bool:
    """Tells whether a run of `call_on_device` failed because no such function was registered."""
    return "Could not find callback with key=" in str(error)


def servers() -> list[Any]:
    """Returns the `ServerDef` messages of the TensorFlow servers of this process."""
    server_class = tf.distribute.Server
    # Nobody keeps a list of them. `isinstance` would ask proxies of other packages.
    found = [each for each in gc.get_objects() if issubclass(type(each), server_class)]
    return [each.server_def for each in found]
