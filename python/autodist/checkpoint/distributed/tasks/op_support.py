"""Finds the tasks that have not loaded our ops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from autodist import _native
from autodist.checkpoint.distributed.tasks import liveness, task_calls, task_names

ADVICE = "Call `autodist.load_ops()` where these servers start, and"


def find(
    target: task_names.SessionTarget,
    master: str,
    involved: Iterable[str],
    timeout_seconds: float,
    *,
    for_instant: bool = False,
) -> list[str]:
    """Returns the tasks that have not loaded our ops.

    If the master has not, returns only that: all others need it.

    Args:
        target: The target of the user's session.
        master: The task of its master.
        involved: The tasks that are needed.
        timeout_seconds: For how long a task may not answer.
        for_instant: Whether those are needed that take variables at one instant.
    """
    probe: Callable[[], Any] = _instant_probe if for_instant else _probe

    def has_ops(task: str) -> bool:
        return task_calls.has_op(
            target,
            master,
            task,
            probe,
            timeout_seconds,
            lambda seconds: liveness.lives(target, None if task == master else task, seconds),
        )

    if not has_ops(master):
        return [master]
    asked = {
        task: task_calls.start_call(
            lambda task=task: has_ops(task)  # type: ignore[misc]
        )
        for task in involved
        if task != master
    }
    return [task for task, answer in asked.items() if not answer.result()]


def describe(without_ops: Collection[str], master: str, chief: str) -> str:
    """Returns the names of tasks with their roles, for messages.

    Args:
        without_ops: The tasks.
        master: The session's master.
        chief: The task of the saver's node.
    """
    roles = {chief: ", the saver's own task,", master: ", the session's master,"}
    return ", ".join(task + roles.get(task, "") for task in without_ops).removesuffix(",")


def _instant_probe() -> Any:
    return _native.ops().autodist_listen_for_instant().port


def _probe() -> Any:
    ops = _native.ops()
    names = [name for name in dir(ops) if name.startswith("Autodist")]
    return ops.autodist_require_ops(names)
