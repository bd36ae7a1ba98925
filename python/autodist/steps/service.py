"""Lets another process of a cluster close the step gate of this one.

A message is a JSON object: `do` names the function, and the other keys are its arguments. The
answer is a JSON object, too. No function here waits, because an op calls it in a thread that
TensorFlow needs.

    do          arguments                  answer
    ask                                    process: its identifier; servers: see `clusters.ServerOfProcess`
    close       seconds                    closure; the gate opens by itself after `seconds`
    traffic     closure, seconds, slack    as `Traffic`; renews the time to `seconds` from now
    describe    closure                    lines: one for each step on its way
    admit       closure, thread            empty; lets the run of the thread pass
    open        closure                    was_closed: whether the gate was closed until now
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import threading
from typing import Any

from autodist.private_apis import tf_processes
from autodist.steps import clusters, gate
from autodist.steps.step import REMOTE

# The name under which other processes call this one.
NAME = "autodist_step_gate"

# Identifies this process: several tasks may be in one.
PROCESS = secrets.token_hex(16)

_closures: dict[str, gate.Closure] = {}
_serving = threading.Lock()
_is_serving = False


def serve() -> None:
    """Lets other processes close the gate of this one."""
    global _is_serving  # noqa: PLW0603 once a process
    with _serving:
        if not _is_serving:
            tf_processes.register(NAME, _answer)
            _is_serving = True


def _answer(message: Any) -> bytes:
    text = message.item() if hasattr(message, "item") else message
    request = json.loads(text)
    return json.dumps(_ANSWERS[request["do"]](request)).encode()


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    del request
    return {
        "process": PROCESS,
        "servers": [dataclasses.asdict(server) for server in clusters.servers_of_process()],
    }


def _close(request: dict[str, Any]) -> dict[str, Any]:
    name = secrets.token_hex(16)
    own = gate.of_process()
    # Forgets closures of savers that were killed: their gates have opened by themselves.
    for old in [old for old, closure in _closures.items() if closure.is_open]:
        del _closures[old]
    _closures[name] = own.close(REMOTE, request["seconds"])
    return {"closure": name}


def _traffic(request: dict[str, Any]) -> dict[str, Any]:
    own, closure = gate.of_process(), _closures[request["closure"]]
    own.keep_closed(closure, request["seconds"])
    own.drop_ended(closure)
    return dataclasses.asdict(own.traffic(closure, request["slack"]))


def _describe(request: dict[str, Any]) -> dict[str, Any]:
    return {"lines": gate.of_process().describe(_closures[request["closure"]])}


def _admit(request: dict[str, Any]) -> dict[str, Any]:
    gate.of_process().admit(_closures[request["closure"]], request["thread"])
    return {}


def _open(request: dict[str, Any]) -> dict[str, Any]:
    closure = _closures.pop(request["closure"])
    return {"was_closed": gate.of_process().open(closure)}


_ANSWERS = {
    "ask": _ask,
    "close": _close,
    "traffic": _traffic,
    "describe": _describe,
    "admit": _admit,
    "open": _open,
}
