"""The tasks of a session's cluster: their names, and which of them answer."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

# A filter that lets through no task but the master.
_NOBODY = "/job:autodist_nobody"


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


def processor_of(task: str) -> str:
    """Returns the device of a task that our ops run on."""
    return f"{task}/device:CPU:0"


def filters_of(tasks: Iterable[str]) -> list[str]:
    """Returns the device filters that let a session see these tasks and no others."""
    specs = [tf.DeviceSpec.from_string(task) for task in tasks]
    return sorted({f"/job:{spec.job}/task:{spec.task}" for spec in specs})


def start(work: Callable[[], Any]) -> concurrent.futures.Future[Any]:
    """Begins to call a function in a thread that does not keep the process from ending.

    A call to a server that hangs may never return, whatever timeouts it was given (TF 2.21).
    """
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def call() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 it is for whoever waits
            future.set_exception(error)

    threading.Thread(target=call, name="autodist-save", daemon=True).start()
    return future


def master_of(target: str, timeout_seconds: float) -> str:
    """Returns the task of a session's master.

    Args:
        target: The session's target.
        timeout_seconds: How long to wait for an answer.

    Raises:
        tf.errors.DeadlineExceededError: It does not answer.
    """

    def ask() -> str:
        metadata = tf.compat.v1.RunMetadata()
        with tf.Graph().as_default() as graph:
            now = tf.raw_ops.Timestamp()
            options = tf.compat.v1.RunOptions(output_partition_graphs=True)
            _run(target, [_NOBODY], graph, now, options, metadata)
        devices = {node.device for part in metadata.partition_graphs for node in part.node}
        return task_of(next(iter(devices)), "")

    return str(_within(start(ask), timeout_seconds, f"the master {target}"))


def silent(target: str, master: str, tasks: Iterable[str], timeout_seconds: float) -> list[str]:
    """Returns the tasks that do not answer, sorted; all of them if the master does not.

    Args:
        target: The session's target.
        master: The task of its master.
        tasks: The tasks to ask, at once.
        timeout_seconds: How long to wait for an answer.
    """
    asked = {
        task: start(lambda task=task: _run_on(target, master, task, tf.no_op))  # type: ignore[misc]
        for task in tasks
    }
    concurrent.futures.wait(asked.values(), timeout_seconds)
    return sorted(
        task
        for task, answer in asked.items()
        if not answer.done() or answer.exception() is not None
    )


def tell(
    target: str, master: str, ops: Mapping[str, Callable[[], Any]]
) -> list[concurrent.futures.Future[Any]]:
    """Begins to run ops on tasks, in sessions of their own.

    Args:
        target: The session's target.
        master: The task of its master.
        ops: By task, all at once, a function that makes the ops.
    """
    return [
        start(lambda task=task, op=op: _run_on(target, master, task, op))  # type: ignore[misc]
        for task, op in ops.items()
    ]


def has_op(target: str, master: str, task: str, op: Any, timeout_seconds: float) -> bool:
    """Tells whether a task can run an op.

    Args:
        target: The session's target.
        master: The task of its master, which must know the op too.
        task: The task.
        op: A function that makes the op.
        timeout_seconds: How long to wait for an answer.

    Raises:
        tf.errors.OpError: The task does not answer.
    """
    try:
        asked = start(lambda: _run_on(target, master, task, op))
        _within(asked, timeout_seconds, task)
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        if "Op type not registered" in error.message or "No OpKernel" in error.message:
            return False
        raise
    return True


def _within(asked: concurrent.futures.Future[Any], timeout_seconds: float, who: str) -> Any:
    """Returns what a call returns that is made of a task, if that is soon enough."""
    try:
        return asked.result(timeout_seconds)
    except concurrent.futures.TimeoutError:
        raise tf.errors.DeadlineExceededError(
            None, None, f"{who} did not answer within {timeout_seconds:g} s"
        ) from None


def _run_on(target: str, master: str, task: str, op: Any) -> None:
    """Runs an op on a task in a session that needs nobody else but the master."""
    with tf.Graph().as_default() as graph:
        with tf.device(processor_of(task)):
            fetched = op()
        _run(target, filters_of([master, task]), graph, fetched)


def _run(  # noqa: PLR0917 as Session.run
    target: str,
    device_filters: list[str],
    graph: Any,
    fetched: Any,
    options: Any = None,
    metadata: Any = None,
) -> None:
    config = tf.compat.v1.ConfigProto(device_filters=device_filters)
    with tf.compat.v1.Session(target, graph=graph, config=config) as session:
        session.run(fetched, options=options, run_metadata=metadata)
