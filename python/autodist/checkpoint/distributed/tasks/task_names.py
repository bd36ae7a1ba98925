"""Names of tasks, and calls to them that end when a task does not answer."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from autodist.checkpoint.errors import run_errors
from autodist.process import background


class UnreachableStateError(Exception):
    """No session of our own sees the variables of the user's session; the text says why."""


@dataclasses.dataclass(frozen=True)
class SessionTarget:
    """Address and config with which a session of our own is opened.

    Attributes:
        address: The target of the user's session.
        config: The `ConfigProto` of the user's session; `None` if it is of an unknown class.
    """

    address: str
    config: Any

    def __str__(self) -> str:
        return self.address

    @property
    def why_unreachable(self) -> str:
        """Why no session of ours may be opened; empty if one may."""
        if self.config is None:
            return "the config of the session is not known"
        if self.config.cluster_def.job:
            return "the session's config has a cluster_def, which gives it variables of its own"
        return ""

    def config_for(self, filters: Iterable[str]) -> Any:
        """Returns the user's config for a session that sees some tasks only.

        Args:
            filters: Device filters, in place of the user's.
        """
        config = tf.compat.v1.ConfigProto()
        config.CopyFrom(self.config)
        config.device_filters[:] = filters
        # Our ops name whole devices. One that is not there must be an error, not another device.
        config.allow_soft_placement = False
        config.log_device_placement = False
        return config


def task_of(device: str, default: str) -> str:
    """Returns the task of a device, as in `/job:ps/replica:0/task:1`.

    Args:
        device: A device, in full or in part.
        default: The task of the session's master, where a device without a job is.
    """
    spec = tf.DeviceSpec.from_string(device or "")
    if spec.job is None:
        return default
    return f"/job:{spec.job}/replica:{spec.replica or 0}/task:{spec.task or 0}"


def are_of_one(devices: Iterable[str]) -> bool:
    """Tells whether whole devices are all of one task."""
    return len({task_of(device, "") for device in devices}) == 1


def processor_of(task: str) -> str:
    """Returns the device of a task that our ops run on."""
    return f"{task}/device:CPU:0"


def filters_of(tasks: Iterable[str]) -> list[str]:
    """Returns the device filters that let a session see these tasks and no others."""
    specs = [tf.DeviceSpec.from_string(task) for task in tasks]
    return sorted({f"/job:{spec.job}/task:{spec.task}" for spec in specs})


def start(work: Callable[[], Any], *, or_call: bool = False) -> concurrent.futures.Future[Any]:
    """Begins to call a function in a thread that does not keep the process from ending.

    A call to a server that hangs may never return, whatever timeouts it was given (TF 2.21).

    Args:
        work: The function.
        or_call: Whether it is called in this thread where none can be started.

    Raises:
        tf.errors.ResourceExhaustedError: No thread can be started.
    """
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def call() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 it is for whoever waits
            future.set_exception(error)

    if not or_call:
        background.start(call, "autodist-save")
    elif not background.can_start(call, "autodist-save"):
        call()
    return future


def notify(
    target: SessionTarget, master: str, ops: Mapping[str, Callable[[], Any]]
) -> list[concurrent.futures.Future[Any]]:
    """Begins to run ops on tasks, in sessions of their own.

    Args:
        target: The session's target.
        master: The task of its master.
        ops: By task, all at once, a function that makes the ops.
    """
    return [
        start(lambda task=task, op=op: run_on(target, master, task, op), or_call=True)  # type: ignore[misc]
        for task, op in ops.items()
    ]


def has_op(  # noqa: PLR0917 its callers name all of them
    target: SessionTarget,
    master: str,
    task: str,
    op: Any,
    timeout_seconds: float,
    lives: Callable[[float], bool],
) -> bool:
    """Tells whether a task can run an op.

    Args:
        target: The session's target.
        master: The task of its master, which must know the op too.
        task: The task.
        op: A function that makes the op.
        timeout_seconds: How long to wait for an answer.
        lives: As for `within`.

    Raises:
        tf.errors.OpError: The task does not answer.
    """
    try:
        asked = start(lambda: run_on(target, master, task, op))
        within(asked, timeout_seconds, task, lives)
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        if "Op type not registered" in error.message or "No OpKernel" in error.message:
            return False
        raise
    return True


def lost_error(unreachable: Iterable[str], timeout_seconds: float, cause: Any) -> Any:
    """Returns the error that names tasks which do not answer.

    Args:
        unreachable: The tasks.
        timeout_seconds: For how long they did not answer.
        cause: What TensorFlow said of it; may be `None`.
    """
    message = f"{', '.join(unreachable)} did not answer within {timeout_seconds:g} s"
    lines = run_errors.text_of(cause).splitlines() if cause is not None else []
    # A line that ends so says only on which task the next ones were said.
    said = [line for line in lines if not line.endswith(":")]
    return tf.errors.UnavailableError(None, None, ": ".join([message, *said[:1]]))


def within(
    asked: concurrent.futures.Future[Any],
    timeout_seconds: float,
    who: str,
    lives: Callable[[float], bool],
) -> Any:
    """Returns the result of a call, or raises if nobody answers.

    Args:
        asked: The call.
        timeout_seconds: How long to wait for an answer, or for a sign of life.
        who: What is called, for the error.
        lives: Tells whether it lives, busy as it may be; takes for how long to ask.

    Raises:
        tf.errors.DeadlineExceededError: It does not answer.
    """
    half = timeout_seconds / 2
    while True:
        if concurrent.futures.wait([asked], half).done:
            return asked.result()
        if not lives(half) and not asked.done():
            raise tf.errors.DeadlineExceededError(
                None, None, f"{who} did not answer within {timeout_seconds:g} s"
            )


def run_on(target: SessionTarget, master: str, task: str, op: Any) -> Any:
    """Runs an op on a task in a session that needs only the master beside, and returns the result.

    Args:
        target: The session's target.
        master: The task of its master.
        task: The task.
        op: A function that makes the op, or the fetches.
    """
    with tf.Graph().as_default() as graph:
        with tf.device(processor_of(task)):
            fetched = op()
        with _session(target, [master, task], graph) as session:
            return session.run(fetched)


def incarnations(target: SessionTarget, tasks: list[str]) -> dict[str, int]:
    """Returns the incarnations of tasks: numbers that were drawn when their processes began.

    Args:
        target: The session's target.
        tasks: The tasks, the master's among them.
    """
    with tf.Graph().as_default() as graph, _session(target, tasks, graph) as session:
        # Python's wrapper has the unsigned number as a signed one (TF 2.21).
        listed = {device.name: device.incarnation % (1 << 64) for device in session.list_devices()}
    return {task: listed[processor_of(task)] for task in tasks}


def _session(target: SessionTarget, tasks: Iterable[str], graph: Any) -> Any:
    config = target.config_for(filters_of(tasks))
    return tf.compat.v1.Session(target.address, graph=graph, config=config)
