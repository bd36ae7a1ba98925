"""Finds the addresses of servers, so that `cluster.membership` can tell which live.

A run cannot tell that. A server runs ops in its inter-op threads, and row updates that wait for a
variable which is being written take all of them: then not even a `no_op` runs, on a healthy server.
The thread that reads requests answers all the same, to a client that knows the server's address. A
session's client knows that of its master only. So each task is asked where it listens while it
still runs ops. An address is used only if the process there has the task's incarnation.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Mapping

import tensorflow as tf

from autodist import _native
from autodist.checkpoint.distributed.tasks import task_calls, task_names
from autodist.cluster.servers import membership

# How long one address is tried, and how long a save waits for all of them.
_TRY_SECONDS = 5.0
FIND_SECONDS = 5.0

# For how long only a server's address is asked before an op is tried too; a share of the timeout.
_ADDRESS_FIRST = 0.25

_GRPC = "grpc://"

# By the address of the master, and the task.
_MEMBERS: membership.Members[tuple[str, str]] = membership.Members()


def begin_to_find(
    target: task_names.SessionTarget, master: str, involved: Iterable[str]
) -> concurrent.futures.Future[bool]:
    """Begins to look for the addresses of servers, for `unreachable` and `lives`.

    The result is whether all were found.

    Args:
        target: The target of the user's session.
        master: The task of its master.
        involved: The tasks.
    """
    _MEMBERS.add((target.address, master), _address_of(target))
    others = [task for task in involved if task != master]

    def find() -> bool:
        incarnations = task_calls.incarnations(target, [master, *others])
        finding = [
            task_calls.start_call(lambda task=task: _find(target, master, task, incarnations[task]))  # type: ignore[misc]
            for task in others
        ]
        concurrent.futures.wait(finding)
        return all(found.exception() is None and found.result() for found in finding)

    return task_calls.start_call(find)


def unreachable(
    target: task_names.SessionTarget, master: str, involved: Iterable[str], timeout_seconds: float
) -> list[str]:
    """Returns the tasks whose servers do not answer, sorted.

    Args:
        target: The target of the user's session.
        master: The task of its master.
        involved: The tasks to ask, at once.
        timeout_seconds: How long to wait for an answer.
    """
    asked = {
        task: task_calls.start_call(
            lambda task=task: _answers(target, master, task, timeout_seconds)  # type: ignore[misc]
        )
        for task in involved
    }
    concurrent.futures.wait(asked.values(), timeout_seconds)
    return sorted(
        task
        for task, answer in asked.items()
        if not answer.done() or answer.exception() is not None or not answer.result()
    )


def begin_to_note(
    target: task_names.SessionTarget, involved: Iterable[str], timeout_seconds: float
) -> Callable[[], dict[str, int]]:
    """Begins to ask which processes serve tasks now, for `restarted`.

    Returns a function that waits for the answers: the incarnations of the tasks that tell them.

    Args:
        target: The target of the user's session.
        involved: The tasks. Those whose addresses are not known are left out.
        timeout_seconds: How long to wait for an answer.
    """
    wait = _MEMBERS.begin_incarnations([(target.address, t) for t in involved], timeout_seconds)
    return lambda: {task: incarnation for (_, task), incarnation in wait().items()}


def restarted(
    target: task_names.SessionTarget, noted: Mapping[str, int], timeout_seconds: float
) -> list[str]:
    """Returns the tasks that another process serves by now, sorted.

    Args:
        target: The target of the user's session.
        noted: The incarnations of tasks.
        timeout_seconds: How long to wait for an answer. A task that does not answer is left out.
    """
    now = begin_to_note(target, noted, timeout_seconds)()
    return sorted(task for task, incarnation in now.items() if incarnation != noted[task])


def lives(target: task_names.SessionTarget, task: str | None, timeout_seconds: float) -> bool:
    """Tells whether the server of a task answers; false if its address is not known.

    Args:
        target: The target of the user's session.
        task: The task; `None` for the session's master.
        timeout_seconds: How long to wait for an answer.
    """
    if task is None:
        return membership.lives_at(_address_of(target), timeout_seconds)
    return _MEMBERS.lives((target.address, task), timeout_seconds)


def _answers(
    target: task_names.SessionTarget, master: str, task: str, timeout_seconds: float
) -> bool:
    first = timeout_seconds * _ADDRESS_FIRST
    if lives(target, task, first):
        return True
    # An op answers for a server whose address is not known yet, or that restarted at another one.
    by_address = task_calls.start_call(lambda: lives(target, task, timeout_seconds - first))
    by_op = task_calls.start_call(lambda: task_calls.run_on(target, master, task, tf.no_op))
    for answer in concurrent.futures.as_completed([by_address, by_op]):
        if answer.exception() is None and (answer is by_op or answer.result()):
            return True
    return False


def _find(target: task_names.SessionTarget, master: str, task: str, incarnation: int) -> bool:
    hosts, ports = task_calls.run_on(
        target, master, task, lambda: tuple(_native.ops().autodist_server_addresses())
    )
    own_host = _address_of(target).rpartition(":")[0]
    names = dict.fromkeys([own_host, *(host.decode() for host in hosts)])
    addresses = [
        f"[{name}]:{port}" if ":" in name and not name.startswith("[") else f"{name}:{port}"
        for name in names
        for port in ports
    ]
    tries = [
        task_calls.start_call(
            lambda address=address: (  # type: ignore[misc]
                address if membership.is_at(address, incarnation, _TRY_SECONDS) else None
            )
        )
        for address in addresses
    ]
    for tried in concurrent.futures.as_completed(tries):
        address = tried.result()
        if address is not None:
            _MEMBERS.add((target.address, task), address)
            return True
    return False


def _address_of(target: task_names.SessionTarget) -> str:
    return target.address.removeprefix(_GRPC)
