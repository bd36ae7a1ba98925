"""The walk over the original graph that makes the transformed one.

Ops are taken each once, after what they depend on, and only when a run needs them. For each tensor
the walk remembers a `Value`: what stands for it in the transformed graph. Rules for ops that take a
variable's handle are in `reads` and `updates`, for saving in `saving`; every other op is copied, once,
or once per replica when it varies (`batch`), or once per shard when it works element by element on a
cut variable.

The original graph may grow after the session exists (a `Saver`, `v.assign`): `extend` takes in what is new.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from typing import Any

from autodist.errors import GraphStateError, UnsupportedGraphError
from autodist.graph import verify
from autodist.graph.analysis.batch import BatchAnalysis
from autodist.graph.analysis.batch_dims import BatchDims
from autodist.graph.analysis.replicated_constants import Repeated
from autodist.graph.analysis.update_report import UpdateReport
from autodist.graph.building import random_ops
from autodist.graph.building.builder import Builder
from autodist.graph.building.collectives import Collectives
from autodist.graph.building.means import Means
from autodist.graph.building.placement import PlacedVariable, Placer
from autodist.graph.building.stored_parts import StoredPart
from autodist.graph.building.values import Value, common_device
from autodist.graph.original import op_types, random_op_types
from autodist.graph.original.observer import Observer
from autodist.graph.original.roles import Key, Roles, key_of
from autodist.graph.rules import fetches, reads, restoring, saving, updates
from autodist.graph.rules.changed_inputs import Changed
from autodist.graph.rules.feeds import FeedPlan
from autodist.graph.rules.gradients import Gradients
from autodist.graph.rules.whole_values import WholeValues
from autodist.layout import Grid
from autodist.private_apis import tf_internals
from autodist.strategy import Devices, StrategyBuilder

Lowered = list[list[Any]]
"""What one original op became: `[ops]`, or one list of ops per replica."""


class Transformer:
    """The original graph, the transformed graph, and what stands for what.

    Args:
      original: the user's graph.
      observer: what was seen while it was built.
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
        self.roles = Roles(original, observer)
        self.batch = BatchAnalysis(
            self.roles,
            observer,
            self.replica_count,
            batch_dims,
            has_own_statistics=has_own_statistics,
        )
        self._update_report = UpdateReport(self.batch)
        self._collectives = Collectives(self.builder)
        self.means = Means(self.builder, self._collectives)
        self.stored_parts: dict[Any, tuple[StoredPart, ...]] = {}
        # By the handle of an original variable.
        self.saved_reads: dict[Any, list[saving.SavedRead]] = {}
        self.updates_made: list[tuple[Any, PlacedVariable, list[Any]]] = []
        self._observer = observer
        self._placer = Placer(self.roles, self.builder, strategy_builder, devices)
        self._repeated = Repeated()
        self._values: dict[Key, Value] = {}
        self._fed: dict[Key, Any] = {}
        self._feed_plans: dict[tuple[Any, ...], FeedPlan] = {}
        self._gradients = Gradients(self)
        self._changed = Changed(self)
        self._lowered: dict[Any, Lowered] = {}
        self._whole_values = WholeValues(self)
        self._combined: dict[Key, Any] = {}
        self._back_edges: dict[Key, list[tuple[Any, int, int]]] = {}
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
        return list(self._placer.placed.values())

    def placed(self, tensor: Any) -> PlacedVariable | None:
        """The variable whose handle an original tensor is; None for any other tensor."""
        return self.placed_by(tensor.op)

    def placed_by(self, handle_op: Any) -> PlacedVariable | None:
        """The variable of an original `VarHandleOp`; None for any other op."""
        return self._placer.placed.get(handle_op)

    def extend(self) -> None:
        """Takes in the ops added to the original graph since the last call.

        Raises:
          UnsupportedGraphError: if one of them cannot be distributed.
          GraphStateError: if an earlier call failed.
        """
        with self._lock:
            if self._failure is not None:
                raise GraphStateError(
                    "an op added to the graph could not be distributed, and the session cannot go on: "
                    f"{self._failure}"
                ) from self._failure
            # Read before the ops: what is added meanwhile is taken in by the next call.
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
        tf_internals.copy_functions(self.original, self.graph)
        verify.check_supported(new_ops, self._observer)
        saving.check_reads(self, new_ops)
        variables = self.roles.extend(new_ops)
        verify.check_copies(new_ops, self._placer.placed)
        ordered = self.batch.extend(new_ops, self._placer.placed)
        self._update_report.tell()
        self._placer.place(variables, self.batch.local)
        if self.replica_count > 1:
            self._repeated.extend(ordered, self._is_per_replica)
        self._gradients.extend(self._observer.gradients)
        for op in ordered:
            self._positions[op] = len(self._positions)
        self._done += len(new_ops)

    def _is_per_replica(self, op: Any) -> bool:
        if self.batch.mask(op):
            return True
        variable = self.placed(op.inputs[0]) if updates.is_supported(op) else None
        return variable is not None and variable.copy_count > 1

    def lower_updates(self) -> None:
        """Lowers every update of a variable, so that what cannot be distributed is refused at once.

        Saves, too: TensorFlow places the whole graph again when ops are added to a session that has run.
        """
        self.require([op for op in self._positions if updates.is_supported(op)])
        for op in [op for op in self._positions if op.type == "SaveV2"]:
            with contextlib.suppress(UnsupportedGraphError):  # Raised when it is to be saved.
                self.require([op, *tf_internals.control_outputs(op)])

    def require(self, ops: Iterable[Any]) -> None:
        """Lowers original ops, with all that they depend on.

        Raises:
          UnsupportedGraphError: if one of them cannot be distributed.
        """
        with self._lock:
            for op in self._missing(ops):
                self._lower(op)
            verify.check_updates(self.updates_made)
            self.updates_made.clear()

    def _missing(self, ops: Iterable[Any]) -> list[Any]:
        """The ops among `ops` and their ancestors that are not lowered yet, in the order to take them."""
        found: set[Any] = set()
        pending = [op for op in ops if op not in self._lowered]
        while pending:
            op = pending.pop()
            if op in found:
                continue
            found.add(op)
            sources = [t.op for t in op.inputs] + list(op.control_inputs)
            for tensor in op.inputs:
                sources += self._gradients.sources(op, tensor)
            pending.extend(s for s in sources if s not in self._lowered and s not in found)
        return sorted(found, key=lambda op: self._positions[op])

    # What stands for what.

    def value(self, tensor: Any) -> Value:
        """What stands for an original tensor; for a gradient, each replica's own."""
        return self._values[key_of(tensor)]

    def input(self, op: Any, tensor: Any) -> Value:
        """What stands for input `tensor` of the original `op`: for a gradient seen after its record, the mean."""
        value = self.seen(op, tensor)
        batch = self.batch
        if value.varies and (
            op in batch.updates.made_once or batch.splitting.is_seen_combined(op, tensor)
        ):
            return Value([[self._whole_values.get(op, tensor)]])
        return value

    def seen(self, op: Any, tensor: Any) -> Value:
        """The same, where `op` is made per replica."""
        second = self.batch.second_derivative(op, tensor)
        if second is not None:
            return self._gradients.behind(second)
        if self.batch.sees_mean(op, tensor):
            return self.mean(tensor)
        return self._changed.seen(op, tensor)

    def weighted(self, tensor: Any) -> Value:
        """What stands for an original tensor, as ops see it that are not of the same backward pass."""
        return self._changed.weighted(tensor)

    def is_gradient(self, tensor: Any) -> bool:
        """Whether an original tensor is a gradient with respect to a variable."""
        return tensor in self._gradients

    def mean(self, gradient: Any) -> Value:
        """The mean over the replicas of an original gradient (or the indices that go with it)."""
        return self._gradients.mean(gradient)

    def replicas(self, value: Value) -> list[Any]:
        """The whole tensor as each replica sees it."""
        return [value.whole(replica) for replica in range(self.replica_count)]

    def controls(self, op: Any, replica: int | None, *, without: str | None = None) -> list[Any]:
        """The transformed ops that a copy of `op` waits for.

        Args:
          op: the original op.
          replica: whose copy waits; None: one that is made once and waits for all replicas.
          without: a type of ops that it does not wait for.
        """
        found = []
        for source in op.control_inputs:
            if source.type == without:
                continue
            rows = self._lowered[source]
            if replica is not None and len(rows) > 1:
                rows = [rows[replica]]
            for row in rows:
                found.extend(row)
        return found

    def targets(self, op: Any) -> list[Any]:
        """The ops to run in place of an original op."""
        if op not in self._positions:
            # TensorFlow wraps what assertions and the like return, and hands the wrapper on.
            op = self.original.get_operation_by_name(op.name)
        self.require([op])
        return [new for row in self._lowered[op] for new in row]

    def fetch(self, tensor: Any) -> Any:
        """The transformed tensor to fetch in place of an original one; see `fetches`."""
        with self._lock:
            key = key_of(tensor)
            if key not in self._combined:
                self.require([tensor.op])
                self._combined[key] = fetches.combine(self, tensor)
            return self._combined[key]

    def growing(self) -> Any:
        """The context in which ops may be added to the transformed graph."""
        return self._lock

    def feed_plan(self, tensors: list[Any]) -> FeedPlan:
        """What to feed when original `tensors` are fed; made once per list of tensors."""
        with self._lock:
            key = (len(self._whole_values), *map(key_of, tensors))
            if key not in self._feed_plans:
                self._feed_plans[key] = FeedPlan(self, tensors)
            return self._feed_plans[key]

    def unsplit(self, root: Any) -> Any:
        """The transformed tensor of a root before it is split."""
        return self._fed[key_of(root)]

    def whole_value(self, tensor: Any) -> Any:
        """One node's value of an original tensor, where an update that is made once takes it; else None."""
        return self._whole_values.made(tensor)

    def one_value(self, tensor: Any) -> Any:
        """One node's value of an original tensor that varies, made now if need be."""
        return self._whole_values.of(tensor)

    def has_collectives(self, elements: Iterable[Any]) -> bool:
        """Whether making `elements`, ops and tensors of the transformed graph, runs a collective of all tasks."""
        with self._lock:
            return self._collectives.are_behind(elements)

    # The rules.

    def _lower(self, op: Any) -> None:
        touched = [p for p in (self.placed(t) for t in op.inputs) if p is not None]
        verify.check_cut(op, touched)
        if op.type == op_types.HANDLE:
            self._lower_handle(op)
        elif touched and op.type in reads.RULES:
            reads.RULES[op.type](self, op, touched[0])
        elif touched and updates.is_supported(op):
            updates.lower(self, op, touched)
        elif (op.type == "SaveV2" and saving.lower(self, op)) or (
            op.type == "RestoreV2" and restoring.lower(self, op)
        ):
            pass
        elif op.type in op_types.SUMMARIES:
            self.record(op, [[fetches.lower_summary(self, op)]])
        else:
            self._copy(op)

    def _lower_handle(self, op: Any) -> None:
        variable = self._placer.placed[op]
        self._values[op, 0] = Value(variable.handles, grid=variable.grid, varies=variable.is_local)
        self._lowered[op] = [[h.op for row in variable.handles for h in row]]

    def _copy(self, op: Any) -> None:
        mask = self.batch.mask(op)
        is_per_replica = bool(mask) or op in self._repeated
        copies = self.replica_count if is_per_replica else 1
        grid = self._elementwise_grid(op)
        rows: Lowered = []
        for replica in range(copies):
            controls = self.controls(op, replica if is_per_replica else None)
            if grid is None:
                inputs = self._whole_inputs(op, replica)
                if replica and mask and random_op_types.is_stateless(op.type):
                    inputs = random_ops.separate(self.builder, op, inputs, replica)
                rows.append([self.builder.copy(op, inputs, controls, replica=replica)])
            else:
                rows.append(self._copy_per_shard(op, replica, grid, controls))
        self.record(op, rows, grid=grid, varies=bool(mask))
        if mask and op in self.batch.splitting.scaled:
            key = op, self.batch.splitting.scaled_output(op)
            self._values[key] = self._changed.scaled(self._values[key], mask)
        if op.type == "Identity":
            self._values[op, 0].local_variable = self.value(op.inputs[0]).local_variable

    def _whole_inputs(self, op: Any, replica: int) -> list[Any]:
        inputs = []
        for index, tensor in enumerate(op.inputs):
            key = key_of(tensor)
            if key not in self._values:
                # A back edge of a while loop: until its source is made, the loop's entry stands in.
                self._back_edges.setdefault(key, []).append((op, index, replica))
                inputs.append(self.value(op.inputs[0]).whole(replica))
            else:
                inputs.append(self.input(op, tensor).whole(replica))
        return inputs

    def _elementwise_grid(self, op: Any) -> Grid | None:
        """How an elementwise op on a cut variable is cut; None when it is not such an op."""
        if op.type not in op_types.ELEMENTWISE or len(op.outputs) != 1:
            return None
        grids = {v.grid for v in (self.input(op, t) for t in op.inputs) if v.grid is not None}
        if len(grids) != 1:
            return None
        grid: Grid = grids.pop()
        if op.type == "Identity":
            return grid
        shape = list(grid.shape)
        if op.outputs[0].shape.rank is None or op.outputs[0].shape.as_list() != shape:
            return None
        for tensor in op.inputs:
            if tensor.shape.rank is None or (tensor.shape.rank and tensor.shape.as_list() != shape):
                return None
        return grid

    def _copy_per_shard(self, op: Any, replica: int, grid: Grid, controls: list[Any]) -> list[Any]:
        inputs = [self.input(op, tensor) for tensor in op.inputs]
        device_of_all = common_device(next(v.cut(replica, grid) for v in inputs if v.grid == grid))
        made = []
        for shard in range(grid.shard_count):
            pieces = [
                v.cut(replica, grid, device_of_all)[shard]
                if tensor.shape.rank != 0
                else v.whole(replica)
                for v, tensor in zip(inputs, op.inputs, strict=True)
            ]
            device = next(p.device for p in pieces if p.shape.rank)
            made.append(
                self.builder.copy(op, pieces, controls, replica=replica, shard=shard, device=device)
            )
        return made

    def record(
        self,
        op: Any,
        rows: Lowered,
        *,
        grid: Grid | None = None,
        varies: bool = False,
        local_variable: PlacedVariable | None = None,
    ) -> None:
        """Remembers what an original op became, and that its outputs stand for the original ones.

        Args:
          op: the original op.
          rows: `rows[replica][shard]`, ops with the same outputs as `op`.
          grid: how the outputs are cut.
          varies: whether the replicas' outputs differ.
          local_variable: the local variable that the outputs were read from.
        """
        self._lowered[op] = rows
        for index in range(len(op.outputs)):
            pieces = [[new.outputs[index] for new in row] for row in rows]
            self.record_value(
                op, index, Value(pieces, grid=grid, varies=varies, local_variable=local_variable)
            )

    def record_value(self, op: Any, index: int, value: Value) -> None:
        """Remembers what stands for output `index` of an original op; a root is split here."""
        root = self.batch.root_number(op, index)
        if root is not None and not value.varies:
            self._fed[op, index] = value.whole(0)
            value = self.means.split(root, value.whole(0), self.batch.root_axis(root))
        self._values[op, index] = value
        for user, position, replica in self._back_edges.pop((op, index), []):
            merged = self._lowered[user][replica][0]
            tf_internals.update_input(merged, position, value.whole(replica))

    def record_ops(self, op: Any, rows: Lowered) -> None:
        """Remembers what an original op without outputs became."""
        self._lowered[op] = rows

    def whole_of(self, op: Any, index: int, replica: int) -> Any:
        """Input `index` of the original `op`, whole, as `replica` sees it."""
        return self.input(op, op.inputs[index]).whole(replica)

    def layout_table(self) -> list[tuple[str, str, str]]:
        """Per variable: its name, its layout in words, and why."""
        return [variable.layout_row() for variable in self.variables]
