"""Closes the gates of a job and waits until the steps on their way have ended.

A step may wait for a run that a gate holds: a queue stays full or empty until another thread runs,
or synchronous workers wait for the slowest one. So, once all steps on their way take longer than
usual, this module admits the runs that wait at the gates, one after the other. It remembers which
of them let a step end, and admits that one first the next time.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol

import tensorflow as tf

from autodist.process import background
from autodist.steps.gate import Closure, Gate, Traffic

_POLL_SECONDS = 0.01
_MOST_THREADS = 16

# The next run is admitted once nothing has changed for so long.
_SETTLE_SECONDS = 0.01


# How long the calling code may wait for steps at most.
_MOST_SECONDS: contextvars.ContextVar[float] = contextvars.ContextVar(
    "most_seconds", default=math.inf
)


class StepsNotEndedError(tf.errors.DeadlineExceededError):
    """Steps on their way did not end in time."""


@contextlib.contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Makes saves in the block give up after some seconds if steps on their way do not end.

    Args:
        seconds: How long.
    """
    token = _MOST_SECONDS.set(seconds)
    try:
        yield
    finally:
        _MOST_SECONDS.reset(token)


class ClosedGate(Protocol):
    """A closed gate, of this process or of another one."""

    def traffic(self, slack: float, after: int | None, seconds: float) -> Traffic:
        """See `Gate.traffic`."""

    def admit(self, thread: int) -> None:
        """See `Gate.admit`."""

    def describe(self) -> list[str]:
        """See `Gate.describe`."""

    def open(self) -> bool:
        """Opens it; tells whether it was closed until now."""


class OwnGate:
    """The gate of this process, closed for the sessions with one key."""

    def __init__(self, gate: Gate, key: Hashable) -> None:
        """Closes the gate.

        Args:
            gate: The gate.
            key: The key of the sessions, from `step.key_of`.
        """
        self._gate = gate
        self._closure: Closure = gate.close(key)

    def traffic(self, slack: float, after: int | None, seconds: float) -> Traffic:
        """See `Gate.traffic`."""
        self._gate.drop_ended(self._closure)
        return self._gate.traffic(self._closure, slack, after, seconds)

    def admit(self, thread: int) -> None:
        """See `Gate.admit`."""
        self._gate.admit(self._closure, thread)

    def describe(self) -> list[str]:
        """See `Gate.describe`."""
        return self._gate.describe(self._closure)

    def open(self) -> bool:
        """See `Gate.open`."""
        return self._gate.open(self._closure)


class Rest:
    """The time in which no step of a job is on its way."""

    def __init__(self, gates: Sequence[ClosedGate]) -> None:
        """Begins it: the caller has closed the gates.

        Args:
            gates: All gates of the job, closed.
        """
        self._gates = gates
        self._opening = threading.Lock()
        self._was_kept: bool | None = None

    def end(self) -> bool:
        """Opens the gates; tells whether all were closed until now. May be called again."""
        with self._opening:
            if self._was_kept is None:
                self._was_kept = False
                opened = background.map_in_threads(
                    lambda gate: gate.open(), self._gates, _MOST_THREADS
                )
                self._was_kept = all(opened)
            return self._was_kept


@contextlib.contextmanager
def closed(gates: Sequence[ClosedGate], timeout_seconds: float) -> Iterator[Rest]:
    """Waits until the steps on their way have ended; opens the gates after the block.

    Args:
        gates: All gates of the job, closed.
        timeout_seconds: How long to wait.

    Raises:
        StepsNotEndedError: Some did not end; names them.
    """
    rest = Rest(gates)
    try:
        _Waiting(gates, timeout_seconds).wait()
        yield rest
    finally:
        rest.end()


class _Waiting:
    """Waits until no step is on its way."""

    def __init__(self, gates: Sequence[ClosedGate], timeout_seconds: float) -> None:
        self._gates = gates
        self._timeout_seconds = min(timeout_seconds, _MOST_SECONDS.get())
        self._slack = 1.0
        self._seen = [gate.traffic(self._slack, None, 0) for gate in gates]
        # By number of the gate and thread: by how much the admission of its run changed the number
        # of steps on their way.
        self._changes: dict[tuple[int, int], int] = {}
        self._admitted: tuple[tuple[int, int], int] | None = None
        self._fewest = self._under_way
        self._tried: set[tuple[int, int]] = set()

    @property
    def _under_way(self) -> int:
        return sum(traffic.under_way for traffic in self._seen)

    def wait(self) -> None:
        """Waits."""
        changed = time.monotonic()
        deadline = changed + self._timeout_seconds
        while self._under_way:
            now = time.monotonic()
            if now >= deadline:
                raise self._not_ended()
            is_settled = now - changed >= _SETTLE_SECONDS * self._slack
            if is_settled and all(traffic.is_overdue for traffic in self._seen):
                self._admit_one()
                changed = now
            if self._look(max(0.001, min(_POLL_SECONDS, deadline - now) / len(self._gates))):
                changed = time.monotonic()

    def _look(self, seconds: float) -> bool:
        """Reads the traffic at all gates; waits for a change, at most `seconds` at each gate."""
        found = [
            gate.traffic(self._slack, traffic.version, seconds)
            for gate, traffic in zip(self._gates, self._seen, strict=True)
        ]
        has_changed = any(
            new.version != old.version for new, old in zip(found, self._seen, strict=True)
        )
        self._seen = found
        return has_changed

    def _admit_one(self) -> None:
        """Admits the waiting run that is the most likely to let a step on its way end."""
        if self._admitted is not None:
            who, before = self._admitted
            self._changes[who] = self._under_way - before
        if self._under_way < self._fewest:
            self._fewest = self._under_way
            self._tried.clear()
        waiting = [
            ((number, thread), seconds)
            for number, traffic in enumerate(self._seen)
            for thread, seconds in traffic.waiting
        ]
        if not waiting:
            return
        if all(who in self._tried for who, _ in waiting):
            # Perhaps no step waits for a run at the gate, and the steps only take long.
            self._slack *= 2
            self._tried.clear()
        who, _ = min(waiting, key=lambda each: (self._changes.get(each[0], 0), -each[1]))
        self._tried.add(who)
        self._admitted = who, self._under_way
        self._gates[who[0]].admit(who[1])

    def _not_ended(self) -> Exception:
        lines = "".join(f"\n  {line}" for gate in self._gates for line in gate.describe())
        error: Exception = StepsNotEndedError(
            None,
            None,
            f"consistency='step': these did not end within {self._timeout_seconds:g} s, while new "
            f"runs were held:{lines}\nNothing was saved, and training goes on. If these runs are "
            "blocked, let them end before a save. If they only take long, raise timeout_seconds. "
            "If they wait for a step of the thread that saves, save in a thread of its own. You "
            "can also save with consistency='instant'",
        )
        return error
