"""What a program calls for saves of whole steps: `step_gate`, `training_step`, `StepGateHook`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import tensorflow as tf

from autodist.steps import gate, service

SessionT = TypeVar("SessionT")


def step_gate(session: SessionT) -> SessionT:
    """Lets saves of one step in other processes hold the runs of this process.

    From now on this process counts the runs of its sessions. While another process saves with
    `consistency='step'`, new runs wait until that save has taken its values.

    The process that saves does not need this. Call it in each other process that trains the same
    variables, before the first run, or use `StepGateHook`.

    Args:
        session: A session.

    Returns:
        `session`.
    """
    service.serve()
    gate.of_process()
    return session


@contextlib.contextmanager
def training_step(session: Any) -> Iterator[None]:
    """Makes the runs of the block one step: a save with `consistency='step'` waits for all of them.

    Only runs of this thread are part of the step. A save by this thread, inside the block, does not
    wait for the step; it takes the values as they are then.

    Args:
        session: The session of the runs.
    """
    own = gate.of_process()
    step = own.begin_step(session)
    try:
        yield
    finally:
        own.end_step(step)


class StepGateHook(tf.compat.v1.train.SessionRunHook):
    """A hook of a monitored session that makes each of its runs, with its hooks, one step.

    If one worker of a job saves with `consistency='step'`, each other worker needs this hook or
    `step_gate`.
    """

    def begin(self) -> None:
        """Makes this process count the runs of its sessions from now on."""
        service.serve()
        gate.of_process()

    def before_run(self, run_context: Any) -> None:
        """Begins a step, which ends with the run; waits while a save takes its values."""
        gate.of_process().begin_step(run_context.session, run_context)
