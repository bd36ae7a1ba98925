"""Who competes in restoring, and what each must have brought back.

All read the checkpoint that stock TensorFlow wrote from the single-node graph.

| way                       | one iteration                                                        | variables before  |
|---------------------------|----------------------------------------------------------------------|-------------------|
| autodist                  | `Saver.restore`                                                      | without, with     |
| autodist, verify=during   | `Saver(verify="during").restore`                                     | with a value      |
| autodist, verify=swap     | `Saver(verify="swap").restore`                                       | with a value      |
| stock Saver               | stock `Saver.restore` into the same variables                        | without, with     |
| stock sharded=True        | the same with `sharded=True`, shards on as many devices as threads   | without, with     |
| RestoreV2, assign         | one stock read, assigned to every replica                            | with a value      |
| numpy.load, ...           | the whole variables, into new memory                                 |                   |
| limit                     | the bytes by `pread` from as many threads into memory that is mapped |                   |
| limit again               | the same; the control                                                |                   |
| limit, new memory         | the same into memory that was never touched                          |                   |
| ..., huge pages           | the same, and huge pages are wanted for it                           |                   |

Before each iteration the variables are made wrong or taken away; after it, all values are compared.
Those of replicas are compared by saving their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from autodist.checkpoint.reports import transfer
from autodist.checkpoint.saver import Saver
from autodist.strategy import AllReduce, PartitionedPS
from contenders import contender, file_system_limits, models, other_libraries, stock_tensorflow
from contenders.cases import Layout
from contenders.contender import NEW, TRAINED, Entry
from contenders.contest_entries import SESSION_CPUS, ContestEntries
from contenders.file_system_limits import Memory
from measuring.checks import DATA, PREFIX, check_bytes, check_same


class Restores(ContestEntries):
    """Everybody who restores the contest's model."""

    def _limits(self) -> Iterator[Entry]:
        yield self._limit(contender.LIMIT, Memory.SAME)
        yield self._limit(contender.LIMIT_AGAIN, Memory.SAME)
        yield self._limit(contender.LIMIT_NEW, Memory.NEW)
        yield self._limit(contender.LIMIT_NEW_HUGE, Memory.NEW_HUGE)

    def _of_own_graph(self, layout: Layout) -> Iterator[Entry]:
        held = models.hold(self._model, self._values, layout)
        ours = self._ours(held)
        stock = stock_tensorflow.saver_restore(held)
        for state in (NEW, TRAINED):
            yield self._into(held, contender.OURS, layout, state, ours)
            yield self._into(held, contender.STOCK, layout, state, stock)
        for verify in ("during", "swap"):
            once = self._ours(held, verify=verify)
            yield self._into(held, f"{contender.OURS}, verify={verify}", layout, TRAINED, once)
        if self._contest.has_sharded and not layout.is_whole:
            spread = models.hold(self._model, self._values, layout, cpus=self._setting.threads)
            sharded = stock_tensorflow.saver_restore(spread, is_sharded=True)
            for state in (NEW, TRAINED):
                yield self._into(spread, contender.SHARDED, layout, state, sharded)

    def _of_session(self, layout: Layout) -> Iterator[Entry]:
        if layout.is_session:
            strategy = PartitionedPS(num_shards=layout.counts[0], min_variable_bytes=64)
            held = models.hold_distributed(self._model, self._values, strategy, SESSION_CPUS)
        else:
            count = layout.replica_count
            held = models.hold_distributed(self._model, self._values, AllReduce(), count)
        with held.graph.as_default():
            mean = Saver(threads=self._setting.threads, layout="original", durable=False)

        def check(directory: Path) -> None:
            mean.save(
                held.session, str(directory / PREFIX), write_meta_graph=False, write_state=False
            )
            check_bytes(directory, self._reference)

        for verify in ("before", "during", "swap"):
            way = contender.OURS if verify == "before" else f"{contender.OURS}, verify={verify}"
            restore = self._ours(held, verify)
            yield self._entry(way, layout, TRAINED, restore, held.disturb, check)
        if layout.replica_count > 1:
            copies = models.hold_copies(self._model, self._values, layout.replica_count)
            assign = stock_tensorflow.restore_and_assign(copies)

            def check_copies(_: Path) -> None:
                for copy in copies:
                    self._check_values(copy)

            yield self._entry(
                contender.ASSIGN, layout, TRAINED, assign, copies[0].disturb, check_copies
            )

    def _of_context(self) -> Iterator[Entry]:
        for way, (save, load) in other_libraries.ways(self._views).items():
            source = self._reference.parent / way
            source.mkdir()
            save(source)
            yield self._loading(way.replace("save", "load"), load, source)

    def _loading(self, way: str, load: other_libraries.LoadArrays, source: Path) -> Entry:
        found: other_libraries.Arrays = {}

        def check(_: Path) -> None:
            for name, expected in self._views.items():
                check_same(name, found[name], expected)
            found.clear()

        return Entry.make(
            way,
            None,
            run=lambda _: found.update(load(source)),
            check=check,
            prepare=self._prepared(lambda: None, source),
            kept_bytes=self._model.size_bytes,
        )

    def _limit(self, way: str, memory: Memory) -> Entry:
        reads = file_system_limits.BareReads(self._reference / DATA, self._setting.threads, memory)
        return Entry.make(
            way,
            None,
            run=lambda _: reads.read(),
            check=lambda _: check_same("what was read", reads.found(), self._values),
            prepare=self._prepared(reads.prepare, self._reference),
            kept_bytes=0 if memory is Memory.SAME else self._model.size_bytes,
        )

    def _ours(self, held: models.Held, verify: str = "before") -> stock_tensorflow.Work:
        """A restore by our `Saver`; it must be by our op."""
        with held.graph.as_default():
            saver = Saver(threads=self._setting.threads, verify=verify)

        def restore(directory: Path) -> None:
            with transfer.collected() as reports:
                saver.restore(held.session, str(directory / PREFIX))
            if not reports:
                raise AssertionError("the restore was not by the op of autodist")

        return restore

    def _into(
        self,
        held: models.Held,
        way: str,
        layout: Layout,
        state: str,
        restore: stock_tensorflow.Work,
    ) -> Entry:
        prepare = held.forget if state == NEW else held.disturb
        return self._entry(way, layout, state, restore, prepare, lambda _: self._check_values(held))

    def _entry(  # noqa: PLR0917 in the order of Entry.make
        self,
        way: str,
        layout: Layout,
        state: str,
        restore: stock_tensorflow.Work,
        prepare: Callable[[], None],
        check: Callable[[Path], None],
    ) -> Entry:
        return Entry.make(
            way,
            layout,
            state,
            run=lambda _: restore(self._reference),
            check=check,
            prepare=self._prepared(prepare, self._reference),
            kept_bytes=self._model.size_bytes if state == NEW else 0,
        )

    def _prepared(self, prepare: Callable[[], None], source: Path) -> Callable[[], None]:
        if not self._place.is_cold:
            return prepare

        def prepare_and_drop() -> None:
            prepare()
            file_system_limits.drop_cached(source)

        return prepare_and_drop

    def _check_values(self, held: models.Held) -> None:
        for piece, found in zip(held.pieces, held.found(), strict=True):
            check_same(piece.name, found, piece.of(self._views[piece.name]))
