"""Which tasks have not loaded our ops."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from autodist import _native
from autodist.checkpoint.cluster import tasks

ADVICE = "Call `autodist.load_ops()` where these servers start, and"


def find(
    target: tasks.Target, master: str, involved: Iterable[str], timeout_seconds: float
) -> list[str]:
    """Returns the tasks that have not loaded our ops; only the master, which all others need, if it has not.

    Args:
        target: The target of the user's session.
        master: The task of its master.
        involved: The tasks that are needed.
        timeout_seconds: For how long a task may not answer.
    """
    if not tasks.has_op(target, master, master, _probe, timeout_seconds):
        return [master]
    asked = {
        task: tasks.start(
            lambda task=task: tasks.has_op(target, master, task, _probe, timeout_seconds)  # type: ignore[misc]
        )
        for task in involved
        if task != master
    }
    return [task for task, answer in asked.items() if not answer.result()]


def describe(lacking: Collection[str], master: str, chief: str) -> str:
    """Returns the names of tasks, with what they are.

    Args:
        lacking: The tasks.
        master: The session's master.
        chief: The task of the saver's node.
    """
    roles = {chief: ", the saver's own task,", master: ", the session's master,"}
    return ", ".join(task + roles.get(task, "") for task in lacking).removesuffix(",")


def _probe() -> Any:
    return _native.ops().autodist_drop_save("")
