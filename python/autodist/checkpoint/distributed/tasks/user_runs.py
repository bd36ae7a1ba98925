"""Runs ops in the user's session, and raises if a task does not answer."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import (
    control_session,
    liveness,
    masters,
    sessions,
    task_calls,
    task_names,
)

# How long a run may take before it is asked whether all tasks answer; a share of the timeout.
_PATIENCE = 0.25


def run(
    session: Any,
    fetches: Sequence[Any],
    devices: Iterable[str],
    timeout_seconds: float,
    *,
    options: Any = None,
    metadata: Any = None,
) -> Any:
    """Runs ops or tensors of the graph that a session runs.

    Args:
        session: The user's session.
        fetches: The ops or tensors.
        devices: Where they may lie, in full or in part: only these tasks are named as lost.
        timeout_seconds: For how long a task may not answer.
        options: As for `tf.compat.v1.Session.run`.
        metadata: Likewise.

    Raises:
        tf.errors.UnavailableError: Tasks do not answer; names them.
        tf.errors.OpError: As `tf.compat.v1.Session.run`.
    """
    running = task_calls.start_call(
        lambda: sessions.run_stored(session, fetches, options, metadata), or_call=True
    )
    patience = max(1.0, timeout_seconds * _PATIENCE)
    while not concurrent.futures.wait([running], patience).done:
        _check_tasks(session, devices, timeout_seconds, None)
    try:
        return running.result()
    except control_session.LOST as error:
        _check_tasks(session, devices, timeout_seconds, error)
        raise


def _check_tasks(session: Any, devices: Iterable[str], timeout_seconds: float, error: Any) -> None:
    """Raises if a task that may have one of the devices does not answer."""
    target = sessions.target_of(session)
    if target is None or target.why_unreachable:
        return
    master = masters.ask(target, timeout_seconds).task
    listed = task_calls.await_call(
        task_calls.start_call(session.list_devices),
        timeout_seconds,
        f"the master {target}",
        lambda seconds: liveness.lives(target, None, seconds),
    )
    wanted = {_task_in(device) for device in devices}
    possible = {
        task_names.task_of(device.name, master)
        for device in listed
        if not wanted.isdisjoint(_ways_to_say(*_task_in(device.name)))
    }
    unreachable = liveness.unreachable(target, master, possible, timeout_seconds)
    if unreachable:
        raise task_calls.lost_error(unreachable, timeout_seconds, error) from error


def _task_in(device: str) -> tuple[str | None, int | None]:
    spec = tf.DeviceSpec.from_string(device or "")
    return spec.job, spec.task


def _ways_to_say(job: str | None, task: int | None) -> set[tuple[str | None, int | None]]:
    """Returns the jobs and tasks that a device string which allows a task may hold.

    The string may leave out either.
    """
    return {(job, task), (job, None), (None, task), (None, None)}
