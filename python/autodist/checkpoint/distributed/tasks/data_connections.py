"""Data connections: TCP connections between the chief of a save or restore and other tasks, beside gRPC.

docs/design/data-connections.md has the protocol.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from autodist import _log, _native
from autodist.checkpoint.distributed.tasks import control_session, task_names

_LOGGER = _log.get_logger()

# A task that sends or gets less is not worth a connection.
LEAST_BYTES = 4 << 20

# How many tasks have one; all others send through gRPC. Each takes a descriptor of the chief.
MOST_CONNECTIONS = 256

# How many of them send at a time. Each has a thread and a block on the chief.
STREAMS_UNDER_WAY = 8

# How long tasks try to connect; and how long no task is tried again that could not.
CONNECT_SECONDS = 3.0
RETRY_SECONDS = 600.0

_SECRET_BYTES = 32

# By the target of the session, the chief and the task: when the task could not connect.
FAILED: dict[tuple[str, str, str], float] = {}

# TensorFlow's own servers, which know no TLS (TF 2.21).
_PLAIN_GRPC = "grpc://"


class DataConnections:
    """The data connections of the saves or of a restore of one graph.

    Attributes:
        number: A placeholder: the number of the task whose connection an op of the chief uses.
    """

    def __init__(
        self,
        control: control_session.ControlSession,
        target: task_names.SessionTarget,
        tasks: Sequence[str],
        session_id: Any,
        lease: Any,
        *,
        is_restore: bool,
    ) -> None:
        """Builds nothing yet.

        Args:
            control: Runs the ops.
            target: The target of the user's session.
            tasks: All tasks, the chief first.
            session_id: The placeholder of the save's or restore's id.
            lease: The placeholder of its lease, in seconds.
            is_restore: Whether it is a restore.
        """
        self._control = control
        self._address = target.address
        self._tasks = tasks
        self._id = session_id
        self._lease = lease
        self._is_restore = is_restore
        self._listener: Any = None
        self._accepted: Any = None
        self._connects: dict[int, Any] = {}
        with control.graph.as_default():
            self.number = tf.compat.v1.placeholder(tf.int64, [])
            self._secret = tf.compat.v1.placeholder(tf.string, [])
            self._numbers = tf.compat.v1.placeholder(tf.int64, [None])
            self._names = tf.compat.v1.placeholder(tf.string, [None])

    def connect(self, feeds: Mapping[Any, Any], sizes: Mapping[int, int]) -> frozenset[int]:
        """Has tasks connect to the chief; returns the numbers of those that have.

        The others are named in the log, with the reason.

        Args:
            feeds: Of all ops of the save or restore.
            sizes: By number of a task, how many bytes it would send or get.
        """
        wanted = self._wanted(sizes)
        if not wanted:
            return frozenset()
        self._build(wanted)
        given = {
            **feeds,
            self._secret: secrets.token_bytes(_SECRET_BYTES),
            self._numbers: wanted,
            self._names: [self._tasks[number] for number in wanted],
        }
        (accepted, silent), failures = self._control.run(
            (
                (self._accepted, self._listener.failure),
                {number: self._connects[number] for number in wanted},
            ),
            given,
        )
        # Both sides say so: a task may have given up when the chief heard it.
        connected = frozenset(number for number in accepted.tolist() if not failures[number])
        reasons = {
            number: (silent or failures[number]).decode() or "it was not heard of in time"
            for number in wanted
            if number not in connected
        }
        for number in reasons:
            FAILED[self._key(number)] = time.monotonic()
        if reasons:
            number, reason = next(iter(reasons.items()))
            _LOGGER.info(
                "no data connection between %s and %s, whose bytes go through gRPC: %s",
                self._tasks[0],
                ", ".join(self._tasks[number] for number in reasons),
                reason,
            )
        return connected

    def _wanted(self, sizes: Mapping[int, int]) -> list[int]:
        """Returns the numbers of the tasks that are to connect."""
        if not self._address.startswith(_PLAIN_GRPC):
            return []
        since = time.monotonic() - RETRY_SECONDS
        worthy = [
            number
            for number, size in sizes.items()
            if size >= LEAST_BYTES and FAILED.get(self._key(number), since) <= since
        ]
        worthy.sort(key=lambda number: (-sizes[number], number))
        return sorted(worthy[:MOST_CONNECTIONS])

    def _key(self, number: int) -> tuple[str, str, str]:
        return self._address, self._tasks[0], self._tasks[number]

    def _build(self, wanted: Sequence[int]) -> None:
        """Builds the ops of tasks that have none yet."""
        ops = _native.ops()
        accept = (
            ops.autodist_accept_for_restore if self._is_restore else ops.autodist_accept_for_save
        )
        connect = ops.autodist_connect_restore if self._is_restore else ops.autodist_connect_save
        timeout_ms = int(CONNECT_SECONDS * 1000)
        with self._control.graph.as_default():
            if self._listener is None:
                with tf.device(task_names.processor_of(self._tasks[0])):
                    self._listener = ops.autodist_listen_for_streams()
                    self._accepted = accept(
                        self._id,
                        self._listener.listener,
                        self._secret,
                        self._numbers,
                        self._names,
                        timeout_ms,
                        self._lease,
                    )
            for number in wanted:
                if number in self._connects:
                    continue
                with tf.device(task_names.processor_of(self._tasks[number])):
                    self._connects[number] = connect(
                        self._id,
                        self._listener.hosts,
                        self._listener.port,
                        self._secret,
                        timeout_ms,
                        self._lease,
                        number=number,
                        chief=self._tasks[0],
                    )
