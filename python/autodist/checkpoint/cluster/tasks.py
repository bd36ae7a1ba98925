"""The tasks of a session's cluster: their names, and which of them answer."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable
from typing import Any

import tensorflow as tf


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


def master_of(target: str, timeout_seconds: float) -> str:
    """Returns the task of a session's master.

    Args:
        target: The session's target.
        timeout_seconds: How long to wait for an answer.

    Raises:
        tf.errors.DeadlineExceededError: It does not answer.
    """
    metadata = tf.compat.v1.RunMetadata()
    options = tf.compat.v1.RunOptions(
        output_partition_graphs=True, timeout_in_ms=_milliseconds(timeout_seconds)
    )
    config = tf.compat.v1.ConfigProto(operation_timeout_in_ms=_milliseconds(timeout_seconds))
    with tf.Graph().as_default() as graph:
        now = tf.raw_ops.Timestamp()
        with tf.compat.v1.Session(target, graph=graph, config=config) as session:
            session.run(now, options=options, run_metadata=metadata)
    devices = {node.device for part in metadata.partition_graphs for node in part.node}
    return task_of(next(iter(devices)), "")


def silent(target: str, master: str, tasks: Iterable[str], timeout_seconds: float) -> list[str]:
    """Returns the tasks that do not answer, sorted; all of them if the master does not.

    Args:
        target: The session's target.
        master: The task of its master.
        tasks: The tasks to ask, at once.
        timeout_seconds: How long to wait for an answer.
    """
    asked = sorted(set(tasks))
    with concurrent.futures.ThreadPoolExecutor(max(1, len(asked))) as pool:
        answers = pool.map(lambda task: _answers(target, master, task, timeout_seconds), asked)
        return [task for task, answer in zip(asked, answers, strict=True) if not answer]


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
        _run_on(target, master, task, op, timeout_seconds)
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        if "Op type not registered" in error.message or "No OpKernel" in error.message:
            return False
        raise
    return True


def _answers(target: str, master: str, task: str, timeout_seconds: float) -> bool:
    try:
        _run_on(target, master, task, tf.no_op, timeout_seconds)
    except tf.errors.OpError:
        return False
    return True


def _run_on(target: str, master: str, task: str, op: Any, timeout_seconds: float) -> None:
    """Runs an op on a task in a session that needs nobody else but the master."""
    config = tf.compat.v1.ConfigProto(
        device_filters=filters_of([master, task]),
        operation_timeout_in_ms=_milliseconds(timeout_seconds),
    )
    options = tf.compat.v1.RunOptions(timeout_in_ms=_milliseconds(timeout_seconds))
    with tf.Graph().as_default() as graph:
        with tf.device(processor_of(task)):
            fetched = op()
        session = tf.compat.v1.Session(target, graph=graph, config=config)
        try:
            session.run(fetched, options=options)
        finally:
            session.close()


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
