"""The step gate of this process: holds new runs of sessions while it is closed.

A *step* is a run of a session, or several runs that the program declares to be one. A save of one
step closes the gate, lets the steps on their way end, takes all values, and opens the gate.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import weakref
from collections.abc import Hashable, Iterator
from typing import Any

from autodist.private_apis import tf_session_runs
from autodist.steps.step import CURRENT, Step, key_of, key_of_running

# A step is overdue once it has taken _OVERDUE_FACTOR times as long as the last step of its thread,
# plus _OVERDUE_SECONDS.
_OVERDUE_FACTOR = 2.0
_OVERDUE_SECONDS = 0.02
# A step is overdue after this time if no former one is known.
_FIRST_OVERDUE_SECONDS = 0.25

# For how many threads the time of the last step is kept.
_MOST_THREADS = 10_000


@dataclasses.dataclass(eq=False)
class Closure:
    """One closing of the gate, for the sessions with one key.

    Attributes:
        key: See `Step`.
        ends: When the gate opens by itself, as `time.monotonic()`; `None`: never.
        is_open: Whether it was opened, or has opened by itself.
    """

    key: Hashable
    ends: float | None
    is_open: bool = False


@dataclasses.dataclass(eq=False)
class _Waiter:
    """A run that waits at the gate.

    Attributes:
        key: See `Step`.
        thread: The identifier of the thread.
        began: Since when, as `time.monotonic()`.
        admitted_by: The closures that let the run pass.
    """

    key: Hashable
    thread: int = dataclasses.field(default_factory=threading.get_ident)
    began: float = dataclasses.field(default_factory=time.monotonic)
    admitted_by: set[Closure] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True)
class Traffic:
    """The steps and waiting runs at a closed gate.

    Attributes:
        under_way: How many steps are on their way, or admitted and about to begin.
        is_overdue: Whether all of these take longer than usual.
        waiting: For each run that waits at the gate, its thread and for how many seconds it waits.
        version: A number that is different after each change.
    """

    under_way: int
    is_overdue: bool
    waiting: tuple[tuple[int, float], ...]
    version: int


class Gate:
    """The gate of a process; `of_process` returns it. Also a `tf_session_runs.Observer`."""

    def __init__(self) -> None:
        """Makes an open gate with no step on its way."""
        self._changed = threading.Condition()
        self._steps: set[Step] = set()
        # By handle: the step, and how many tensors are still to be fed or fetched.
        self._partial_runs: dict[str, tuple[Step, int]] = {}
        self._waiters: list[_Waiter] = []
        self._closures: list[Closure] = []
        # The seconds of the last step: by thread, and by key for threads without a step so far.
        self._last_seconds: dict[Hashable, float] = {}
        self._version = 0

    def begin_run(self, session: Any, partial_run: str | None = None) -> Step | None:
        """Waits while the gate is closed, then counts a run. See `tf_session_runs.Observer`."""
        if CURRENT.get().is_exempt:
            return None
        return self._begin(Step(key_of_running(session), session), partial_run)

    def end_run(self, run: Step | None) -> None:
        """Stops counting a run. See `tf_session_runs.Observer`."""
        if run is None:
            return
        with self._changed:
            run.is_resting = False
            self._steps.discard(run)
            self._note_seconds(run)
            self._notify()

    def begin_partial_run(self, session: Any) -> Step | None:
        """See `tf_session_runs.Observer`."""
        return self.begin_run(session)

    def note_partial_run(self, run: Step | None, handle: str, parts: int) -> None:
        """See `tf_session_runs.Observer`."""
        if run is None:
            return
        with self._changed:
            run.kind, run.session = "partial run", weakref.ref(run.session)
            self._partial_runs[handle] = run, parts
            self.end_part(handle, 0)

    def end_part(self, handle: str, parts: int) -> None:
        """See `tf_session_runs.Observer`."""
        with self._changed:
            if handle not in self._partial_runs:
                return
            run, left = self._partial_runs[handle]
            self._partial_runs[handle] = run, left - parts
            if left <= parts:
                del self._partial_runs[handle]
                self.end_run(run)

    def begin_step(self, session: Any, run_context: Any = None) -> Step | None:
        """Waits while the gate is closed, then begins a step of several runs of this thread.

        Args:
            session: The session.
            run_context: The `SessionRunContext` of a monitored session: the step ends with the run
                that has it.

        Returns:
            The step; `None` where runs do not count.
        """
        context = CURRENT.get()
        if context.is_exempt:
            return None
        kept = None if run_context is None else weakref.ref(run_context)
        step = self._begin(Step(key_of(session), session, "step", run_context=kept), None)
        others = tuple(s for s in context.steps if s in self._steps or s.is_resting)
        CURRENT.set(dataclasses.replace(context, steps=(*others, step)))
        if run_context is not None:
            # A monitored session does not tell its hooks that a run has failed. The step must also
            # include the hooks that run after this one. So it ends with the context of the run.
            weakref.finalize(run_context, self.end_step, step).atexit = False
        return step

    def end_step(self, step: Step | None) -> None:
        """Ends a step of this thread.

        Args:
            step: From `begin_step`.
        """
        self.end_run(step)
        context = CURRENT.get()
        others = tuple(other for other in context.steps if other is not step)
        CURRENT.set(dataclasses.replace(context, steps=others))

    def note_earlier_runs(self) -> None:
        """Counts the runs that had begun before runs were observed."""
        with self._changed:
            for thread, session in tf_session_runs.unobserved_runs():
                name = next((t.name for t in threading.enumerate() if t.ident == thread), "")
                key = key_of_running(session)
                self._steps.add(Step(key, session, "earlier run", thread, name))

    def close(self, key: Hashable, seconds: float | None = None) -> Closure:
        """Closes the gate for the sessions with a key. Steps of this thread do not count meanwhile.

        Args:
            key: From `key_of`.
            seconds: After what time the gate opens by itself, unless `keep_closed` renews it;
                `None`: never.
        """
        closure = Closure(key, None if seconds is None else time.monotonic() + seconds)
        with self._changed:
            for step in CURRENT.get().steps:
                if step in self._steps:
                    step.is_resting = True
                    self._steps.discard(step)
            self._closures.append(closure)
            self._notify()
        return closure

    def keep_closed(self, closure: Closure, seconds: float) -> None:
        """Renews the time after which the gate opens by itself.

        Args:
            closure: From `close`.
            seconds: The time, from now.
        """
        with self._changed:
            self._open_expired()
            closure.ends = time.monotonic() + seconds

    def open(self, closure: Closure) -> bool:
        """Opens the gate; tells whether it was closed until now.

        Args:
            closure: From `close`.
        """
        with self._changed:
            self._open_expired()
            was_closed = not closure.is_open
            self._remove(closure)
            return was_closed

    def admit(self, closure: Closure, thread: int) -> None:
        """Lets the run of a thread pass that waits at the gate now.

        Args:
            closure: From `close`.
            thread: The identifier of the thread.
        """
        with self._changed:
            for waiter in self._waiters:
                if waiter.thread == thread and waiter.key == closure.key:
                    waiter.admitted_by.add(closure)
            self._notify()

    def traffic(
        self, closure: Closure, slack: float = 1, after: int | None = None, seconds: float = 0
    ) -> Traffic:
        """Returns the steps on their way and the runs that wait at the gate.

        Args:
            closure: From `close`.
            slack: A factor: steps are overdue after so many times the usual limit.
            after: The version that the caller knows. If it is still the same, waits for a change.
            seconds: How long to wait for that at most.
        """
        with self._changed:
            if after == self._version:
                self._changed.wait(seconds)
            waiters = [waiter for waiter in self._waiters if waiter.key == closure.key]
            admitted = [waiter for waiter in waiters if closure in waiter.admitted_by]
            steps = [step for step in self._steps if step.key == closure.key]
            now = time.monotonic()
            return Traffic(
                len(steps) + len(admitted),
                not admitted and all(self._is_overdue(step, slack, now) for step in steps),
                tuple((w.thread, now - w.began) for w in waiters if w not in admitted),
                self._version,
            )

    def describe(self, closure: Closure) -> list[str]:
        """Returns a line for each step on its way.

        Args:
            closure: From `close`.
        """
        with self._changed:
            steps = [step for step in self._steps if step.key == closure.key]
        return [str(step) for step in sorted(steps, key=lambda step: step.began)]

    def drop_ended(self, closure: Closure) -> None:
        """Stops counting steps that have ended, but whose end nobody reported.

        Args:
            closure: From `close`.
        """
        with self._changed:
            steps = [step for step in self._steps if step.key == closure.key]
        for step in steps:
            if step.has_ended():
                self.end_run(step)

    def _begin(self, step: Step, partial_run: str | None) -> Step:
        steps = CURRENT.get().steps
        with self._changed:
            is_inside = partial_run in self._partial_runs or any(
                outer.key == step.key and outer in self._steps for outer in steps
            )
            if not is_inside:
                self._wait(step.key)
                for outer in steps:
                    if outer.is_resting:
                        outer.is_resting = False
                        self._steps.add(outer)
            step.began = time.monotonic()
            self._steps.add(step)
        return step

    # REQUIRES for all methods below: `_changed` is held.

    def _wait(self, key: Hashable) -> None:
        if not self._closures:
            return
        waiter = _Waiter(key)
        self._waiters.append(waiter)
        self._notify()
        try:
            while closed := self._closed_to(waiter):
                self._changed.wait(_seconds_left(closed))
        finally:
            self._waiters.remove(waiter)

    def _closed_to(self, waiter: _Waiter) -> list[Closure]:
        self._open_expired()
        return [
            closure
            for closure in self._closures
            if closure.key == waiter.key and closure not in waiter.admitted_by
        ]

    def _open_expired(self) -> None:
        for closure in list(self._closures):
            if closure.ends is not None and closure.ends <= time.monotonic():
                self._remove(closure)

    def _remove(self, closure: Closure) -> None:
        closure.is_open = True
        if closure in self._closures:
            self._notify()
            self._closures.remove(closure)

    def _notify(self) -> None:
        self._version += 1
        if self._closures:
            self._changed.notify_all()

    def _note_seconds(self, step: Step) -> None:
        if len(self._last_seconds) > _MOST_THREADS:
            self._last_seconds.clear()
        seconds = time.monotonic() - step.began
        self._last_seconds[step.thread] = self._last_seconds[step.key] = seconds

    def _is_overdue(self, step: Step, slack: float, now: float) -> bool:
        last = self._last_seconds.get(step.thread, self._last_seconds.get(step.key))
        usual = (
            _FIRST_OVERDUE_SECONDS if last is None else last * _OVERDUE_FACTOR + _OVERDUE_SECONDS
        )
        return now - step.began > usual * slack


def _seconds_left(closures: list[Closure]) -> float | None:
    """Returns how long to wait until one of them may open by itself; `None`: none does."""
    ends = [closure.ends for closure in closures if closure.ends is not None]
    return max(0.001, min(ends) - time.monotonic()) if ends else None


_gate: Gate | None = None
_making = threading.Lock()


def of_process() -> Gate:
    """Returns the gate of this process. It knows of all runs of sessions since the first call."""
    global _gate  # noqa: PLW0603 there is one
    with _making:
        if _gate is None:
            gate = Gate()
            tf_session_runs.observe(gate)
            gate.note_earlier_runs()
            _gate = gate
        return _gate


@contextlib.contextmanager
def step_if_observed(session: Any) -> Iterator[None]:
    """Makes the runs of the block in a session one step, if runs are observed at all.

    Args:
        session: The session.
    """
    own = _gate
    step = None if own is None else own.begin_step(session)
    try:
        yield
    finally:
        if own is not None:
            own.end_step(step)
