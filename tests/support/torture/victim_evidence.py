"""What `victim.py` saves to see what becomes of evidence: a variable that may hold a NaN."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.checkpoint.evidence import evidence_file
from autodist.checkpoint.saver import SaveOptions, Saver
from autodist.errors import RefusedCheckpointError

tf1 = tf.compat.v1

VALUES = {"former": [1, 1], "good": [2, 2], "bad": [3, np.nan]}


class Job:
    """A training that saves with and without a rule against NaNs."""

    def __init__(self, directory: str, *, durable: bool) -> None:
        self._prefix = f"{directory}/m"
        self._variable = tf1.get_variable("w", [2], use_resource=True)
        self._session = tf1.Session()
        self._savers = {
            "refuse": Saver(options=SaveOptions(refuse={"nonfinite"}, durable=durable)),
            "plain": Saver(options=SaveOptions(durable=durable)),
        }

    def save(self, how: str, value: str, step: int, *, write_state: bool = True) -> None:
        """Saves a value under `m-step`; that it is refused is no error."""
        self._variable.load(np.array(VALUES[value], np.float32), self._session)
        with contextlib.suppress(RefusedCheckpointError):
            self._savers[how].save(self._session, self._prefix, step, write_state=write_state)

    def make_second(self, before: str) -> None:
        """Makes `m-2` as it is before the save under test: `nothing`, `good`, `refused` or `pending`."""
        if before in ("good", "refused"):
            self.save("refuse", "good" if before == "good" else "bad", 2)
        elif before == "pending":
            # As a kill leaves it: nobody has looked at the values.
            self.save("plain", "bad", 2, write_state=False)
            evidence_file.mark_pending(f"{self._prefix}-2", 2, durable=False)


def run(shim_run: Callable[..., dict[str, Any]], task: dict[str, Any]) -> dict[str, Any]:
    """Saves a good `m-1`, brings `m-2` about, and saves over `m-2` under the shim.

    Args:
        shim_run: Runs the save that it gets under the shim, as the task says.
        task: `directory`, `durable`, `before`, `how` and `value`.
    """
    job = Job(task["directory"], durable=task["durable"])
    job.save("refuse", "former", 1)
    job.make_second(task["before"])
    return shim_run(task, lambda: job.save(task["how"], task["value"], 2))
