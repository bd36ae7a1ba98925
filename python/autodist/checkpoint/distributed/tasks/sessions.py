"""Sessions that a `Saver` is given: the user's own, or a distributed one of AutoDist.

A session of the user's runs the graph that the saver is in. A distributed session runs a
transformed one; its `stored_parts` and `stored_values` give access to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import task_names
from autodist.private_apis import tf_sessions
from autodist.tf_nodes import constants

# Of a distributed session, which is not known here by its class.
_INTERFACE = ("session_config", "stored_parts", "stored_values", "target", "transformed_graph")


def target_of(session: Any) -> task_names.SessionTarget | None:
    """Returns the target of a session; `None` if it runs in this process, or was closed."""
    if is_distributed(session):
        address, config = session.target, session.session_config
    else:
        session = tf_sessions.innermost(session)
        address = tf.compat.as_str(getattr(session, "sess_str", None) or "")
        config = tf_sessions.session_config(session)
    if not address or tf_sessions.is_closed(session):
        return None
    return task_names.SessionTarget(str(address), config)


def has_tasks(session: Any) -> bool:
    """Tells whether a session runs on tasks in other processes; false if it was closed."""
    return target_of(session) is not None


def run_stored(session: Any, fetches: Sequence[Any], options: Any, metadata: Any) -> Any:
    """Runs ops or tensors of the graph that a session runs.

    Args:
        session: The session.
        fetches: The ops or tensors.
        options: `RunOptions`, or `None`.
        metadata: `RunMetadata`, which is filled, or `None`.
    """
    if is_distributed(session):
        return session.stored_values(fetches, options, metadata)
    return tf_sessions.innermost(session).run(list(fetches), options=options, run_metadata=metadata)


def run_restores(
    session: Any,
    ops: Sequence[Any],
    feed_dict: Mapping[Any, Any],
    nodes: Iterable[Any],
    names: Mapping[str, str],
) -> None:
    """Runs operations that restore values, under other names in the checkpoint.

    Args:
        session: The session.
        ops: The operations.
        feed_dict: The feeds, of tensors of the session's graph.
        nodes: The `RestoreV2` operations behind `ops`; their names are constants.
        names: The names in the checkpoint, by those in the nodes; others stay as they are.
    """
    encoded = {key.encode(): name.encode() for key, name in names.items() if key != name}
    if not encoded:
        session.run(list(ops), dict(feed_dict))
        return
    if is_distributed(session):
        session.run_restores(ops, feed_dict, nodes, encoded)
        return
    renamed = {node.inputs[1]: constants.renamed(node.inputs[1], encoded) for node in nodes}
    session.run(list(ops), {**feed_dict, **renamed})


def bring_back(session: Any) -> None:
    """Has a distributed session restart lost servers, as it does before each run."""
    if is_distributed(session):
        session.list_devices()


def values(session: Any, tensors: Sequence[Any]) -> list[Any]:
    """Returns the values of sources that are no variables."""
    if not tensors:
        return []
    if is_distributed(session):
        return list(session.stored_values(tensors))
    return list(session.run(list(tensors)))


def is_distributed(session: Any) -> bool:
    """Tells whether a session is a distributed one."""
    return all(hasattr(session, name) for name in _INTERFACE)
