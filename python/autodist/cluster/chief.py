"""The cluster as the chief sees it: its own server, and the other nodes' servers.

A process has one TensorFlow server, which cannot be stopped. So a second session with the same
nodes uses the same cluster, and the servers run until the process ends.
"""

from __future__ import annotations

import atexit
import dataclasses
import threading
import time
import uuid
from collections.abc import Iterable

from autodist import _log
from autodist.cluster.node_errors import NodeUnavailableError
from autodist.cluster.servers import launching, membership
from autodist.cluster.servers.claims import Claims
from autodist.cluster.servers.server_status import NoAnswerError, Status
from autodist.cluster.servers.serving import ServedTask, start_server
from autodist.cluster.spec.nodes import Node
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.errors import GraphStateError
from autodist.process import background

_logger = _log.get_logger()
_POLL_SECONDS = 0.1
# How long a server that runs may take for a first answer, before it is taken for absent.
_GREETING_SECONDS = 2.0
# How long a server that a dead chief has left may take to notice that.
_RESTART_SECONDS = 10.0

_clusters: dict[tuple[ServedTask, ...], Cluster] = {}
_clusters_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a node cannot be used.

    Attributes:
      node: the node.
      reason: the problem, in words.
      is_silent: whether it was asked, and did not answer for the whole time.
    """

    node: Node
    reason: str
    is_silent: bool = False


class Cluster:
    """The servers of a spec's nodes; see `join`."""

    def __init__(self, spec: ResourceSpec, start_timeout_seconds: float) -> None:
        self.spec = spec
        self.run_id = uuid.uuid4().hex
        self._members: membership.Members[Node] = membership.Members()
        for node in spec.nodes:
            self._members.add(node, node.address)
        self._launched: dict[Node, launching.LaunchedServer] = {}
        self._answered: set[launching.LaunchedServer] = set()
        self._server = start_server(ServedTask.of(spec, spec.chief))
        self.claims = Claims(
            self.target, spec, self.run_id, self._check_chief(start_timeout_seconds)
        )
        self.bring_up(start_timeout_seconds, start_timeout_seconds)
        self._claim(start_timeout_seconds)

    @staticmethod
    def join(spec: ResourceSpec, start_timeout_seconds: float) -> Cluster:
        """The cluster of a spec with all of its servers; started by the first call in a process.

        Raises:
          GraphStateError: if this process is not the chief's, or a server is another's.
          NodeUnavailableError: if a node is not there in time.
        """
        tasks = tuple(ServedTask.of(spec, node) for node in spec.nodes)
        with _clusters_lock:
            cluster = _clusters.get(tasks)
            if cluster is None:
                if _clusters:
                    raise GraphStateError(
                        "this process is the chief of another cluster, and has one TensorFlow "
                        "server for its life. Run another program for another resource spec."
                    )
                cluster = Cluster(spec, start_timeout_seconds)
                _clusters[tasks] = cluster
                atexit.register(cluster._end_servers)
                return cluster
        cluster.bring_up(start_timeout_seconds, start_timeout_seconds)
        return cluster

    @property
    def target(self) -> str:
        """What a `tf.compat.v1.Session` takes as its target."""
        return str(self._server.target)

    @property
    def server_pids(self) -> dict[str, int]:
        """The processes of the servers that were started on this machine, by task."""
        return {
            node.task_device: server.pid
            for node, server in self._launched.items()
            if isinstance(server, launching.LocalServer) and server.is_running
        }

    def bring_up(self, timeout_seconds: float, start_timeout_seconds: float) -> list[Node]:
        """Waits until every node answers, and starts the servers that it can start.

        Args:
          timeout_seconds: how long to wait for a node that somebody else starts, or that runs
            already.
          start_timeout_seconds: how long to wait for one that is started now.

        Returns:
          The nodes that are other processes than when they were last seen.

        Raises:
          NodeUnavailableError: if a node is not there in time.
          GraphStateError: if a node's server is not the one that the spec describes.
        """
        others = self.spec.nodes[1:]
        found = background.map_in_threads(
            lambda node: self._reach(node, timeout_seconds, start_timeout_seconds), others, 64
        )
        failures = [f for f in found if isinstance(f, Failure)]
        if failures:
            raise self.error(failures, "in time")
        changed = []
        for node, status in zip(others, found, strict=True):
            assert isinstance(status, Status)
            _check_devices(node, status)
            if self._members.note(node, status.incarnation):
                changed.append(node)
        return changed

    def survey(self, timeout_seconds: float) -> list[Failure]:
        """Asks all other nodes at once who they are.

        Returns those that do not live, or are other processes than before.
        """
        absences = self._members.absences(self.spec.nodes[1:], timeout_seconds)
        return [
            Failure(
                node,
                absence.reason if absence.is_restart else self._with_log(node, absence.reason),
                is_silent=absence.is_silent,
            )
            for node, absence in absences.items()
        ]

    def error(self, failures: Iterable[Failure], when: str) -> NodeUnavailableError:
        """The error that names nodes which are not there."""
        failures = list(failures)
        count = len(self.spec.nodes)
        number_of = {node: number for number, node in enumerate(self.spec.nodes)}
        texts = [
            f"node {f.node.address} ({f.node.task_device}, node {number_of[f.node]} of {count}, "
            f"the chief being 0): {f.reason}"
            for f in failures
        ]
        return NodeUnavailableError(
            f"{len(failures)} of {count} nodes did not answer {when}: " + "; ".join(texts),
            tuple((f.node.address, f.node.task_device) for f in failures),
        )

    def drop_container(self, container: str, timeout_seconds: float) -> None:
        """Frees the variables of a session on all servers.

        A server that does not answer keeps them.
        """
        for node in self.spec.nodes:
            self._drop_on(node, container, timeout_seconds)

    def _drop_on(self, node: Node, container: str, timeout_seconds: float) -> None:
        try:
            self._members.stub(node).drop_containers([container], timeout_seconds)
        except NoAnswerError as error:
            _logger.warning("%s keeps the variables of a closed session: %s", node.address, error)

    def _claim(self, start_timeout_seconds: float) -> None:
        """Claims all servers for this chief.

        Servers that a dead chief has left restart, or are emptied.
        """
        left = self.claims.take(start_timeout_seconds)
        if not left:
            return
        deadline = time.monotonic() + min(_RESTART_SECONDS, start_timeout_seconds)
        while time.monotonic() < deadline and any(self._is_as_before(node) for node in left):
            time.sleep(_POLL_SECONDS)
        for node in left:
            if self._is_as_before(node):
                self.claims.take_over(node)
        self.bring_up(start_timeout_seconds, start_timeout_seconds)
        if self.claims.take(start_timeout_seconds):
            raise GraphStateError("another chief claims the servers of this one at the same time")

    def _is_as_before(self, node: Node) -> bool:
        return not self._members.absences([node], _GREETING_SECONDS)

    def _check_chief(self, timeout_seconds: float) -> int:
        """Raises if the chief's address does not lead to the server started here.

        Returns its incarnation.
        """
        chief = self.spec.chief
        try:
            own: int | None = self._members.stub(chief).status(timeout_seconds).incarnation
        except NoAnswerError:
            own = None
        if own is None or not membership.is_at(f"127.0.0.1:{chief.port}", own, timeout_seconds):
            raise GraphStateError(
                f"the chief's address {chief.address} is not this machine: the server that was "
                "started here is not found there. Run the program on the node with 'chief: true', "
                "and 'autodist serve' on the others."
            )
        self._members.note(chief, own)
        return own

    def _reach(
        self, node: Node, timeout_seconds: float, start_timeout_seconds: float
    ) -> Status | Failure:
        """Returns the status of a node; starts its server if it can."""
        begin = time.monotonic()
        deadline = begin + timeout_seconds
        stub = self._members.stub(node)
        reason = "no answer"
        gone_since = None
        while True:
            left = deadline - time.monotonic()
            server = self._launched.get(node)
            try:
                status = stub.status(max(0.001, min(left, _GREETING_SECONDS)))
            except NoAnswerError as error:
                reason = str(error)
                if error.is_silence:
                    reason = f"no answer within {time.monotonic() - begin:.3g} s"
            else:
                if server is not None:
                    self._answered.add(server)
                return status
            if left <= 0:
                return Failure(node, self._with_log(node, reason))
            if server is None or (not server.is_running and server in self._answered):
                try:
                    if self._launch(node, start_timeout_seconds):
                        deadline = time.monotonic() + start_timeout_seconds
                except launching.LaunchError as error:
                    return Failure(node, str(error))
            elif not server.is_running:
                # The node's own process may have been faster, and takes a moment to answer.
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > _GREETING_SECONDS:
                    return Failure(node, self._with_log(node, reason))
            time.sleep(_POLL_SECONDS)

    def _launch(self, node: Node, timeout_seconds: float) -> bool:
        """Starts a node's server; False where that is left to others."""
        task = ServedTask.of(self.spec, node)
        if node.ssh is not None:
            self._launched[node] = launching.SshServer(node, task, timeout_seconds)
        elif node.is_loopback:
            self._launched[node] = launching.LocalServer(task)
        return node in self._launched

    def _with_log(self, node: Node, reason: str) -> str:
        server = self._launched.get(node)
        if server is None:
            return f"{reason}; it was not started by this program"
        tail = server.log_tail()
        return f"{reason}; its server, started by this program, is {server.how}" + (
            f"; the end of its log:\n{tail}\n" if tail else ""
        )

    def _end_servers(self) -> None:
        for server in self._launched.values():
            server.end()


def _check_devices(node: Node, status: Status) -> None:
    where = f"the server at {node.address}"
    if status.task_device != node.task_device:
        raise GraphStateError(
            f"{where} is {status.task_device}; the resource spec has {node.task_device} there. "
            "Does it serve another spec, or was it started with another --node?"
        )
    wanted = (*node.cpu_devices, *(node.compute_devices if node.has_replicas else ()))
    missing = [device for device in wanted if not status.has(device)]
    if missing:
        raise GraphStateError(
            f"{where} ({node.task_device}) lacks {missing}, which the resource spec lists; it has "
            f"{[device.partition('/device:')[2] for device in status.devices]}"
        )
