"""Runs one node's TensorFlow server with our op library loaded, for `autodist serve`."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import sys
import time
from typing import Any

import tensorflow as tf

from autodist import _log, _native
from autodist.cluster.servers import claims
from autodist.cluster.servers.server_status import NoAnswerError, ServerStub
from autodist.cluster.spec.nodes import Node
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.errors import ArgumentError, GraphStateError

READY = "autodist serve: ready"

# How often it is checked whether the chief is still there.
_CHECK_SECONDS = 1.0
# How long a chief that is stopped or busy may take to answer.
_PATIENCE_SECONDS = 60.0
# How often in a row a chief must refuse to answer to count as gone.
_MOST_MISSES = 2
# How long a server that has just been started may take to answer.
_GREETING_SECONDS = 5.0

_logger = _log.get_logger()


@dataclasses.dataclass(frozen=True)
class ServedTask:
    """What a server needs to know to serve one task.

    Attributes:
      cluster: by job, the addresses of its tasks.
      job: the job of the task.
      task: the number of the task in its job.
      cpu_count: how many CPU devices the server has.
      uses_gpus: whether it may use the machine's GPUs.
      leader: the task that leads collectives: the chief's.
      chief_address: the address of the chief's server.
    """

    cluster: dict[str, list[str]] = dataclasses.field(hash=False)
    job: str
    task: int
    cpu_count: int
    uses_gpus: bool
    leader: str
    chief_address: str

    @staticmethod
    def of(spec: ResourceSpec, node: Node) -> ServedTask:
        """Returns the task of a node of a cluster."""
        chief = spec.chief
        return ServedTask(
            spec.cluster,
            node.job,
            node.task,
            node.cpu_count,
            uses_gpus=bool(node.gpus),
            leader=f"/job:{chief.job}/replica:0/task:{chief.task}",
            chief_address=chief.address,
        )

    def to_line(self) -> str:
        """Returns the task as one line of text, for `from_line`."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @staticmethod
    def from_line(line: str) -> ServedTask:
        """Parses a line that `to_line` made.

        Raises:
          ArgumentError: if it is something else.
        """
        try:
            return ServedTask(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ArgumentError(f"expected the description of a task, found {line!r}") from error

    @property
    def address(self) -> str:
        """The address of the task, `host:port`."""
        return self.cluster[self.job][self.task]

    @property
    def device(self) -> str:
        """The name of the task in device strings, such as `/job:worker/task:1`."""
        return f"/job:{self.job}/task:{self.task}"


def find_task(resource_spec: str | None, number: int | None) -> ServedTask:
    """Returns the task that this process is to serve.

    Args:
      resource_spec: path of a resource spec; None: `TF_CONFIG` says which cluster and task.
      number: the number of the node; the chief's is 0. None with `TF_CONFIG`.

    Raises:
      ArgumentError: if there is no such task.
    """
    if resource_spec is None:
        if number is not None:
            raise ArgumentError(
                "--node goes with --resource-spec; with TF_CONFIG, its task says which"
            )
        spec = ResourceSpec.from_environment()
        own = ResourceSpec.own_task()
        number = next(i for i, node in enumerate(spec.nodes) if (node.job, node.task) == own)
    else:
        spec = ResourceSpec.from_file(resource_spec)
    if not spec.is_cluster:
        raise ArgumentError("there is one node only, which needs no server: run the program on it")
    count = len(spec.nodes)
    if number is None or not 1 <= number < count:
        chief = " (0 is the chief, whose program runs its own server)" if number == 0 else ""
        raise ArgumentError(
            f"--node: expected a number from 1 to {count - 1}, found {number}{chief}"
        )
    return ServedTask.of(spec, spec.nodes[number])


def start_server(task: ServedTask) -> Any:
    """Starts a task's TensorFlow server in this process, where it stays until the process ends.

    Raises:
      GraphStateError: if it cannot start, for example because its port is taken.
    """
    _native.ops()
    config = tf.compat.v1.ConfigProto()
    config.device_count["CPU"] = task.cpu_count
    if not task.uses_gpus:
        config.device_count["GPU"] = 0
    config.experimental.collective_group_leader = task.leader
    try:
        return tf.distribute.Server(
            tf.train.ClusterSpec(task.cluster),
            job_name=task.job,
            task_index=task.task,
            config=config,
        )
    except tf.errors.OpError as error:
        raise GraphStateError(
            f"the server of task /job:{task.job}/task:{task.task} cannot start at {task.address}: "
            f"{error.message}. Is its port taken, by another chief or by a server of an earlier "
            "run?"
        ) from error


def serve_chief(task: ServedTask) -> None:
    """Serves the chief that started this process, until standard input or the parent ends.

    Raises:
      GraphStateError: if the server cannot start.
    """
    parent = os.getppid()
    _start_and_announce(task)
    while not _has_ended(_CHECK_SECONDS) and os.getppid() == parent:
        pass


def serve_until_chief_ends(task: ServedTask, *, also_unclaimed: bool) -> None:
    """Starts a task's server, and waits until a chief's server has come and gone.

    A user's program without `AutoDist` claims nothing. Its variables here outlive its chief.

    Args:
      task: the task to serve.
      also_unclaimed: whether to end after a chief that has not claimed this server, too.

    Raises:
      GraphStateError: if the server cannot start.
    """
    server = _start_and_announce(task)
    wait_until_chief_ends(task, None if also_unclaimed else server.target)


def wait_until_chief_ends(task: ServedTask, claimed_at: str | None = None) -> None:
    """Waits until a chief's server has come and gone.

    Args:
      task: the task that is served.
      claimed_at: the target of the task's server. Only a chief that has claimed it counts; None:
        any chief.
    """
    chief = ServerStub(task.chief_address)
    known, misses = None, 0
    while True:
        time.sleep(_CHECK_SECONDS)
        now = None
        try:
            now = chief.status(_PATIENCE_SECONDS).incarnation
        except NoAnswerError as error:
            # A stopped chief still exists and is silent; one that is gone refuses connections.
            misses += known is not None and not error.is_silence
        else:
            misses = 0
            if known is None:
                known = now
                _logger.info("%s: serves the chief at %s", task.address, task.chief_address)
            if known == now:
                continue
        if known is None or (now is None and misses < _MOST_MISSES):
            continue
        if claimed_at is None:
            return
        try:
            if claims.is_claimed(claimed_at, task.device, known, _PATIENCE_SECONDS):
                return
        except tf.errors.OpError as error:
            _logger.warning(
                "%s: its claim cannot be read, which is tried again: %s",
                task.address,
                error.message,
            )
            continue
        _logger.info(
            "%s: the chief at %s is gone; it has claimed nothing, so that all variables here are "
            "kept",
            task.address,
            task.chief_address,
        )
        known, misses = None, 0


def is_served(task: ServedTask) -> bool:
    """Returns whether a server of this very task answers at its address, within five seconds."""
    stub = ServerStub(task.address)
    deadline = time.monotonic() + _GREETING_SECONDS
    while (found := _task_device(stub)) is None and time.monotonic() < deadline:
        time.sleep(_CHECK_SECONDS / 10)
    return found == task.device


def _task_device(stub: ServerStub) -> str | None:
    try:
        return stub.status(_GREETING_SECONDS).task_device
    except NoAnswerError:
        return None


def _start_and_announce(task: ServedTask) -> Any:
    server = start_server(task)
    sys.stdout.write(f"{READY} at {task.address}, {task.device}\n")
    sys.stdout.flush()
    return server


def _has_ended(timeout_seconds: float) -> bool:
    """Returns whether standard input ends within a time. What comes in is ignored."""
    stdin = sys.stdin.fileno()
    readable, _, _ = select.select([stdin], [], [], timeout_seconds)
    return bool(readable) and not os.read(stdin, 4096)
