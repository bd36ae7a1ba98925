"""The distributed session: takes original ops and tensors, runs the transformed graph.

TensorFlow itself handles feeds, fetches, nested structures, names and errors about them. Only the
last step, which runs a list of tensors and ops, is replaced: it runs what stands for them in the
transformed graph. Repeated `session.run` calls are cached (`run_cache`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from autodist.errors import ArgumentError, ArgumentTypeError, GraphStateError
from autodist.graph.transformer import Transformer
from autodist.layout import RequestEntry
from autodist.private_apis import tf_sessions
from autodist.session import layout_report
from autodist.session.explain import Explanation, explain_transformer
from autodist.session.runner.initialization import Initialization
from autodist.session.runner.runners import Runner
from autodist.session.runs.callables import MappedCallable
from autodist.session.runs.late_reads import LateReads
from autodist.session.runs.partial_runs import PartialRun
from autodist.session.runs.run_cache import RunCache
from autodist.session.runs.variable_feeds import fed_reads
from autodist.tf_nodes import constants


class DistributedSession(tf.compat.v1.Session):
    """Runs a distributed graph in terms of the original one.

    `graph` is the original graph. What `run` takes and returns are tensors and ops of this graph,
    and their values. `AutoDist.create_distributed_session` makes a session. So does
    `tf.compat.v1.Session` in the scope. The graph is transformed at the first use.
    """

    def __init__(self, transformer: Transformer, runner: Runner) -> None:
        super().__init__(graph=transformer.original, config=_original_config())
        self._transformer = transformer
        self._runner = runner
        self._late_reads = LateReads(transformer)
        self._run_cache = RunCache(transformer, self._late_reads, runner)
        self._partial_runs: dict[Any, PartialRun] = {}
        self._of_thread = threading.local()
        self._initialization = Initialization(transformer, runner, self._run_once)
        self._is_begun = False
        self._is_fresh = True
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    @property
    def transformed_graph(self) -> Any:
        """The graph that runs."""
        return self._transformer.graph

    def begin(self) -> None:
        """Transforms the graph, or the ops that were added to it.

        Raises:
          UnsupportedGraphError: if the graph holds something that cannot be distributed.
        """
        self._transformer.extend()
        if not self._is_begun:
            self._is_begun = True
            self._transformer.make_updates()
            layout_report.write(self._transformer)

    def initialize(self, feed_dict: Mapping[Any, Any] | None = None) -> None:
        """Initialises the variables, tables and iterators of the graph that have no value.

        The others keep theirs.

        An initializer runs after the initializers that it depends on. One that depends on a
        placeholder that is not fed is left to the user, with a warning.

        Args:
          feed_dict: values that initializers need, by tensor.
        """
        # First only the ops that the initializers need are made: TensorFlow places and optimizes
        # the whole graph again for each new kind of run.
        self._transformer.extend()
        self._initialization.complete(feed_dict, is_fresh=self._is_fresh)
        self.begin()

    def layout_table(self) -> list[tuple[str, str, str]]:
        """Per variable: name, how it lies (shards, replicas, cuts), and why."""
        self.begin()
        return self._transformer.layout_table()

    def explain(self) -> Explanation:
        """Explains the graph: which batches are split and why, and how variables lie."""
        self.begin()
        return explain_transformer(self._transformer)

    def stored_parts(self, op: Any) -> tuple[RequestEntry, ...]:
        """The shards and replicas that a save stores or a restore fills, and where they are.

        Args:
          op: a `SaveV2` or `RestoreV2` of the original graph.

        Raises:
          ArgumentError: if it is another op, or one whose names are not constants.
        """
        self.begin()
        self._transformer.require([op])
        if op not in self._transformer.stored_parts:
            raise ArgumentError(
                f"op {op.name!r} ({op.type}) is no SaveV2 or RestoreV2 with constant names"
            )
        return self._transformer.stored_parts[op]

    def stored_values(
        self, elements: Any, options: Any = None, run_metadata: Any = None
    ) -> list[Any]:
        """The values of tensors of the transformed graph that `stored_parts` names.

        Args:
          elements: those tensors, or ops.
          options: as for `run`.
          run_metadata: as for `run`.
        """
        self._check_open()
        self._is_fresh = False
        return list(
            self._runner.run(lambda inner: inner.run(list(elements), None, options, run_metadata))
        )

    def run_restores(
        self,
        ops: Sequence[Any],
        feed_dict: Mapping[Any, Any],
        restore_ops: Iterable[Any],
        names: Mapping[bytes, bytes],
    ) -> None:
        """Runs ops of the original graph that restore values, under other names in the checkpoint.

        Args:
          ops: those ops.
          feed_dict: feeds, by tensors of the original graph or their names.
          restore_ops: the `RestoreV2` ops behind them.
          names: names in the checkpoint, by those in `restore_ops`; others stay as they are.
        """
        self._check_open()
        self._begin_run()
        targets = [new for op in ops for new in self._transformer.targets(op)]
        fed = [self.graph.as_graph_element(key, allow_operation=False) for key in feed_dict]
        plan = self._transformer.feed_plan(fed)
        parts = plan.spread([np.asarray(value) for value in feed_dict.values()])
        feeds = {tensor.ref(): part for tensor, part in zip(plan.targets, parts, strict=True)}
        for op in restore_ops:
            for made in self._transformer.targets(op):
                feeds[made.inputs[1].ref()] = constants.renamed(made.inputs[1], names)
        self._runner.run(
            lambda inner: tf_sessions.run_tensors(inner, None, targets, [], feeds, None, None),
            has_collectives=self._transformer.has_collectives(targets),
        )

    @property
    def target(self) -> str:
        """The target of the session that runs the transformed graph; empty in this process."""
        return self._runner.target

    @property
    def session_config(self) -> Any:
        """The `ConfigProto` of the session that runs the transformed graph."""
        return self._runner.config

    @property
    def inner_session(self) -> Any:
        """The session that runs the transformed graph."""
        return self._runner.run(lambda inner: inner)

    def list_devices(self) -> Any:
        """The devices of the session that runs the transformed graph."""
        return self._runner.run(lambda inner: inner.list_devices())

    def close(self) -> None:
        """Closes the session and frees its variables."""
        self._is_closed = True
        self._partial_runs.clear()
        self._runner.close()
        super().close()

    def partial_run_setup(self, fetches: Any, feeds: Any = None) -> Any:
        """As `tf.compat.v1.Session.partial_run_setup`; a batch is split when it is fed."""
        self._check_open()
        self._begin_run()
        if not isinstance(feeds, (list, tuple)):
            feeds = [] if feeds is None else [feeds]
        flat = [
            self.graph.as_graph_element(f, allow_operation=False)
            for f in tf.nest.flatten(list(feeds), expand_composites=True)
        ]
        tensors, ops = tf_sessions.flatten_fetches(self.graph, fetches)
        wanted = [self._transformer.fetch(t) for t in tensors]
        wanted += [new for op in ops for new in self._transformer.targets(op)]
        plan = self._transformer.feed_plan(flat)
        handle = self._runner.run(lambda inner: inner.partial_run_setup(wanted, plan.targets))
        self._partial_runs[handle] = PartialRun(flat, tensors)
        return handle

    def make_callable(
        self, fetches: Any, feed_list: list[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """As `tf.compat.v1.Session.make_callable`."""
        if feed_list is not None and not isinstance(feed_list, (list, tuple)):
            raise ArgumentTypeError(f"feed_list must be a list or tuple, got {feed_list!r}")
        feeds = list(feed_list or [])
        self.begin()
        for tensor in tf_sessions.flatten_fetches(self.graph, fetches)[0]:
            self._transformer.fetch(tensor)

        def call(*args: Any, options: Any = None, run_metadata: Any = None) -> Any:
            if len(args) != len(feeds):
                raise ArgumentError(f"the callable takes {len(feeds)} feed values, got {len(args)}")
            return self.run(fetches, dict(zip(feeds, args, strict=True)), options, run_metadata)

        def call_without_options(*args: Any) -> Any:
            return call(*args)

        # TensorFlow's own takes options whenever there is a list of feeds.
        return call if accept_options or feed_list is not None else call_without_options

    def _make_callable_from_options(self, callable_options: Any) -> MappedCallable:
        """The callable that Keras makes for each of its train, test and predict functions."""
        self._check_open()
        self._begin_run()
        return MappedCallable(self, self._transformer, self._runner, callable_options)

    def _begin_run(self) -> None:
        if not getattr(self._of_thread, "is_initializing", False):
            self.begin()
        self._is_fresh = False

    def _partial_run(self, handle: Any) -> PartialRun:
        if handle not in self._partial_runs:
            raise ArgumentError(
                f"there is no partial run {handle!r}: none was set up, or all that it was set up "
                "for is done"
            )
        return self._partial_runs[handle]

    def _check_open(self) -> None:
        if self.is_closed:
            raise GraphStateError("Attempted to use a closed Session.")

    def _run(
        self, handle: Any, fetches: Any, feed_dict: Any, options: Any, run_metadata: Any
    ) -> Any:
        """Makes a cached run where there is one; else TensorFlow takes fetches and feeds apart."""
        is_new = handle is None and not self._is_closed
        feed_dict = fed_reads(self.graph, feed_dict)
        run = self._run_cache.find(fetches, feed_dict) if is_new else None
        arrays = None if run is None else run.arrays(feed_dict)
        if run is not None and arrays is not None:
            return run.run(self, arrays, options, run_metadata)
        results = super()._run(handle, fetches, feed_dict, options, run_metadata)
        if is_new:
            self._run_cache.note(fetches, feed_dict)
        return results

    def _run_once(self, fetches: Any, feed_dict: Any) -> Any:
        """Runs an initializer.

        It runs once, so it is not cached; the graph need not be transformed as a whole.
        """
        feed_dict = fed_reads(self.graph, feed_dict)
        self._of_thread.is_initializing = True
        try:
            return super()._run(None, fetches, feed_dict, None, None)
        finally:
            self._of_thread.is_initializing = False

    def _do_run(  # noqa: PLR0917 - the signature of the method it replaces
        self,
        handle: Any,
        target_list: list[Any],
        fetch_list: list[Any],
        feed_dict: dict[Any, Any],
        options: Any,
        run_metadata: Any,
    ) -> Any:
        """Runs original ops and tensors.

        This is the one step of `tf.compat.v1.Session` that is replaced.
        """
        self._begin_run()
        tensors = [ref.deref() for ref in feed_dict]
        arrays = list(feed_dict.values())
        # Fetches and targets come before feeds: making an update may replace a tensor that is fed.
        if handle is None:
            fetches = self._late_reads.fetch(fetch_list, target_list, tensors)
        else:
            fetches = [self._transformer.fetch(t) for t in fetch_list]
        targets = [new for op in target_list for new in self._transformer.targets(op)]
        if handle is None:
            plan = self._transformer.feed_plan(tensors)
        else:
            plan = self._partial_run(handle).feed_plan(self._transformer, tensors, arrays)
        parts = zip(plan.targets, plan.spread(arrays), strict=True)
        feeds = {target.ref(): np.asarray(part) for target, part in parts}
        has_collectives = self._transformer.has_collectives([*targets, *fetches])
        results = self._runner.run(
            lambda inner: tf_sessions.run_tensors(
                inner, handle, targets, fetches, feeds, options, run_metadata
            ),
            has_collectives=has_collectives,
        )
        if handle is not None and self._partial_run(handle).is_done(tensors, fetch_list):
            del self._partial_runs[handle]
        return results


def _original_config() -> Any:
    """The config of the session on the original graph, which never runs and needs no devices."""
    return tf.compat.v1.ConfigProto(
        device_count={"GPU": 0}, use_per_session_threads=False, allow_soft_placement=True
    )
