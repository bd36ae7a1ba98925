"""The steps of a save whose variables lie on several tasks.

1. The chief makes the data file under a temporary name.
2. Every task refers to the values of its variables, all at once, and looks whether it sees that file.
3. The plan: who writes which bytes.
4. Tasks write what they hold; what they cannot write is sent, a bounded part of it at a time.
5. Tasks sync what they wrote; the chief writes the index and commits.

A save that fails is dropped on every task that answers; one that does not forgets it after a while.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import secrets
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from autodist import _log, _native
from autodist.checkpoint.cluster import channel as channels
from autodist.checkpoint.cluster import kept_save, plain_sources, plain_tasks, save_graph, tasks

if TYPE_CHECKING:
    from autodist.checkpoint.cluster.sources import SaveNode

_LOGGER = _log.get_logger()

# How the memory that a save may need on a task is divided: what is kept of variables while they are sent, and
# how much is on its way at a time; a buffer may be there twice, as a message and as a tensor.
_KEPT_SHARE = 1 / 2
ROUNDS_UNDER_WAY = 4
ROUND_SHARE = 1 / 16

# Longer than a client may be silent, so that a lease never ends a save that goes on.
LEASE_FACTOR = 3
RENEWALS_PER_LEASE = 3


@dataclasses.dataclass(frozen=True)
class Transport:
    """How the bytes of a save travel.

    Attributes:
        way: `'shared'`: every task writes to the file; `'stream'`: only the chief does, the others send; `None`:
            whoever reaches the file writes.
        memory_bytes: What a save may need on a task beside the variables.
        timeout_seconds: For how long a task may not answer.
    """

    way: str | None = None
    memory_bytes: int = 256 << 20
    timeout_seconds: float = 120.0


class ClusterSave(kept_save.KeptSave):
    """Saves what one node reads, as often as it is asked."""

    def __init__(
        self,
        target: tasks.Target,
        master: str,
        node: SaveNode,
        places: list[str],
        *,
        lacking: Collection[str],
        transport: Transport,
    ) -> None:
        """Opens a session of our own and builds its graph.

        Args:
            target: The target of the user's session.
            master: The task of its master.
            node: What is saved.
            places: The task of each source.
            lacking: The tasks that have not loaded our ops; neither the master nor the chief.
            transport: How the bytes travel.
        """
        self._node = node
        self._transport = transport
        self._chief = tasks.task_of(node.device, master)
        by_value = {
            number
            for number, (source, place) in enumerate(zip(node.sources, places, strict=True))
            if source.goes_to_chief or (place in lacking and not plain_tasks.can_slice(source))
        }
        homes = [
            self._chief if number in by_value else place for number, place in enumerate(places)
        ]
        self._channel = channels.Channel(
            target, master, {self._chief, *places}, transport.timeout_seconds
        )
        self._graph = save_graph.SaveGraph(
            self._channel.graph,
            node,
            homes,
            by_value=by_value,
            chief=self._chief,
            lacking=lacking,
            label=f"{master}/{node.name}",
        )
        number_of = {task: number for number, task in enumerate(self._graph.tasks)}
        self._homes = [number_of[home] for home in homes]
        self._plain = plain_sources.PlainSources(
            self._channel, self._graph.plain_tasks, self._budget_bytes
        )

    def save(self, prefix: str, plain_values: list[Any]) -> None:
        """Saves.

        Args:
            prefix: The checkpoint's.
            plain_values: The values of the sources that are no variables, in their order.

        Raises:
            tf.errors.UnavailableError: A task does not answer; names it.
            tf.errors.FailedPreconditionError: A variable has no value; or a task does not reach the file and
                has to.
            tf.errors.OpError: What else went wrong, with the path or variable.
        """
        start = time.monotonic()
        feeds = {
            self._graph.save_id: secrets.token_hex(8),
            self._graph.lease: int(self._transport.timeout_seconds * LEASE_FACTOR) + 1,
        }
        with self._plain.saving(feeds), self._dropping(feeds), self._renewing(feeds):
            path = self._channel.run(self._graph.open, {**feeds, self._graph.prefix: prefix})
            reaches, facts = self._hold(feeds, path, plain_values)
            plan = self._plan(self._writers(path, reaches), facts)
            crcs = np.zeros(plan.part_count, np.int64)
            self._write_direct(feeds, plan, crcs)
            self._send(feeds, plan, crcs)
            keys, entries = plan.index(crcs)
            self._channel.run(
                self._graph.commit, {**feeds, self._graph.keys: keys, self._graph.entries: entries}
            )
        self._has_saved = True
        seconds = time.monotonic() - start
        _LOGGER.info(
            "saved %s: %d bytes of %d tasks in %.3f s (%.2f GB/s); %s",
            prefix,
            plan.size_bytes,
            len(self._graph.tasks),
            seconds,
            plan.size_bytes / max(seconds, 1e-9) / 1e9,
            self._describe(reaches),
        )

    def _hold(
        self, feeds: dict[Any, Any], path: bytes, plain_values: list[Any]
    ) -> tuple[dict[int, bool], dict[int, tuple[tuple[int, ...], int]]]:
        """Returns per task whether it reaches the file, and per source its shape and encoded size."""
        given = dict(zip(self._graph.values, plain_values, strict=True))
        self._plain.check_values(feeds)
        # One run: every task refers to all of its variables with dense updates at the same time.
        outputs, begun = self._channel.run(
            (
                {index: outputs for index, (_, outputs) in self._graph.holds.items()},
                self._plain.begin(),
            ),
            {**feeds, **given, self._graph.path: path if self._transport.way != "stream" else b""},
        )
        reaches = dict.fromkeys(self._graph.plain_tasks, False)
        facts = {number: (shape, 0) for number, shape in self._plain.facts(begun).items()}
        for index, output in outputs.items():
            reaches[index] = bool(output.reaches)
            numbers = list(output.facts)
            for source in self._graph.holds[index][0]:
                rank = int(numbers[0])
                facts[source] = tuple(map(int, numbers[1 : rank + 1])), int(numbers[rank + 1])
                del numbers[: rank + 2]
        return reaches, facts

    def _writers(self, path: bytes, reaches: dict[int, bool]) -> list[bool]:
        """Returns for each task whether it writes; refuses what was asked for and cannot be."""
        out_of_reach = [self._graph.tasks[index] for index, seen in reaches.items() if not seen]
        if self._transport.way == "shared" and out_of_reach:
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"transport='shared', but {', '.join(out_of_reach)} cannot open {path.decode()}, which "
                f"{self._chief} made. Save to a directory that all tasks share, or leave transport out: then "
                "what they hold is sent",
            )
        return [reaches.get(index, False) for index in range(len(self._graph.tasks))]

    def _plan(self, writers: list[bool], facts: dict[int, tuple[tuple[int, ...], int]]) -> Any:
        entries = []
        for number, source in enumerate(self._node.sources):
            shape, encoded_bytes = facts[number]
            entries.append(
                (
                    source.name,
                    source.slice_spec,
                    source.aggregation,
                    source.dtype.as_datatype_enum,
                    shape,
                    self._homes[number],
                    encoded_bytes,
                )
            )
        memory = self._transport.memory_bytes
        try:
            return _native.bundle().ClusterPlan(
                entries,
                self._node.layout,
                chief=0,
                writers=writers,
                part_bytes=self._round_bytes,
                group_bytes=int(memory * _KEPT_SHARE),
            )
        except ValueError as error:
            raise tf.errors.InvalidArgumentError(None, None, str(error)) from error

    @property
    def _budget_bytes(self) -> int:
        return int(self._transport.memory_bytes * (1 - _KEPT_SHARE / 2))

    @property
    def _round_bytes(self) -> int:
        return max(1, int(self._transport.memory_bytes * ROUND_SHARE))

    def _write_direct(self, feeds: dict[Any, Any], plan: Any, crcs: Any) -> None:
        """Lets tasks write what they hold, all at once."""
        direct = plan.direct()
        if direct:
            self._write(feeds, [direct], crcs)

    def _send(self, feeds: dict[Any, Any], plan: Any, crcs: Any) -> None:
        """Sends the rest, group by group."""
        kept: dict[int, Any] = {}
        for group in range(plan.group_count):
            sources = plan.group_sources(group)
            self._keep(feeds, sources, kept)
            kept = sources
            self._write(feeds, plan.rounds(group, self._round_bytes), crcs)
        if kept:
            self._keep(feeds, {}, kept)
        self._plain.end(feeds)

    def _keep(self, feeds: dict[Any, Any], keep: dict[int, Any], let_go: dict[int, Any]) -> None:
        self._plain.let_go(feeds, let_go)
        concerned = sorted({*keep, *let_go} & {*self._graph.keeps})
        _, shapes = self._channel.run(
            ([self._graph.keeps[index] for index in concerned], self._plain.keeps(keep)),
            {
                **feeds,
                **self._graph.keep_feeds(concerned, keep, let_go),
                self._graph.budget: self._budget_bytes,
            },
        )
        self._plain.check_kept(shapes)

    def _write(self, feeds: dict[Any, Any], rounds: list[dict[int, Any]], crcs: Any) -> None:
        """Lets tasks write, some rounds at a time, and notes the checksums of the parts."""

        def call(one: dict[int, Any]) -> tuple[Any, dict[Any, Any]]:
            fetches, given = {}, dict(feeds)
            for writer, (_, names, parts, reads) in one.items():
                fetches[writer], more = self._graph.write(writer, names, parts, reads)
                given.update(more)
            return fetches, given

        calls = [functools.partial(call, one) for one in rounds]
        for one, results in zip(rounds, self._channel.map(calls, ROUNDS_UNDER_WAY), strict=True):
            for writer, (numbers, *_) in one.items():
                crcs[numbers] = results[writer]

    def _describe(self, reaches: dict[int, bool]) -> str:
        silent = [self._graph.tasks[index] for index, seen in reaches.items() if not seen]
        if not silent:
            return "every task wrote what it holds"
        what = f"{', '.join(silent)} sent what they hold to {self._chief}"
        if not self._plain.tasks:
            return what
        return f"{what} ({', '.join(self._plain.tasks)}: as plain tensors)"

    def _renewing(self, feeds: dict[Any, Any]) -> contextlib.AbstractContextManager[None]:
        """Lets tasks hear of the save while others are at work."""
        return self._channel.repeating(
            list(self._graph.keeps.values()),
            {**feeds, **self._graph.keep_feeds(self._graph.keeps, {}, {}), self._graph.budget: 0},
            feeds[self._graph.lease] / RENEWALS_PER_LEASE,
        )

    @contextlib.contextmanager
    def _dropping(self, feeds: dict[Any, Any]) -> Iterator[None]:
        """Ends the save on every task where it fails."""
        try:
            yield
        except BaseException:
            save_id = feeds[self._graph.save_id]
            drops = dict.fromkeys(
                self._graph.tasks, lambda: _native.ops().autodist_drop_save(save_id)
            )
            self._channel.tell({**drops, **self._plain.drops()})
            raise
