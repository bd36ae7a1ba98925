"""Calls to tasks, which give up when a task does not answer."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import task_names
from autodist.checkpoint.errors import run_errors
from autodist.process import background


def start_call(work: Callable[[], Any], *, or_call: bool = False) -> concurrent.futures.Future[Any]:
    """Calls a function in a daemon thread, and returns its future at once.

    A call to a server that hangs may never return, whatever timeouts it was given (TF 2.21).

    Args:
        work: The function.
        or_call: Whether to call the function in this thread if no other can be started.

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
    target: task_names.SessionTarget, master: str, ops: Mapping[str, Callable[[], Any]]
) -> list[concurrent.futures.Future[Any]]:
    """Begins to run an op on each of some tasks, each in a session of its own.

    Args:
        target: The session's target.
        master: The task of its master.
        ops: By task, a function that makes the op. All run at the same time.
    """
    return [
        start_call(lambda task=task, op=op: run_on(target, master, task, op), or_call=True)  # type: ignore[misc]
        for task, op in ops.items()
    ]


def has_op(  # noqa: PLR0917 its callers name all of them
    target: task_names.SessionTarget,
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
        lives: See `await_call`.

    Raises:
        tf.errors.OpError: The task does not answer.
    """
    try:
        asked = start_call(lambda: run_on(target, master, task, op))
        await_call(asked, timeout_seconds, task, lives)
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
        cause: TensorFlow's error, or `None`.
    """
    message = f"{', '.join(unreachable)} did not answer within {timeout_seconds:g} s"
    lines = run_errors.text_of(cause).splitlines() if cause is not None else []
    # A line that ends with a colon only names the task of the next lines.
    said = [line for line in lines if not line.endswith(":")]
    return tf.errors.UnavailableError(None, None, ": ".join([message, *said[:1]]))


def restarted_error(restarted: Iterable[str], cause: Any) -> Any:
    """Returns the error that names tasks which other processes serve by now.

    Args:
        restarted: The tasks.
        cause: TensorFlow's error, or `None`.
    """
    message = f"{', '.join(restarted)} restarted meanwhile, so its variables are lost"
    lines = run_errors.text_of(cause).splitlines() if cause is not None else []
    said = [line for line in lines if not line.endswith(":")]
    return tf.errors.UnavailableError(None, None, ": ".join([message, *said[:1]]))


def await_call(
    asked: concurrent.futures.Future[Any],
    timeout_seconds: float,
    who: str,
    lives: Callable[[float], bool],
) -> Any:
    """Returns the result of a call, or raises if nobody answers.

    Args:
        asked: The call.
        timeout_seconds: How long to wait for an answer, or for a sign that the task lives.
        who: The name of the task, for the error.
        lives: Tells whether the task lives, even if it is too busy to answer the call. Its argument
            is how many seconds to wait.

    Raises:
        tf.errors.DeadlineExceededError: The task does not answer, and gives no sign that it lives.
    """
    half = timeout_seconds / 2
    while True:
        if concurrent.futures.wait([asked], half).done:
            return asked.result()
        if not lives(half) and not asked.done():
            raise tf.errors.DeadlineExceededError(
                None, None, f"{who} did not answer within {timeout_seconds:g} s"
            )


def run_on(target: task_names.SessionTarget, master: str, task: str, op: Any) -> Any:
    """Runs an op on a task and returns the result. Its session uses only the master and this task.

    Args:
        target: The session's target.
        master: The task of its master.
        task: The task.
        op: A function that makes the op, or the fetches.
    """
    with tf.Graph().as_default() as graph:
        with tf.device(task_names.processor_of(task)):
            fetched = op()
        with _session(target, [master, task], graph) as session:
            return session.run(fetched)


def incarnations(target: task_names.SessionTarget, tasks: list[str]) -> dict[str, int]:
    """Returns the incarnations of tasks: random numbers that a server draws when it starts.

    Args:
        target: The session's target.
        tasks: The tasks, the master's among them.
    """
    with tf.Graph().as_default() as graph, _session(target, tasks, graph) as session:
        # Python's wrapper returns the unsigned number as a signed one (TF 2.21).
        listed = {device.name: device.incarnation % (1 << 64) for device in session.list_devices()}
    return {task: listed[task_names.processor_of(task)] for task in tasks}


def _session(target: task_names.SessionTarget, tasks: Iterable[str], graph: Any) -> Any:
    config = target.config_for(task_names.filters_of(tasks))
    return tf.compat.v1.Session(target.address, graph=graph, config=config)
