"""Who competes in saving, and what each must have written.

| way                 | one iteration                                                                    | checked   |
|---------------------|----------------------------------------------------------------------------------|-----------|
| autodist            | `Saver.save`, of a graph's shards or of a session's replicas                     | bytes     |
| gather, SaveV2      | `tf.concat` of the shards, or the mean of the replicas, then `SaveV2`            | bytes     |
| stock Saver         | stock `Saver.save` of the same variables: shards as slices                       | values    |
| stock sharded=True  | the same with `sharded=True`, the shards on as many devices as ours has threads  | values    |
| numpy.save, ...     | the whole variables, from memory                                                 | values    |
| limit               | the bytes by `pwrite` from as many threads, nothing else                         | data file |
| limit again         | the same; the control                                                            | data file |
| limit, preallocated | the same after `fallocate`; where the place is synced                            | data file |
| limit, direct       | the same after `fallocate`, past the page cache; where the place is synced       | data file |

Bytes: data and index equal those that stock TensorFlow writes from the single-node graph. Where the
place is synced, ours is `Saver(durable=True)`, and for all others every file and the directory are
synced in the timed part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from autodist import _native
from autodist.checkpoint.reports import transfer
from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce, PartitionedPS
from contenders import contender, file_system_limits, models, other_libraries, stock_tensorflow
from contenders.cases import Layout
from contenders.contender import Entry
from contenders.contest_entries import SESSION_CPUS, ContestEntries
from measuring.checks import PREFIX, check_bytes, check_data, check_same, check_values


class Saves(ContestEntries):
    """Everybody who saves the contest's model."""

    def _limits(self) -> Iterator[Entry]:
        is_synced, threads = self._place.is_synced, self._setting.threads
        for way in (contender.LIMIT, contender.LIMIT_AGAIN):
            write = file_system_limits.bare_writes(self._values, threads, is_synced=is_synced)
            yield self._limit(way, write)
        if not is_synced:
            return
        write = file_system_limits.bare_writes(
            self._values, threads, is_synced=True, is_preallocated=True
        )
        yield self._limit(contender.LIMIT_PREALLOCATED, write)
        if file_system_limits.has_direct_writes(self._setting.directory(self._place)):
            write = file_system_limits.direct_writes(self._values, threads)
            yield self._limit(contender.LIMIT_DIRECT, write)

    def _limit(self, way: str, write: stock_tensorflow.Work) -> Entry:
        return Entry.make(
            way, None, run=write, check=lambda directory: check_data(directory, self._reference)
        )

    def _of_own_graph(self, layout: Layout) -> Iterator[Entry]:
        held = models.hold(self._model, self._values, layout)
        yield self._ours(layout, held, replica_count=len(held.pieces))
        check_slices = self._check_bytes if layout.is_whole else self._check_values
        if not layout.is_whole:
            gather = stock_tensorflow.gather_and_save(held)
            yield self._rival(contender.GATHER, layout, gather, self._check_bytes)
        yield self._rival(contender.STOCK, layout, stock_tensorflow.saver_save(held), check_slices)
        if self._contest.has_sharded and not layout.is_whole:
            spread = models.hold(self._model, self._values, layout, cpus=self._setting.threads)
            sharded = stock_tensorflow.saver_save(spread, is_sharded=True)
            yield self._rival(contender.SHARDED, layout, sharded, self._check_values)

    def _of_session(self, layout: Layout) -> Iterator[Entry]:
        if layout.is_session:
            strategy = PartitionedPS(num_shards=layout.counts[0], min_variable_bytes=64)
            held = models.hold_distributed(self._model, self._values, strategy, SESSION_CPUS)
            cut = [layout.grid(shape).shard_count for shape in self._model.shapes.values()]
            yield self._ours(layout, held, replica_count=sum(cut))
            return
        count = layout.replica_count
        held = models.hold_distributed(self._model, self._values, AllReduce(), count)
        yield self._ours(layout, held, replica_count=count * len(self._model.shapes))
        mean = stock_tensorflow.mean_and_save(models.hold_copies(self._model, self._values, count))
        yield self._rival(contender.GATHER, layout, mean, self._check_bytes)

    def _of_context(self) -> Iterator[Entry]:
        for way, (save, load) in other_libraries.ways(self._views).items():

            def check(directory: Path, load: other_libraries.LoadArrays = load) -> None:
                found = load(directory)
                for name, expected in self._views.items():
                    check_same(name, found[name], expected)

            yield self._rival(way, None, save, check)

    def _ours(self, layout: Layout, held: models.Held, replica_count: int) -> Entry:
        """A save by our `Saver`.

        It must be by our op, from as many replicas, counted over all shards.
        """
        with held.graph.as_default():
            saver = Saver(
                threads=self._setting.threads,
                layout="original",
                durable=self._place.is_synced,
            )

        reports: list[_native.OpReport] = []

        def save(directory: Path) -> None:
            with transfer.collected() as found:
                saver.save(
                    held.session, str(directory / PREFIX), write_meta_graph=False, write_state=False
                )
            reports[:] = found

        def check(directory: Path) -> None:
            if [report.value_count for report in reports] != [replica_count]:
                raise AssertionError(f"expected a save of {replica_count} values, found {reports}")
            self._check_bytes(directory)

        return Entry.make(contender.OURS, layout, run=save, check=check)

    def _rival(
        self,
        way: str,
        layout: Layout | None,
        save: stock_tensorflow.Work,
        check: Callable[[Path], None],
    ) -> Entry:
        def save_and_sync(directory: Path) -> None:
            save(directory)
            file_system_limits.sync_all(directory)

        run = save_and_sync if self._place.is_synced else save
        return Entry.make(way, layout, run=run, check=check)

    def _check_bytes(self, directory: Path) -> None:
        check_bytes(directory, self._reference)

    def _check_values(self, directory: Path) -> None:
        check_values(directory, self._views)
