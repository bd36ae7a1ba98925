"""Builds the ops by which several tasks take their variables at one instant.

All of these ops are in one run. On the chief, one op listens and one op leads. On each task, one op
takes the variables that the task writes itself, and one those that it sends to other tasks.
docs/design/snapshots.md, "Several servers", says how the ops agree on the instant.
"""

from __future__ import annotations

import collections
import dataclasses
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _log, _native
from autodist.checkpoint import snapshots
from autodist.checkpoint.distributed.tasks import task_names
from autodist.checkpoint.distributed.variables import own_graph_handles
from autodist.checkpoint.reports import report

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.variables.sources import Source

_LOGGER = _log.get_logger()

# How long a task holds its locks at most while it waits for the others. It tries to get its locks
# for at most half of this time.
LEASE_SECONDS = 0.3

# How long all rounds together may take, as a multiple of `timeout_seconds`. It is long, because a
# busy machine needs time to prepare an image. A lost task is found sooner.
DEADLINE_FACTOR = 10

# How often the tasks try.
MOST_ROUNDS = 12

_TOKEN_BYTES = 32

# How long an op waits that tells whether all have taken; it is run again.
_AWAIT_SECONDS = 1.0

# How many names a message has.
_MOST_NAMES = 10


@dataclasses.dataclass(frozen=True)
class TakenInstant:
    """How an instant was taken.

    Attributes:
        methods: For each method, how many ops took variables by it. `'references'` stands for those
            whose variables need no image.
        refused: By task, which methods were not possible, and why.
        lock_seconds: The longest time for which a task held its locks.
        locking_seconds: How long it took until all tasks had locked.
        taking_seconds: How long it then took until all tasks had taken their variables.
        tries: How often the tasks tried.
        other_values: The names of the values that are not of the instant.
    """

    methods: Mapping[str, int]
    refused: Mapping[str, str]
    lock_seconds: float
    locking_seconds: float
    taking_seconds: float
    tries: int
    other_values: Sequence[str]

    def log(self, prefix: str) -> None:
        """Logs a line.

        Args:
            prefix: The checkpoint's.
        """
        refused = "; ".join(f"{task}: {why}" for task, why in self.refused.items())
        _LOGGER.info(
            "%s holds one instant of all variables, kept by %s; locked for at most %.4f s, all "
            "locked after %.4f s, taken after %.4f s more, in %s%s",
            prefix,
            ", ".join(f"{method} ({count})" for method, count in sorted(self.methods.items())),
            self.lock_seconds,
            self.locking_seconds,
            self.taking_seconds,
            "1 try" if self.tries == 1 else f"{self.tries} tries",
            report.limits_of_instant(refused, ", ".join(self.other_values)),
        )


def is_taken(source: Source) -> bool:
    """Tells whether a value of a save is taken at the instant."""
    return source.variable is not None and own_graph_handles.is_pinnable(source.variable)


