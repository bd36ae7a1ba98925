"""Makes the transformed graph: applies a rule to each original op, in order.

Each op is made once, after the ops that it depends on, and only when a run needs it. A rule
(`rules`) makes it: the rule finds what it needs in the `Context`, and records there what it made.

The original graph may grow after the session exists (a `Saver`, `v.assign`). `extend` analyses the
new ops.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from typing import Any

from autodist.errors import GraphStateError, UnsupportedGraphError
from autodist.graph import verify
from autodist.graph.analysis.batch.batch_dims import BatchDims
from autodist.graph.analysis.batch_analysis import BatchAnalysis
from autodist.graph.analysis.update_report import UpdateReport
from autodist.graph.building.ops.builder import Builder
from autodist.graph.building.variables.placement import PlacedVariable, Placer
from autodist.graph.context.context import Context
from autodist.graph.feeds import FeedPlan
from autodist.graph.original.observed.observer import Observer
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import Roles, key_of
from autodist.graph.rules import RULES
from autodist.layout import RequestEntry
from autodist.private_apis import tf_graphs
from autodist.strategy import Devices, StrategyBuilder


class Transformer:
    """The original graph, and the transformed graph that is made of it.

    Args:
      original: the user's graph.
      observer: recorded gradients and optimizers while it was built.
      devices: the replicas' and the servers' devices.
      strategy_builder: decides the layouts.
      batch_dims: where the batch lies in the original tensors.
      builder: of the transformed graph.
      has_own_statistics: whether batch normalisation uses the statistics of each replica's rows.
    """

    def __init__(  # noqa: PLR0917 - each is a part of the picture, and there is one call
        self,
        original: Any,
        observer: Observer,
        devices: Devices,
        strategy_builder: StrategyBuilder,
        batch_dims: BatchDims,
        builder: Builder,
        *,
        has_own_statistics: bool = True,
    ) -> None:
        self.original = original
        self.builder = builder
        self.replica_count = len(devices.replica_devices)
        self.roles = Roles(original, observer, RULES.shard_blocker)
        self.batch = BatchAnalysis(
            self.roles,
            observer,
            self.replica_count,
            batch_dims,
            has_own_statistics=has_own_statistics,
        )
        self._observer = observer
        self._update_report = UpdateReport(self.batch)
        self._placer = Placer(self.roles, builder, strategy_builder, devices)
        self._context = Context(builder, self.batch, self._placer.placed)
        self._feed_plans: dict[tuple[Any, ...], FeedPlan] = {}
        self._positions: dict[Any, int] = {}
        self._done = 0
        self._version: int | None = None
        self._failure: Exception | None = None
        self._lock = threading.RLock()

    @property
    def graph(self) -> Any:
        """The transformed graph."""
        return self.builder.graph

    @property
    def variables(self) -> list[PlacedVariable]:
        """The variables with their shards and replicas, in order of creation."""
        return self._context.variables

    @property
    def stored_parts(self) -> dict[Any, tuple[RequestEntry, ...]]:
        """What each original `SaveV2` or `RestoreV2` saves or restores."""
        return self._context.stored_parts

    def placed(self, tensor: Any) -> PlacedVariable | None:
        """The variable whose handle an original tensor is; None for any other tensor."""
        return self._context.placed(tensor)

    def layout_table(self) -> list[tuple[str, str, str]]:
        """Per variable: its name, its layout in words, and why."""
        return [variable.layout_row() for variable in self.variables]

    # Growing.

    def extend(self) -> None:
        """Analyses the ops added to the original graph since the last call.

        Raises:
          UnsupportedGraphError: if one of them cannot be distributed.
          GraphStateError: if an earlier call failed.
        """
        with self._lock:
            if self._failure is not None:
                raise GraphStateError(
                    "an op added to the graph could not be distributed, and the session cannot go "
                    f"on: {self._failure}"
                ) from self._failure
            # Read before the ops: the next call handles those that are added meanwhile.
            version = self.original.version
            if version == self._version:
                return
            new_ops = self.original.get_operations()[self._done :]
            try:
                if new_ops:
                    self._extend(new_ops)
                self._version = version
            except Exception as error:
                self._failure = error
                raise

    def _extend(self, new_ops: list[Any]) -> None:
        tf_graphs.copy_functions(self.original, self.graph)
        verify.check_supported(new_ops, self._observer)
        verify.check_saved_reads(new_ops, self._context.saved_reads)
        variables = self.roles.extend(new_ops)
        verify.check_copies(new_ops, self._placer.placed)
        ordered = self.batch.extend(new_ops, self._placer.placed)
        self._update_report.log_new()
        self._placer.place(variables, self.batch.decisions.local)
        self._context.extend(ordered, self._observer.gradients, self._is_per_replica)
        for op in ordered:
            self._positions[op] = len(self._positions)
        self._done += len(new_ops)

    def _is_per_replica(self, op: Any) -> bool:
        if self.batch.mask(op):
            return True
        variable = self.placed(op.inputs[0]) if op_types.changes_variable(op.type) else None
        return variable is not None and variable.copy_count > 1

    # Making.

    def make_updates(self) -> None:
        """Makes every update of a variable, so that what cannot be distributed is refused at once.

        Saves, too: TensorFlow places the whole graph again when ops are added to a session that has
          run.
        """
        self.require([op for op in self._positions if op_types.changes_variable(op.type)])
        for op in [op for op in self._positions if op.type == op_types.SAVE]:
            with contextlib.suppress(UnsupportedGraphError):  # Raised when the user saves.
                self.require([op, *tf_graphs.control_outputs(op)])

    def require(self, ops: Iterable[Any]) -> None:
        """Makes original ops, with all that they depend on.

        Raises:
          UnsupportedGraphError: if one of them cannot be distributed.
        """
        with self._lock:
            for op in self._missing(ops):
                self._make(op)
            verify.check_updates(self._context.updates_made)
            self._context.updates_made.clear()

    def _make(self, op: Any) -> None:
        touched = [p for p in (self.placed(t) for t in op.inputs) if p is not None]
        verify.check_cut(op, touched, RULES.shard_blocker)
        RULES.make(self._context, op, touched)

    def _missing(self, ops: Iterable[Any]) -> list[Any]:
        """Returns `ops` and their ancestors that are not made yet, in topological order."""
        context = self._context
        found: set[Any] = set()
        pending = [op for op in ops if not context.is_made(op)]
        while pending:
            op = pending.pop()
            if op in found:
                continue
            found.add(op)
            sources = [t.op for t in op.inputs] + list(op.control_inputs)
            for tensor in op.inputs:
                sources += context.sources(op, tensor)
            pending.extend(s for s in sources if s not in found and not context.is_made(s))
        return sorted(found, key=lambda op: self._positions[op])

    # What to run.

    def targets(self, op: Any) -> list[Any]:
        """The ops to run in place of an original op."""
        if op not in self._positions:
            # TensorFlow wraps what assertions and the like return, and hands the wrapper on.
            op = self.original.get_operation_by_name(op.name)
        self.require([op])
        return [new for row in self._context.copies(op) for new in row]

    def fetch(self, tensor: Any) -> Any:
        """The transformed tensor to fetch in place of an original one.

        See `context.fetched_values`.
        """
        with self._lock:
            self.require(self._context.ops_to_fetch(tensor))
            return self._context.fetch(tensor)

    def read(self, variable: PlacedVariable, controls: list[Any]) -> Any:
        """Adds a read of a variable, as one value, that waits for the new ops `controls`."""
        with self._lock:
            return self._context.read(variable, controls)

    def feed_plan(self, tensors: Iterable[Any], others: Iterable[Any] = ()) -> FeedPlan:
        """What to feed when original tensors are fed; made once for the same tensors.

        Args:
          tensors: the original tensors that are fed.
          others: original tensors that are fed in other parts of the same partial run.
        """
        with self._lock:
            fed, beside = list(tensors), list(others)
            keys = tuple(map(key_of, fed)), tuple(map(key_of, beside))
            key = (self._context.whole_value_count, *keys)
            if key not in self._feed_plans:
                self.require(t.op for t in fed)
                self._feed_plans[key] = FeedPlan(self._context, fed, beside)
            return self._feed_plans[key]

    def growing(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which ops may be added to the transformed graph."""
        return self._lock

    def has_collectives(self, elements: Iterable[Any]) -> bool:
        """Whether a run of `elements`, transformed ops and tensors, has a collective."""
        with self._lock:
            return self._context.has_collectives(elements)
