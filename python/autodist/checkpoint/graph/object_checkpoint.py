"""Restores checkpoints of `tf.train.Checkpoint` by the names of variables.

In such a checkpoint the key of a value is the path of its object. The object graph, stored beside
the values, has for each key the name that the variable had when it was saved::

    keys_by_name(prefix) -> {"dense/kernel": ["model/dense/kernel/.ATTRIBUTES/VARIABLE_VALUE"], ...}

TensorFlow's `Saver` restores by these names too. But it restores only the last slice of a variable
with several slices. Of several objects with one name it takes the last (TF 2.21).
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from autodist import _log, errors
from autodist.checkpoint.distributed import session_proxy
from autodist.checkpoint.graph import variable_list
from autodist.private_apis import tf_variables

_LOGGER = _log.get_logger()

# Names listed in an error.
_MOST_LISTED = 10


KeysByName = Mapping[str, Sequence[str]]
"""The keys in an object-based checkpoint by the name of the variable."""


class ObjectCheckpointSession(session_proxy.SessionProxy):
    """A session that restores an object-based checkpoint if it has no tensor of a variable's name.

    Attributes:
        error: Why that failed, if names were missing again; the base class would take it for the
            first failure.
    """

    def __init__(self, session: Any, restore: Callable[[str, KeysByName], None]) -> None:
        """Wraps a session.

        Args:
            session: The session.
            restore: Restores from a prefix, given `keys_by_name` of it.
        """
        super().__init__(session)
        self._restore = restore
        self.error: Exception | None = None

    def run(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Runs the node that restores; `feed_dict` has one value, the prefix."""
        try:
            return self._session.run(fetches, feed_dict, options, run_metadata)
        except tf.errors.NotFoundError:
            (prefix,) = feed_dict.values()
            keys = keys_by_name(tf.compat.as_str(prefix))
            if keys is None:
                raise
        try:
            self._restore(tf.compat.as_str(prefix), keys)
        except tf.errors.NotFoundError as error:
            self.error = error
        return None


class ObjectRestores:
    """Restores object-based checkpoints of one saver.

    Adds nodes to the graph once for the same keys.
    """

    def __init__(self, make_saver: Callable[[Any], Any]) -> None:
        """Has added no nodes yet.

        Args:
            make_saver: Returns a saver of a `var_list`, which adds its nodes to the default graph.
        """
        self._make_saver = make_saver
        self._keys: KeysByName = {}
        self._saver: Any = None

    def restore(self, session: Any, given: Any, prefix: str, keys: KeysByName) -> None:
        """Restores.

        Args:
            session: The session; `None` executing eagerly.
            given: The `var_list` of the saver that is to restore by names; `None` for all of the
                graph.
            prefix: The checkpoint's prefix.
            keys: `keys_by_name` of it.

        Raises:
            GraphStateError: The graph is finalized, and needs other nodes.
            tf.errors.OpError: As `var_list`, and as a restore.
        """
        if self._saver is None or self._keys != keys:
            if not tf.executing_eagerly() and tf.compat.v1.get_default_graph().finalized:
                raise errors.GraphStateError(
                    f"Graph is finalized and cannot be modified, but {prefix} is an object-based "
                    "checkpoint: restoring it adds nodes. Restore it before the graph is "
                    "finalized, that is before MonitoredTrainingSession, Supervisor or "
                    "graph.finalize(), and save it with this Saver"
                )
            saver = self._make_saver(var_list(given, prefix, keys))
            self._keys, self._saver = keys, saver
        self._saver.restore(session, prefix)


