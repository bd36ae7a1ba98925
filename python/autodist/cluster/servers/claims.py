"""Writes and reads claims: a claim on a server says which chief the server works for.

A server that the chief found running may hold variables of another chief. Each chief writes its
claim to every server, as a variable in a container of its own. A claim holds a run id, the address
and incarnation of the chief's server, and the containers of its sessions. A claim of another run is
valid while that chief's server answers with the same incarnation. Otherwise this chief takes the
server over, and drops the other chief's variables.
"""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf

from autodist import _native
from autodist.cluster.servers.server_status import NoAnswerError, ServerStub
from autodist.cluster.spec.nodes import Node
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.errors import GraphStateError

tf1 = tf.compat.v1

_CONTAINER = "autodist_claim"
_ASK_SECONDS = 5.0


class Claims:
    """The claims of one chief on all of its servers.

    Args:
      target: the chief's server.
      spec: the nodes.
      run_id: of this chief.
      incarnation: of the chief's server.
    """

    def __init__(self, target: str, spec: ResourceSpec, run_id: str, incarnation: int) -> None:
        self._target = target
        self._spec = spec
        self._run_id = run_id
        self._incarnation = incarnation
        self._containers: list[str] = []
        self._left: dict[Node, list[str]] = {}

    def add_container(self, container: str, timeout_seconds: float) -> None:
        """Notes on all servers that a session of this chief keeps its state in a container."""
        self._containers.append(container)
        self.take(timeout_seconds)

    def take(self, timeout_seconds: float) -> list[Node]:
        """Claims every server for this chief, unless some have worked for a chief that is gone.

        Returns:
          Those servers; `take_over` drops what they hold, before another try.

        Raises:
          GraphStateError: if one works for another chief, or has not loaded our op library.
        """
        config = tf1.ConfigProto(operation_timeout_in_ms=max(1, int(timeout_seconds * 1000)))
        nodes, left = self._spec.nodes, []
        with tf.Graph().as_default(), tf1.Session(self._target, config=config) as session:
            handles = [_handle(node.task_device) for node in nodes]
            held = session.run([tf.raw_ops.VarIsInitializedOp(resource=h) for h in handles])
            for node, handle, is_held in zip(nodes, handles, held, strict=True):
                _check_library(session, node)
                if is_held:
                    read = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.string)
                    if self._was_left(node, json.loads(session.run(read))):
                        left.append(node)
            if not left:
                claim = self._own_claim()
                session.run([tf.raw_ops.AssignVariableOp(resource=h, value=claim) for h in handles])
        return left

    def take_over(self, node: Node) -> None:
        """Drops the variables that a dead chief left on a node.

        Raises:
          GraphStateError: if the node does not answer.
        """
        stub = ServerStub(node.address)
        try:
            stub.drop_containers([*self._left.get(node, []), _CONTAINER], _ASK_SECONDS)
        except NoAnswerError as error:
            raise GraphStateError(
                f"the server at {node.address} ({node.task_device}) cannot be taken over from an "
                f"earlier run: {error}"
            ) from error
        finally:
            stub.close()

    def _own_claim(self) -> str:
        return json.dumps(
            {
                "run": self._run_id,
                "chief": self._spec.chief.address,
                "incarnation": self._incarnation,
                "containers": self._containers,
            }
        )

    def _was_left(self, node: Node, claim: dict[str, Any]) -> bool:
        """Whether a node has worked for a chief that is gone.

        One that works for another chief is refused.
        """
        if claim["run"] == self._run_id:
            return False
        chief = ServerStub(claim["chief"])
        try:
            is_alive = chief.status(_ASK_SECONDS).incarnation == claim["incarnation"]
        except NoAnswerError as error:
            # A chief that is stopped may continue.
            is_alive = error.is_silence
        finally:
            chief.close()
        if is_alive:
            raise GraphStateError(
                f"the server at {node.address} ({node.task_device}) works for another chief, at "
                f"{claim['chief']} (run {claim['run']}). End that program first, or give this one "
                "servers of its own."
            )
        self._left[node] = claim["containers"]
        return True


def is_claimed(target: str, task_device: str, incarnation: int, timeout_seconds: float) -> bool:
    """Whether a chief has claimed a server.

    Args:
      target: the server.
      task_device: the task that it is.
      incarnation: of the chief's server.
      timeout_seconds: for an answer.

    Raises:
      tf.errors.OpError: if there is none.
    """
    config = tf1.ConfigProto(
        operation_timeout_in_ms=max(1, int(timeout_seconds * 1000)), device_filters=[task_device]
    )
    with tf.Graph().as_default(), tf1.Session(target, config=config) as session:
        handle = _handle(task_device)
        if not session.run(tf.raw_ops.VarIsInitializedOp(resource=handle)):
            return False
        claim = session.run(tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.string))
    return bool(json.loads(claim)["incarnation"] == incarnation)


def _handle(task_device: str) -> Any:
    with tf.device(f"{task_device}/device:CPU:0"):
        return tf.raw_ops.VarHandleOp(
            dtype=tf.string, shape=[], container=_CONTAINER, shared_name="claim"
        )


def _check_library(session: Any, node: Node) -> None:
    """Checks that a node can run an op of ours."""
    with tf.device(f"{node.task_device}/device:CPU:0"):
        parts, _ = _native.ops().autodist_split_batch(batch=tf.range(2), N=1)
    try:
        session.run(parts)
    except tf.errors.OpError as error:
        if "not registered" not in error.message:
            raise
        raise GraphStateError(
            f"the server at {node.address} ({node.task_device}) has not loaded autodist's op "
            "library. Start it with 'autodist serve', or call autodist.load_ops() there"
        ) from error
