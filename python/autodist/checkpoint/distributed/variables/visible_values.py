"""Checks that the user's session sees the variables that our session restored."""

from __future__ import annotations

from collections import Counter
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import sessions, user_runs
from autodist.checkpoint.distributed.variables import restore_targets

_QUESTIONS = ("VarIsInitializedOp", "IsVariableInitialized")

# Of each device and container so many variables are asked for: a session sees all there, or none.
_ASKED = 16


def check(session: Any, placed: restore_targets.PlacedRestore, timeout_seconds: float) -> None:
    """Raises unless the session sees values of some variables of each device.

    TensorFlow makes such an op with each resource variable.

    Args:
        session: The user's session.
        placed: What was restored, with its devices.
        timeout_seconds: For how long a task may not answer.

    Raises:
        tf.errors.FailedPreconditionError: Variables have no value; names them.
        tf.errors.UnavailableError: A task does not answer; names it.
    """
    if sessions.is_distributed(session):
        return
    asked = {}
    found: Counter[tuple[str, bytes]] = Counter()
    for restore_target in placed.targets:
        place = restore_target.variable.device, restore_target.variable.get_attr("container")
        question = _question(restore_target.variable.op) if found[place] < _ASKED else None
        if question is not None:
            found[place] += 1
            asked[restore_target] = question
    if not asked:
        return
    devices = {restore_target.variable.device for restore_target in asked}
    answers = user_runs.run(session, list(asked.values()), devices, timeout_seconds)
    missing = sorted(
        restore_target.variable.name
        for restore_target, answer in zip(asked, answers, strict=True)
        if not answer
    )
    if missing:
        raise tf.errors.FailedPreconditionError(
            None,
            None,
            f"restored, but the session sees no value of {', '.join(missing)}. It may have been "
            "closed, or another session initialized them meanwhile. Restore again; if this comes "
            "back, use tf.compat.v1.train.Saver",
        )


def _question(op: Any) -> Any:
    """Returns a tensor of the graph that tells whether a variable has a value.

    `None` if there is none.
    """
    for consumer in op.outputs[0].consumers():
        if consumer.type in _QUESTIONS and not consumer.control_inputs:
            return consumer.outputs[0]
    return None