def keys_by_name(prefix: str) -> KeysByName | None:
    """Returns the keys of an object-based checkpoint by the names of variables.

    Args:
        prefix: The checkpoint's prefix.

    Returns:
        The keys; `None` if the checkpoint is not an object-based one.
    """
    # Not `tf.train.load_checkpoint`, which takes a directory of that name first.
    reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    if not reader.has_tensor(tf_variables.OBJECT_GRAPH_KEY):
        return None
    graph = tf_variables.TrackableObjectGraph.FromString(
        reader.get_tensor(tf_variables.OBJECT_GRAPH_KEY)
    )
    keys: dict[str, dict[str, None]] = {}
    for node in graph.nodes:
        for attribute in node.attributes:
            keys.setdefault(attribute.full_name, {})[attribute.checkpoint_key] = None
    return {name: list(of_name) for name, of_name in keys.items()}


def var_list(given: Any, prefix: str, keys: KeysByName) -> dict[str, Any]:
    """Returns the `var_list` of a `Saver` that restores from an object-based checkpoint.

    Args:
        given: The `var_list` of the saver that is to restore by names; `None` for all of the graph.
        prefix: The checkpoint's prefix, for the error.
        keys: `keys_by_name` of it.

    Raises:
        tf.errors.NotFoundError: Variables are missing from the checkpoint; all are listed.
        tf.errors.InvalidArgumentError: Several objects in the checkpoint had the name of a
            variable.
    """
    if given is None:
        given = tf_variables.all_saveable_objects()
    named = variable_list.expand(given)
    if not isinstance(named, Mapping):
        named = tf_variables.op_list_to_dict(named)
    saveables = tf_variables.validate_and_slice_inputs(named)
    names = sorted({spec.name for saveable in saveables for spec in saveable.specs})
    missing = [name for name in names if name not in keys]
    if missing:
        raise tf.errors.NotFoundError(None, None, _missing(missing, prefix, keys))
    ambiguous = [name for name in names if len(keys[name]) > 1]
    if ambiguous:
        raise tf.errors.InvalidArgumentError(None, None, _ambiguous(ambiguous, prefix, keys))
    _LOGGER.warning(
        "%s is an object-based checkpoint: it is restored by the names that variables had when it "
        "was saved. tf.train.Checkpoint restores it by object",
        prefix,
    )
    return variable_list.by_unique_name([_renamed(saveable, keys) for saveable in saveables])


def _renamed(saveable: Any, keys: KeysByName) -> Any:
    """Returns a saveable object that reads from other keys.

    The one given may be the user's, and stays as it is.
    """
    renamed = copy.copy(saveable)
    renamed.specs = [copy.copy(spec) for spec in saveable.specs]
    for spec in renamed.specs:
        (spec.name,) = keys[spec.name]
    return renamed


def _missing(missing: Sequence[str], prefix: str, keys: Iterable[str]) -> str:
    stored = sorted(keys)
    text = (
        f"{prefix} is an object-based checkpoint (tf.train.Checkpoint, Keras save_weights). "
        f"{len(missing)} variables of this Saver have none of the {len(stored)} names that its "
        "variables had when it was saved:"
    )
    for name in missing[:_MOST_LISTED]:
        near = difflib.get_close_matches(name, stored, n=3, cutoff=0)
        text += f"\n  {name!r}: nearest are {', '.join(map(repr, near))}"
    return (
        text
        + _more(missing)
        + "\nName them in a dict, Saver({name in the checkpoint: variable}), or restore with "
        "tf.train.Checkpoint"
    )


def _ambiguous(ambiguous: Sequence[str], prefix: str, keys: KeysByName) -> str:
    text = (
        f"{prefix} is an object-based checkpoint (tf.train.Checkpoint, Keras save_weights). "
        "Several of its objects had the name of one variable of this Saver, so the name does not "
        "say which is meant:"
    )
    for name in ambiguous[:_MOST_LISTED]:
        text += f"\n  {name!r}: {', '.join(map(repr, keys[name]))}"
    return (
        text
        + _more(ambiguous)
        + "\nGive keys for names, Saver({key: variable}), or restore with tf.train.Checkpoint"
    )


def _more(names: Sequence[str]) -> str:
    return f"\n  and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
