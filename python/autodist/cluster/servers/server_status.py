"""Asks a TensorFlow server who it is, with a time limit.

A `tf.compat.v1.Session` waits for a server that does not answer for as long as it takes. The
servers' own protocol, `tensorflow.WorkerService`, is gRPC. `GetStatus` returns the devices of the
server, each with the incarnation that was drawn when the process began. `CleanupAll` drops the
resources of containers. TensorFlow's package lacks the classes of these messages. Each message has
one field, a list with number 1. So has `tf.train.BytesList`, which therefore has the same form on
the wire.

A server answers `GetStatus` in one of its inter-op threads, as it runs ops. Row updates that wait
for a variable under write may take all of these threads. The thread that reads requests answers
`MasterService.CloseSession`. For a session that does not exist, the answer says only that the
server lives. (TensorFlow 2.21.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import grpc
import tensorflow as tf

from autodist.private_apis import tf_sessions

_GET_STATUS = "/tensorflow.WorkerService/GetStatus"
_CLEANUP_ALL = "/tensorflow.WorkerService/CleanupAll"
_CLOSE_SESSION = "/tensorflow.MasterService/CloseSession"

# The codes of a call that reached no server.
_UNANSWERED = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


@dataclasses.dataclass(frozen=True)
class Status:
    """What a server says of itself.

    Attributes:
      incarnation: drawn when its process began.
      devices: their full names, `/job:worker/replica:0/task:1/device:CPU:0`.
    """

    incarnation: int
    devices: tuple[str, ...]

    @property
    def task_device(self) -> str:
        """The task it is, `/job:worker/task:1`."""
        spec = tf.DeviceSpec.from_string(self.devices[0])
        return f"/job:{spec.job}/task:{spec.task}"

    def has(self, device: str) -> bool:
        """Whether it has a device, given without the task: `/device:CPU:0`."""
        return any(name.endswith(device) for name in self.devices)


class NoAnswerError(Exception):
    """A server did not answer; the message says how.

    Args:
      message: how.
      is_silence: whether it was asked, and the time was over.
      is_busy: whether it lives, and only its inter-op threads did not answer.
    """

    def __init__(self, message: str, *, is_silence: bool = False, is_busy: bool = False) -> None:
        super().__init__(message)
        self.is_silence = is_silence
        self.is_busy = is_busy


class ServerStub:
    """The connection to one server.

    Attributes:
      address: `host:port`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(
            address,
            # A server that comes back is noticed within a second, and no proxy stands between
            # nodes.
            options=[
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.enable_http_proxy", 0),
            ],
        )

    def status(self, timeout_seconds: float) -> Status:
        """Who the server is.

        Raises:
          NoAnswerError: if there is no answer in time, or none that a TensorFlow server gives.
        """
        return self.begin_status(timeout_seconds)()

    def begin_status(self, timeout_seconds: float) -> Callable[[], Status]:
        """Asks who the server is.

        Returns a function that waits for the answer, as `status` does.
        """
        future = self._channel.unary_unary(_GET_STATUS).future(b"", timeout=timeout_seconds)
        lives = self._begin_answers(timeout_seconds)

        def wait() -> Status:
            try:
                answer = future.result()
            except grpc.RpcError as error:
                raise _no_answer(error, timeout_seconds, lives) from error
            return _parse(answer)

        return wait

    def answers(self, timeout_seconds: float) -> bool:
        """Whether there is a server that lives, or comes to live, within a time.

        A busy server lives too.
        """
        return self._begin_answers(timeout_seconds)()

    def _begin_answers(self, timeout_seconds: float) -> Callable[[], bool]:
        future = self._channel.unary_unary(_CLOSE_SESSION).future(
            b"", timeout=timeout_seconds, wait_for_ready=True
        )

        def wait() -> bool:
            return future.exception() is None or future.code() not in _UNANSWERED

        return wait

    def drop_containers(self, containers: Sequence[str], timeout_seconds: float) -> None:
        """Drops all resources of containers.

        Raises:
          NoAnswerError: if there is no answer in time.
        """
        names = tf.train.BytesList(value=[name.encode() for name in containers])
        try:
            self._channel.unary_unary(_CLEANUP_ALL)(
                names.SerializeToString(), timeout=timeout_seconds
            )
        except grpc.RpcError as error:
            raise _no_answer(error, timeout_seconds) from error

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()


def _parse(answer: bytes) -> Status:
    items = tf.train.BytesList.FromString(answer).value
    devices = [tf_sessions.DeviceAttributes.FromString(item) for item in items]
    cpus = sorted(d.name for d in devices if d.device_type == "CPU")
    if not cpus:
        raise NoAnswerError("it is no TensorFlow server")
    first = next(d for d in devices if d.name == cpus[0])
    return Status(int(first.incarnation), tuple(str(d.name) for d in devices))


def _no_answer(
    error: grpc.RpcError, timeout_seconds: float, lives: Callable[[], bool] = lambda: False
) -> NoAnswerError:
    code = error.code()
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return NoAnswerError(
            f"no answer within {timeout_seconds:.3g} s", is_silence=True, is_busy=lives()
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return NoAnswerError("it is no TensorFlow server")
    return NoAnswerError(f"no connection ({code.name})")
