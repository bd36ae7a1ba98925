"""Whether the user's session sees the variables that were restored beside it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.checkpoint.cluster import sessions, takers, user_runs

_QUESTIONS = ("VarIsInitializedOp", "IsVariableInitialized")


def check(session: Any, restored: takers.Restored, timeout_seconds: float) -> None:
    """Raises unless variables have a value in the session, as far as its graph has ops that tell.

    TensorFlow makes such an op with each resource variable. It costs one run; no value is sent.

    Args:
        session: The user's session.
        restored: What was restored, with its devices.
        timeout_seconds: For how long a task may not answer.

    Raises:
        tf.errors.FailedPreconditionError: Variables have no value; names them.
        tf.errors.UnavailableError: A task does not answer; names it.
    """
    if sessions.is_distributed(session):
        return
    asked = {
        taker: question
        for taker in restored.takers
        if (question := _question(taker.variable.op)) is not None
    }
    if not asked:
        return
    devices = {taker.variable.device for taker in asked}
    answers = user_runs.run(session, list(asked.values()), devices, timeout_seconds)
    missing = sorted(
        taker.variable.name for taker, answer in zip(asked, answers, strict=True) if not answer
    )
    if missing:
        raise tf.errors.FailedPreconditionError(
            None,
            None,
            f"restored, but the session sees no value of {', '.join(missing)}. Was it closed, or initialized by "
            "another, at that moment? Restore again; if this comes back, restore by tf.compat.v1.train.Saver",
        )


def _question(op: Any) -> Any:
    """Returns a tensor of the graph that tells whether a variable has a value; `None` if there is none."""
    for consumer in op.outputs[0].consumers():
        if consumer.type in _QUESTIONS and not consumer.control_inputs:
            return consumer.outputs[0]
    return None
