"""Asks a session's master which task it is, and whether its sessions share variables.

A session whose state is isolated has variables of its own, and another session with the same names
sees other variables or none. Its own config may say so (`isolate_session_state`) or that of the
server. So it is tried, with two sessions that are opened as the user's was::

    the first makes a variable    the second looks it up    the first removes it
"""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import liveness, task_calls, task_names

# A filter that lets through no task but the master.
_NOBODY = "/job:autodist_nobody"

_CONTAINER = "autodist_probe"


@dataclasses.dataclass(frozen=True)
class Master:
    """The master of a session.

    Attributes:
        task: Its task.
        shares_state: Whether two sessions that it opens see the same variables.
    """

    task: str
    shares_state: bool


def shared_task(target: task_names.SessionTarget, timeout_seconds: float) -> str:
    """Returns the task of a session's master, if our sessions see the user's variables.

    Args:
        target: The target of the user's session.
        timeout_seconds: How long to wait for an answer.

    Raises:
        task_names.UnreachableStateError: It does not see them.
        tf.errors.DeadlineExceededError: The master does not answer.
    """
    if target.why_unreachable:
        raise task_names.UnreachableStateError(target.why_unreachable)
    master = ask(target, timeout_seconds)
    if not master.shares_state:
        whose = "the session's" if target.config.isolate_session_state else "the server's"
        raise task_names.UnreachableStateError(
            f"{whose} config has isolate_session_state, which gives the session variables of its "
            "own"
        )
    return master.task


def ask(target: task_names.SessionTarget, timeout_seconds: float) -> Master:
    """Returns the task of a session's master, and whether its sessions share variables.

    Args:
        target: The target of the user's session.
        timeout_seconds: How long to wait for an answer.

    Raises:
        tf.errors.DeadlineExceededError: It does not answer.
    """
    master: Master = task_calls.await_call(
        task_calls.start_call(lambda: _ask(target)),
        timeout_seconds,
        f"the master {target}",
        lambda seconds: liveness.lives(target, None, seconds),
    )
    return master


def _ask(target: task_names.SessionTarget) -> Master:
    name = secrets.token_hex(16)
    metadata = tf.compat.v1.RunMetadata()
    options = tf.compat.v1.RunOptions(output_partition_graphs=True)
    with tf.Graph().as_default() as graph, _session(target, graph) as session:
        variable = _variable(name)
        made = tf.raw_ops.AssignVariableOp(resource=variable, value=True)
        removed = tf.raw_ops.DestroyResourceOp(resource=variable, ignore_lookup_error=True)
        session.run(made, options=options, run_metadata=metadata)
        try:
            is_seen = _sees(target, name)
        finally:
            session.run(removed)
    devices = {node.device for part in metadata.partition_graphs for node in part.node}
    return Master(task_names.task_of(next(iter(devices)), ""), is_seen)


def _sees(target: task_names.SessionTarget, name: str) -> bool:
    with tf.Graph().as_default() as graph, _session(target, graph) as session:
        return bool(session.run(tf.raw_ops.VarIsInitializedOp(resource=_variable(name))))


def _session(target: task_names.SessionTarget, graph: Any) -> Any:
    return tf.compat.v1.Session(target.address, graph=graph, config=target.config_for([_NOBODY]))


def _variable(name: str) -> Any:
    return tf.raw_ops.VarHandleOp(container=_CONTAINER, shared_name=name, dtype=tf.bool, shape=[])
