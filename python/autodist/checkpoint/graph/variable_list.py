"""Expands a `var_list` so that TensorFlow's `Saver` saves all parts of every variable.

Of a `ShardedVariable` in a list the stock `Saver` saves only the last shard, and of saveable
objects with one name only the last. In eager mode it cannot convert variables of `tf.distribute` in
a dict (TF 2.21). It handles all of these right in a dict of `SaveableObject`s, with a key for each.
"""

import collections
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.private_apis import tf_variables


def expand(var_list: Any) -> Any:
    """Returns a `var_list` in which TensorFlow's `Saver` sees all parts of every variable.

    Args:
        var_list: As given to `Saver`; one without such variables is returned as it is.

    Raises:
        ArgumentError: A `ShardedVariable` has the name of another variable.
    """
    if isinstance(var_list, Mapping):
        if not any(_is_distributed(value) for value in var_list.values()):
            return var_list
        return {
            name: tf_variables.make_saveables(value, name) if _is_distributed(value) else value
            for name, value in var_list.items()
        }
    if not isinstance(var_list, list | tuple | set):
        return var_list
    flat = tf.nest.flatten(list(var_list))
    given = [value for value in flat if isinstance(value, tf_variables.SaveableObject)]
    # One that is given twice is saved once, as by TensorFlow's.
    saveables = list({id(saveable): saveable for saveable in given}.values())
    if len({saveable.name for saveable in saveables}) < len(saveables):
        others = [value for value in flat if not isinstance(value, tf_variables.SaveableObject)]
        return {**_named(others), **by_unique_name(saveables)}
    if not any(isinstance(value, tf_variables.ShardedVariable) for value in flat):
        return var_list
    return _named(flat)


def by_unique_name(saveables: Iterable[Any]) -> dict[str, Any]:
    """Returns saveable objects by unique keys, which sort like their names.

    Args:
        saveables: The `SaveableObject`s. Their keys in a checkpoint are those of their specs.
    """
    named: dict[str, Any] = {}
    counts: collections.Counter[str] = collections.Counter()
    for saveable in saveables:
        number = counts[saveable.name]
        counts[saveable.name] += 1
        named[f"{saveable.name}\1{number:09d}" if number else saveable.name] = saveable
    return named


def _named(flat: list[Any]) -> dict[str, Any]:
    """Returns values by name; a sharded variable is replaced by its saveable objects."""
    sharded = [value for value in flat if isinstance(value, tf_variables.ShardedVariable)]
    others = [value for value in flat if not isinstance(value, tf_variables.ShardedVariable)]
    named = dict(tf_variables.op_list_to_dict(others))
    for value in sharded:
        if value.name in named:
            raise errors.ArgumentError(f"At least two variables have the same name: {value.name}")
        named[value.name] = tf_variables.make_saveables(value, value.name)
    return named


def _is_distributed(value: Any) -> bool:
    return isinstance(value, tf_variables.ShardedVariable | tf_variables.DistributedVariable)