class JointInstant:
    """The ops of one graph. Make it, `reference` and `read`, then `finish`, inside the graph.

    Attributes:
        is_taken: For another run beside the one that takes the instant: whether all have taken.
            Waits for that, a second at most.
    """

    def __init__(
        self, chief: str, sources: Sequence[Source], handles: own_graph_handles.OwnHandles
    ) -> None:
        """Builds the op that listens.

        Args:
            chief: The task that leads.
            sources: The values of the save.
            handles: The variables behind them, for the graph.
        """
        self._chief = chief
        self._sources = sources
        self._handles = handles
        self._tasks: list[str] = []
        self._joins: list[Any] = []
        self._token = tf.compat.v1.placeholder(tf.string, [])
        self._lease, self._deadline, self._rounds, self._memory = (
            tf.compat.v1.placeholder(tf.int64, []) for _ in range(4)
        )
        self._methods = tf.compat.v1.placeholder(tf.string, [None])
        self._spill = tf.compat.v1.placeholder(tf.string, [])
        with tf.device(task_names.processor_of(chief)):
            self._listener = _native.ops().autodist_listen_for_instant()
            self.is_taken = _native.ops().autodist_await_instant(
                self._token, int(_AWAIT_SECONDS * 1000)
            )

    def reference(self, numbers: Iterable[int], task: str) -> tuple[list[int], list[Any]]:
        """Adds ops that take variables of one task; as `OwnHandles.reference`.

        Args:
            numbers: The numbers of the sources.
            task: The task of their variables.
        """
        ordered, pins = self._handles.pin(list(numbers))
        if not pins:
            return ordered, []
        with tf.device(task_names.processor_of(task)):
            join = _native.ops().autodist_join_instant(
                pins=pins,
                hosts=self._listener.hosts,
                port=self._listener.port,
                token=self._token,
                lease_ms=self._lease,
                deadline_ms=self._deadline,
                methods=self._methods,
                memory_bytes=self._memory,
                spill_directory=self._spill,
                number=len(self._joins),
                coordinator=self._chief,
            )
        self._joins.append(join)
        self._tasks.append(task)
        return ordered, [join.references]

    def read(self, numbers: Iterable[int]) -> dict[int, Any]:
        """Adds ops that take variables whose values other tasks get; returns the values by number.

        Args:
            numbers: The numbers of the sources, which may lie on several tasks.
        """
        by_task: dict[str, list[int]] = collections.defaultdict(list)
        for number in numbers:
            by_task[task_names.task_of(self._handles.device(number), self._chief)].append(number)
        values: dict[int, Any] = {}
        for task, there in by_task.items():
            ordered, (references,) = self.reference(there, task)
            with tf.device(task_names.processor_of(task)):
                read = _native.ops().autodist_read_references(
                    references, dtypes=[self._sources[number].dtype for number in ordered]
                )
            values.update(zip(ordered, read, strict=True))
        return values

    def finish(self) -> None:
        """Adds the op that leads.

        Raises:
            ArgumentError: No variable is taken.
        """
        if not self._joins:
            snapshots.refuse("the saver takes no resource variable on a CPU or GPU")
        with tf.device(task_names.processor_of(self._chief)):
            lead = _native.ops().autodist_lead_instant(
                self._listener.listener,
                self._token,
                self._lease,
                self._deadline,
                self._rounds,
                participants=self._tasks,
            )
        self.fetches = (
            (lead.round, lead.seconds),
            [(join.round, join.method, join.refused, join.lock_seconds) for join in self._joins],
        )

    def feeds(self, instant: _native.Instant, timeout_seconds: float) -> dict[Any, Any]:
        """Returns the feeds of a run.

        Args:
            instant: How variables are taken.
            timeout_seconds: For how long a task may not answer.
        """
        return {
            self._token: secrets.token_bytes(_TOKEN_BYTES),
            self._lease: max(1, int(LEASE_SECONDS * 1000)),
            self._deadline: max(1, int(timeout_seconds * DEADLINE_FACTOR * 1000)),
            self._rounds: MOST_ROUNDS,
            self._methods: list(instant.methods),
            self._memory: instant.memory_bytes,
            self._spill: instant.spill_directory,
        }

    def feeds_of_is_taken(self, feeds: Mapping[Any, Any]) -> dict[Any, Any]:
        """Returns what a run of `is_taken` is fed.

        Args:
            feeds: What the run is fed that takes the instant.
        """
        return {self._token: feeds[self._token]}

    def check(self, fetched: Any) -> TakenInstant:
        """Returns how the instant was taken.

        Args:
            fetched: What a run returned for `fetches`.

        Raises:
            tf.errors.InternalError: Tasks took their variables in different rounds.
        """
        (last, seconds), joins = fetched
        rounds = {task: int(one[0]) for task, one in zip(self._tasks, joins, strict=True)}
        if set(rounds.values()) != {int(last)}:
            raise tf.errors.InternalError(
                None, None, f"tasks took their variables in different rounds: {rounds}, not {last}"
            )
        methods = collections.Counter(one[1].decode() or "references" for one in joins)
        refused = {
            task: one[2].decode() for task, one in zip(self._tasks, joins, strict=True) if one[2]
        }
        others = [source.name.decode() for source in self._sources if not is_taken(source)]
        more = ["..."] * (len(others) > _MOST_NAMES)
        return TakenInstant(
            methods=methods,
            refused=refused,
            lock_seconds=max(float(one[3]) for one in joins),
            locking_seconds=float(seconds[0]),
            taking_seconds=float(seconds[1]),
            tries=int(last) + 1,
            other_values=[*others[:_MOST_NAMES], *more],
        )
