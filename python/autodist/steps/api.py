"""What a program says about its steps: `step_gate`, `training_step` and `StepGateHook`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import tensorflow as tf

from autodist.steps import gate, service

SessionT = TypeVar("SessionT")


def step_gate(session: SessionT) -> SessionT:
    """Has this process count the runs of its sessions, and hold new ones during a save of a step.

    `Saver.save(consistency='step')` does so by itself in the process that saves. Call this in each
    other process that trains the same variables, before the first run, or use `StepGateHook`.

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
    """Makes the runs of the block one step: no save of a step comes between them.

    Only runs of this thread are part of it. A save inside of the block takes the values as they
    are then.

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

    Every worker of a job needs it, or `step_gate`, if one of them saves with `consistency='step'`.
    """

    def begin(self) -> None:
        """Has this process count the runs of its sessions from now on."""
        service.serve()
        gate.of_process()

    def before_run(self, run_context: Any) -> None:
        """Begins a step, which ends with the run; waits while a save takes its values."""
        gate.of_process().begin_step(run_context.session, run_context)
