"""Runs the steps of a save in which every task writes a data file of its own.

1. The program makes a directory of a random name beside the checkpoint, with a probe in it.
2. Every task reads the probe there, and writes one.
3. All tasks write their values into data files there, at once.
4. The chief checks that it sees these files, and makes one checkpoint of them.

A failed save removes the directory. A late op of a server finds no probe, and does nothing.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _log, _native
from autodist.checkpoint.distributed.sharded_save import sharded_graph, sharded_plan
from autodist.checkpoint.distributed.shared_save import reusable_save
from autodist.checkpoint.distributed.tasks import control_session
from autodist.checkpoint.files import bundle, paths
from autodist.checkpoint.reports import transfer

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.tasks.transport import Transport
    from autodist.checkpoint.distributed.variables.located import Located
    from autodist.checkpoint.distributed.variables.sources import PlacedSave

_LOGGER = _log.get_logger()

# TensorFlow's for a tensor that it sends.
_LIMIT_BYTES = (2 << 30) - (1 << 20)

# How often it is asked again whether all values are taken, by an op that waits for that.
_POLL_SECONDS = 0.01


class UnreachedError(Exception):
    """Tasks cannot write to the directory of the checkpoint; nothing of it was written."""


class ShardedSave(reusable_save.ReusableSave):
    """Saves of one saver node, each task to a data file of its own.

    Reusable: built once, run for every save.
    """

    def __init__(
        self,
        located: Located[PlacedSave],
        transport: Transport,
        *,
        is_instant: bool = False,
        has_figures: bool = False,
    ) -> None:
        """Opens a session of our own and builds its graph.

        Args:
            located: What is saved, and the tasks of its values. All of them have loaded our ops.
            transport: How the bytes travel.
            is_instant: Whether all variables are taken at one instant.
            has_figures: Whether figures of what is written are computed.
        """
        self._placed = placed = located.placed
        self._transport = transport
        self._chief = located.chief
        self._homes = homes = located.homes
        self._data_files = sharded_plan.plan(placed, homes, self._chief)
        # By number the task that a variable is sent to.
        self._sent = {
            number: data_file.task
            for data_file in self._data_files
            for number in data_file.numbers
            if placed.sources[number].variable is not None and homes[number] != data_file.task
        }
        self._bytes = {
            number: sharded_plan.static_bytes(placed.sources[number]) for number in self._sent
        }
        self._control = located.open_session(transport.timeout_seconds)
        self._graph = sharded_graph.ShardedGraph(
            self._control.graph,
            placed,
            self._data_files,
            homes=homes,
            chief=self._chief,
            unsized=[
                number
                for number, size in self._bytes.items()
                if size is None and not placed.sources[number].is_encoded
            ],
            is_instant=is_instant,
            has_figures=has_figures,
        )

    def save(
        self,
        prefix: str,
        fed_values: list[Any],
        shown: str,
        running: transfer.Transfer,
        instant: _native.Instant | None = None,
    ) -> None:
        """Saves.

        Args:
            prefix: Where to.
            fed_values: The values of the sources that are no variables, in their order.
            shown: What the log calls the checkpoint.
            running: Is told when it ends; nobody counts its bytes.
            instant: How all variables are taken at one instant; `None`: they are not.

        Raises:
            UnreachedError: Tasks cannot write there.
            tf.errors.UnavailableError: A task does not answer; names it.
            tf.errors.ResourceExhaustedError: More would be sent to a task than it may need.
            tf.errors.FailedPreconditionError: The chief does not see what a task wrote.
            tf.errors.OpError: What else went wrong, with the path or variable.
        """
        start = time.monotonic()
        self._control.begin()
        running.begin(0)
        prefix = paths.absolute(prefix)
        directory = f"{prefix}_temp-{secrets.token_hex(6)}"
        feeds = {self._graph.directory: directory, self._graph.prefix: prefix}
        with _scratch(directory):
            self._probe(directory, feeds)
            self._check_sizes()
            former = bundle.data_files(prefix) if bundle.exists(prefix) else []
            given = dict(zip(self._graph.values, fed_values, strict=True))
            joint = self._graph.joint
            if joint is not None and instant is not None:
                given.update(joint.feeds(instant, self._transport.timeout_seconds))
            fetches = self._graph.save, () if joint is None else joint.fetches
            with self._telling_when_taken(given, running):
                (written, seen), told = self._control.run(fetches, {**feeds, **given})
            taken = None if joint is None else joint.check(told)
            running.note_taken()
            self._check(prefix, written, seen)
            if self._graph.figures_files:
                running.note_figures(self._read_figures(directory))
            running.check_commit()
            self._control.run(self._graph.merge, feeds)
        self._has_saved = True
        running.end()
        count = len(self._data_files)
        names = {f"{prefix}.data-{i:05d}-of-{count:05d}" for i in range(count)}
        for path in former:
            if path not in names:
                bundle.remove_file(path)
        if taken is not None:
            taken.log(shown)
        _LOGGER.info(
            "saved %s: %d data files in %.3f s; every task wrote a data file of its own%s",
            shown,
            count,
            time.monotonic() - start,
            self._describe_sent(),
        )

    def _telling_when_taken(
        self, feeds: dict[Any, Any], running: transfer.Transfer
    ) -> contextlib.AbstractContextManager[None]:
        """Says that all have their values while the run that takes them, in the block, writes."""
        joint = self._graph.joint
        if joint is None:
            return contextlib.nullcontext()

        def tell(is_taken: Any) -> bool:
            if is_taken:
                running.note_taken()
            return bool(is_taken)

        token = joint.feeds_of_is_taken(feeds)
        return self._control.repeating([joint.is_taken], token, _POLL_SECONDS, tell)

    def _probe(self, directory: str, feeds: dict[Any, Any]) -> None:
        """Raises unless every task reads and writes the directory that this program does."""
        token = secrets.token_bytes(16)
        with tf.io.gfile.GFile(paths.join(directory, sharded_graph.PROBE), "wb") as file:
            file.write(token)
        asked = {
            task: self._control.start(probe, feeds) for task, probe in self._graph.probes.items()
        }
        found = {task: self._reason_against(answer, token) for task, answer in asked.items()}
        reasons = {task: reason for task, reason in found.items() if reason}
        if reasons:
            first = next(iter(reasons.values()))
            raise UnreachedError(
                f"{', '.join(reasons)} cannot write to the directory of {directory} ({first})"
            )

    def _reason_against(self, answer: Any, token: bytes) -> str:
        """Returns why a task cannot write there; empty if it can."""
        try:
            return "" if self._control.wait(answer) == token else "another file is there"
        except control_session.LOST:
            raise
        except tf.errors.NotFoundError:
            return "it sees no such directory"
        except tf.errors.OpError as error:
            return str(error.message).splitlines()[0]

    def _read_figures(self, directory: str) -> bytes:
        """Returns the figures of all data files."""
        found = []
        for name in self._graph.figures_files:
            with tf.io.gfile.GFile(paths.join(directory, name), "rb") as file:
                found.append(file.read())
        return b"".join(found)

    def _check(self, prefix: str, written: list[Any], seen: list[Any]) -> None:
        """Raises if the chief does not see the data files as their tasks wrote them."""
        for data_file, own, chief in zip(self._data_files, written, seen, strict=True):
            if tuple(own) == tuple(chief) and -1 not in own:
                continue
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"{prefix}: {data_file.task} wrote a data file of {own[1]} bytes and an index of "
                f"the CRC {own[0]:x}; {self._chief} sees {chief[1]} bytes and {chief[0]:x} (-1: "
                "none). The file system does not show every task what others write. Nothing was "
                "saved. Save with transport='stream', where one task writes",
            )

    def _check_sizes(self) -> None:
        """Raises if a task would be sent more than allowed."""
        sizes = self._control.run(self._graph.sizes, {}) if self._graph.sizes else {}
        received: dict[str, int] = dict.fromkeys(self._sent.values(), 0)
        for number, task in self._sent.items():
            source = self._placed.sources[number]
            size = self._bytes[number]
            if size is None:
                size = int(sizes.get(number, 0)) * int(source.dtype.size)
            received[task] += size
            if size > _LIMIT_BYTES:
                raise tf.errors.ResourceExhaustedError(
                    None,
                    None,
                    f"variable '{source.name.decode()}': a copy of {size} bytes on "
                    f"{self._homes[number]} has to be sent to {task} to make one value of all "
                    "copies, and TensorFlow sends at most 2 GiB at once. Save to a local directory "
                    "without transport='files', which sends in parts, or partition the variable",
                )
        allowed = self._transport.memory_bytes
        for task, size in received.items():
            if size <= allowed:
                continue
            what = (
                f"{size} bytes of variables with copies on several tasks are sent to {task} at "
                f"once, above memory_bytes={allowed}"
            )
            if self._transport.way == "files":
                raise tf.errors.ResourceExhaustedError(
                    None,
                    None,
                    f"transport='files': {what}. Raise memory_bytes, or save to a local directory "
                    "without transport='files', which sends in parts",
                )
            _LOGGER.warning("%s; TensorFlow's own way would send more", what)

    def _describe_sent(self) -> str:
        if not self._sent:
            return ""
        return f" ({len(self._sent)} copies and slices were sent to another task first)"


@contextlib.contextmanager
def _scratch(directory: str) -> Iterator[None]:
    """Makes a directory for the block, and removes it with its contents afterwards."""
    tf.io.gfile.makedirs(directory)
    try:
        yield
    finally:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.rmtree(directory)
