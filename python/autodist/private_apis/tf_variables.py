"""TensorFlow's private Python API of variables and of savers.

Each name is imported with the reason why no public one would do. Read in TensorFlow 2.21.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

# An object-based checkpoint holds one under `OBJECT_GRAPH_KEY`.
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

# Without a public name.
from tensorflow.python.checkpoint.checkpoint_management import meta_graph_filename

# Public code meets variables of these classes but cannot name the classes.
from tensorflow.python.distribute.sharded_variable import ShardedVariable
from tensorflow.python.distribute.values import DistributedVariable
from tensorflow.python.ops import resource_variable_ops, variable_scope

# `tf.compat.v1.get_variable` returns a `PartitionedVariable`, which has no public name.
from tensorflow.python.ops.variables import PartitionedVariable

# The objects that a `Saver` saves by default.
from tensorflow.python.ops.variables import _all_saveable_objects as all_saveable_objects
from tensorflow.python.trackable.base import OBJECT_GRAPH_PROTO_KEY as OBJECT_GRAPH_KEY

# The state file; `tf.train.get_checkpoint_state` hides what is wrong with one.
from tensorflow.python.training.checkpoint_state_pb2 import CheckpointState

# The saveable objects that a `Saver` makes of a list of variables, and their names.
from tensorflow.python.training.saving.saveable_object import SaveableObject, SaveSpec
from tensorflow.python.training.saving.saveable_object_util import (
    op_list_to_dict,
    validate_and_slice_inputs,
)

from autodist.private_apis.patches import replaced

__all__ = [
    "BaseResourceVariable",
    "CheckpointState",
    "DistributedVariable",
    "OBJECT_GRAPH_KEY",
    "PartitionedVariable",
    "SaveSpec",
    "SaveableObject",
    "ShardedVariable",
    "TrackableObjectGraph",
    "all_saveable_objects",
    "is_resource_variable",
    "make_saveables",
    "meta_graph_filename",
    "op_list_to_dict",
    "resource_variables_by_default",
    "validate_and_slice_inputs",
]

# Public code can only ask `isinstance(v, tf.Variable)`, which is also true of ref variables.
BaseResourceVariable = resource_variable_ops.BaseResourceVariable
is_resource_variable = resource_variable_ops.is_resource_variable


def _toggle() -> Any:
    """The module that holds the switch."""
    if hasattr(variable_scope, "_DEFAULT_USE_RESOURCE"):  # TensorFlow 2.15
        return variable_scope
    return importlib.import_module("tensorflow.python.ops.resource_variables_toggle")


@contextlib.contextmanager
def resource_variables_by_default() -> Iterator[None]:
    """Makes `tf.compat.v1` variables resource variables, also after `disable_v2_behavior()`."""
    # The switch itself: several scopes may be open, and end in any order.
    with replaced(_toggle(), "_DEFAULT_USE_RESOURCE", lambda _: True):
        yield


def make_saveables(variable: Any, name: str) -> Any:
    """Returns the saveable objects that a variable of several parts makes of itself.

    Args:
        variable: A `ShardedVariable` or a variable of `tf.distribute`.
        name: The name in the checkpoint.

    Returns:
        A `SaveableObject`, or a list of one for each shard.
    """
    (factory,) = variable._gather_saveables_for_checkpoint().values()
    return factory(name)
