"""Runs the steps of a restore into variables on several tasks.

1. The chief reads the index.
2. The client plans what goes to which variable, and gives each task its part of the plan.
   Every task looks up its variables, and checks whether it sees the same files.
3. The client shares out which task reads, sums and takes which bytes.
4. Tasks fill new memory, unseen by anybody, and sum all bytes that are restored. New memory is for
   variables without a value; with `verify='swap'` for all, if the task has enough.
5. If all sums are right, the other variables lose their values and are filled.
6. All tasks publish.

Until step 5 no variable changes. A later failure leaves variables without a value, never a mixture
of old and restored values.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tensorflow as tf

from autodist import _log, _native
from autodist.checkpoint.distributed.restoring import restore_graph
from autodist.checkpoint.distributed.tasks import data_connections
from autodist.checkpoint.distributed.tasks.transport import (
    LEASE_FACTOR,
    ROUND_SHARE,
    ROUNDS_UNDER_WAY,
    Transport,
)
from autodist.checkpoint.distributed.variables.located import Located
from autodist.checkpoint.distributed.variables.restore_targets import PlacedRestore
from autodist.checkpoint.reports import transfer

_LOGGER = _log.get_logger()

# Segments begin at whole elements, of up to so many bytes.
_ALIGNMENT = 64

_WITHDRAWN = (
    "Variables that were being restored have no value now; the others are unchanged. Restore again"
)


class ClusterRestore:
    """One restore of variables on several tasks."""

    def __init__(self, located: Located[PlacedRestore], transport: Transport) -> None:
        """Opens a session of our own and builds its graph.

        Args:
            located: What is restored, and the tasks of its variables.
            transport: How the bytes travel.
        """
        self._placed = located.placed
        self._transport = transport
        self._control = located.open_session(transport.timeout_seconds)
        self._graph = restore_graph.RestoreGraph(
            self._control.graph, located.placed, located.homes, located.chief
        )
        self._connections = data_connections.DataConnections(
            self._control,
            located.target,
            self._graph.tasks,
            self._graph.restore_id,
            self._graph.lease,
            is_restore=True,
        )
        # The numbers of the tasks that the chief sends to over data connections.
        self._streaming: frozenset[int] = frozenset()
        number_of = {task: number for number, task in enumerate(self._graph.tasks)}
        self._homes = [number_of[home] for home in located.homes]
        self._has_begun = False
        self._way = transport.way
        self._verify = self._placed.request.verify
        # The tasks beside the chief that read the files.
        self._readers: list[str] = []

    def restore(
        self, prefix: str, run_others: Callable[[], Any], running: transfer.Transfer
    ) -> None:
        """Restores, and closes the session.

        On a network file system a task may see a file that is gone. So if tasks beside the chief
        have read and a checksum is wrong, the chief reads everything once more. Likewise if memory
        runs short with `verify='swap'`, the restore begins again with `'before'`.

        Args:
            prefix: The checkpoint's.
            run_others: Restores all other values; called once the checkpoint has passed its checks.
            running: Is told how far the restore is.

        Raises:
            tf.errors.NotFoundError: Names are missing from the checkpoint.
            tf.errors.InvalidArgumentError: Another dtype or shape is wanted than is stored.
            tf.errors.DataLossError: The checkpoint is damaged.
            tf.errors.UnavailableError: A task does not answer; names it.
            tf.errors.FailedPreconditionError: A task does not see the files and has to.
            tf.errors.ResourceExhaustedError: A task has too little memory.
        """
        with contextlib.closing(self._control):
            self._control.begin()
            while not self._has_restored(prefix, run_others, running):
                pass

    def _has_restored(
        self, prefix: str, run_others: Callable[[], Any], running: transfer.Transfer
    ) -> bool:
        """Restores; returns false if that failed and there is another way, which was chosen."""
        try:
            self._restore_once(prefix, run_others, running)
        except (tf.errors.DataLossError, tf.errors.ResourceExhaustedError) as error:
            if self._has_begun or not self._has_other_way(prefix, error):
                raise
            return False
        return True

    def _has_other_way(self, prefix: str, error: tf.errors.OpError) -> bool:
        """Chooses another way to restore after an error that it may avoid; warns."""
        what = error.message.strip().splitlines()[0]
        if isinstance(error, tf.errors.ResourceExhaustedError):
            if self._verify != "swap":
                return False
            _LOGGER.warning("%s: %s. Now verify='before' takes the place of 'swap'", prefix, what)
            self._verify = "before"
            return True
        if self._way == "shared" or not self._readers:
            return False
        _LOGGER.warning(
            "%s: %s. %s read the files beside the chief; now %s reads everything, and sends it",
            prefix,
            what,
            ", ".join(self._readers),
            self._graph.tasks[0],
        )
        self._way = "stream"
        return True

    def _restore_once(
        self, prefix: str, run_others: Callable[[], Any], running: transfer.Transfer
    ) -> None:
        start = time.monotonic()
        graph = self._graph
        lease_seconds = int(self._transport.timeout_seconds * LEASE_FACTOR) + 1
        feeds = {graph.restore_id: secrets.token_hex(8), graph.lease: lease_seconds}
        with self._dropping(feeds):
            opened = self._control.run(graph.open, {**feeds, graph.prefix: prefix})
            with _status_errors():
                plan = self._plan(prefix, opened)
            with self._control.keeping_alive(graph.touch_ops, feeds, lease_seconds, running.tell):
                can_open = self._join(feeds, prefix, opened.fingerprint, plan)
                running.begin(plan.moved_bytes)
                self._restore(feeds, plan, run_others)
            self._control.run(graph.drop, feeds)
        running.end()
        seconds = time.monotonic() - start
        _LOGGER.info(
            "restored %s: %s in %.3f s (%s), %d variables into %d shards and replicas on %d tasks; "
            "%s",
            prefix,
            _log.size(plan.size_bytes),
            seconds,
            _log.speed(plan.size_bytes, seconds),
            plan.variable_count,
            len(self._homes),
            len(graph.tasks),
            self._describe(can_open),
        )

    def _plan(self, prefix: str, opened: Any) -> Any:
        places = [0] * len(self._homes)
        for numbers, _ in self._graph.joins.values():
            for place, number in enumerate(numbers):
                places[number] = place
        entries = [
            (
                restore_target.name,
                restore_target.slice_spec,
                restore_target.dtype.as_datatype_enum,
                home,
                place,
            )
            for restore_target, home, place in zip(
                self._placed.targets, self._homes, places, strict=True
            )
        ]
        rows = list(zip(opened.keys, opened.rows, strict=True))
        return _native.bundle().ClusterRestorePlan(prefix, rows, entries, len(self._graph.tasks))

    def _join(
        self, feeds: dict[Any, Any], prefix: str, fingerprint: Any, plan: Any
    ) -> dict[int, bool]:
        """Gives every task its part of the plan and has it look up its variables; assigns the work.

        Returns which tasks can open the files.
        """
        graph = self._graph
        given = {
            graph.path: prefix if self._way != "stream" else "",
            graph.fingerprint: fingerprint,
            graph.swap: self._verify == "swap",
        }
        for index, (part, names) in graph.parts.items():
            given[part], given[names] = plan.part(index)
        joined = self._control.run(
            {index: outputs for index, (_, outputs) in graph.joins.items()}, {**feeds, **given}
        )
        unfit = [text.decode() for outputs in joined.values() for text in outputs.unfit]
        if unfit:
            raise tf.errors.InvalidArgumentError(None, None, "\n".join(dict.fromkeys(unfit)))
        can_open = {index: bool(outputs.can_open) for index, outputs in joined.items()}
        out_of_reach = [graph.tasks[index] for index, seen in can_open.items() if not seen]
        self._readers = [
            graph.tasks[index] for index, seen in can_open.items() if seen and index != 0
        ]
        if self._way == "shared" and out_of_reach:
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"transport='shared', but {', '.join(out_of_reach)} cannot read {prefix} as "
                f"{graph.tasks[0]} does. Restore from a directory that all tasks share, or leave "
                f"transport out: then {graph.tasks[0]} sends the values",
            )
        live = [False] * len(self._homes)
        for index, outputs in joined.items():
            for number, is_live in zip(graph.joins[index][0], outputs.live, strict=True):
                live[number] = bool(is_live)
        if self._verify == "swap":
            self._warn_of_little_memory(prefix, live)
        plan.share(
            live=live,
            readers=[True, *(can_open[index] for index in range(1, len(graph.tasks)))],
            verify_first=self._verify != "during",
            segment_bytes=self._round_bytes,
        )
        return can_open

    def _warn_of_little_memory(self, prefix: str, live: list[bool]) -> None:
        homes = {home for home, is_live in zip(self._homes, live, strict=True) if is_live}
        if homes:
            _LOGGER.warning(
                "%s: verify='swap' takes more than half of the memory that is available to %s, "
                "where 'before' takes its place",
                prefix,
                ", ".join(self._graph.tasks[home] for home in sorted(homes)),
            )

    def _restore(self, feeds: dict[Any, Any], plan: Any, run_others: Callable[[], Any]) -> None:
        verify_first = self._verify != "during"
        self._streaming = self._connections.connect(feeds, plan.sent_bytes())
        self._check(feeds, plan)
        self._fill(feeds, plan, live=False)
        if verify_first:
            with _status_errors():
                plan.verify()
            with self._control.naming_lost_tasks():
                run_others()
        self._has_begun = True
        self._fill(feeds, plan, live=True)
        if not verify_first:
            with _status_errors():
                plan.verify()
            with self._control.naming_lost_tasks():
                run_others()
        self._control.run(self._graph.publish, feeds)

    def _check(self, feeds: dict[Any, Any], plan: Any) -> None:
        """Has tasks read and sum the bytes that no target takes before the check."""
        fetches, given, segments = {}, dict(feeds), {}
        for index, (numbers, ranges) in plan.checks().items():
            fetches[index], placeholder = self._graph.sum(index)
            given[placeholder] = ranges
            segments[index] = numbers
        self._add(plan, segments.items(), self._control.run(fetches, given) if fetches else {})

    def _fill(self, feeds: dict[Any, Any], plan: Any, *, live: bool) -> None:
        """Fills the targets that have a value now, or those that have none."""
        fetches, given, segments = {}, dict(feeds), {}
        for index, (numbers, ranges) in plan.direct(live).items():
            fetches[index], placeholder, _ = self._graph.fill(index, live=live, sent=False)
            given[placeholder] = ranges
            segments[index] = numbers
        self._add(plan, segments.items(), self._control.run(fetches, given) if fetches else {})

        def call(index: int, ranges: Any, reads: Any) -> tuple[Any, dict[Any, Any]]:
            sums, ranges_in, reads_in = self._graph.fill(index, live=live, sent=True)
            return sums, {**feeds, ranges_in: ranges, reads_in: reads}

        self._stream(feeds, plan, live=live)
        rounds = plan.rounds(live, self._round_bytes, self._streaming)
        calls = [functools.partial(call, index, *what) for index, _, *what in rounds]
        results = self._control.map(calls, ROUNDS_UNDER_WAY)
        for (_, numbers, *_), sums in zip(rounds, results, strict=True):
            with _status_errors():
                plan.add_sums(numbers, sums)

    def _stream(self, feeds: dict[Any, Any], plan: Any, *, live: bool) -> None:
        """Has the chief send what tasks with a data connection take."""

        def call(index: int, ranges: Any, reads: Any) -> tuple[Any, dict[Any, Any]]:
            number = self._connections.number
            fetch, ranges_in, reads_in = self._graph.stream(index, live=live, number=number)
            return fetch, {**feeds, ranges_in: ranges, reads_in: reads, number: index}

        streams = plan.streams(live, self._streaming)
        calls = [
            functools.partial(call, index, ranges, reads)
            for index, (_, ranges, reads) in streams.items()
        ]
        # What ends the save or restore also ends the other streams.
        results = self._control.map(calls, data_connections.STREAMS_UNDER_WAY, fails_at_once=True)
        for (numbers, *_), (sums, _) in zip(streams.values(), results, strict=True):
            with _status_errors():
                plan.add_sums(numbers, sums)

    @staticmethod
    def _add(plan: Any, segments: Iterable[tuple[int, Any]], sums: dict[int, Any]) -> None:
        with _status_errors():
            for index, numbers in segments:
                plan.add_sums(numbers, sums[index])

    @property
    def _round_bytes(self) -> int:
        size = int(self._transport.memory_bytes * ROUND_SHARE)
        return max(_ALIGNMENT, size - size % _ALIGNMENT)

    def _describe(self, can_open: dict[int, bool]) -> str:
        sent = [self._graph.tasks[index] for index, seen in can_open.items() if not seen]
        if not sent:
            return "every task read its variables"
        return f"{self._graph.tasks[0]} sent the values of {', '.join(sent)}"

    @contextlib.contextmanager
    def _dropping(self, feeds: dict[Any, Any]) -> Iterator[None]:
        """Ends the restore on every task if the block fails."""
        restore_id = feeds[self._graph.restore_id]

        def drop() -> Any:
            return _native.ops().autodist_drop_restore(restore_id, withdraw=True)

        try:
            yield
        except BaseException as error:
            self._control.notify(dict.fromkeys(self._graph.tasks, drop))
            if self._has_begun and isinstance(error, tf.errors.OpError):
                message = f"{error.message}\n{_WITHDRAWN}"
                raise type(error)(error.node_def, error.op, message) from error
            raise


@contextlib.contextmanager
def _status_errors() -> Iterator[None]:
    """Turns errors of the planner into TensorFlow's."""
    try:
        yield
    except FileNotFoundError as error:
        raise tf.errors.NotFoundError(None, None, str(error)) from error
    except ValueError as error:
        raise tf.errors.InvalidArgumentError(None, None, str(error)) from error
    except _native.bundle().DataLossError as error:
        raise tf.errors.DataLossError(None, None, str(error)) from error
