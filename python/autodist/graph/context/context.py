"""`Context`: what a rule works with, the counterparts made so far and the inputs that ops see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from autodist.graph.analysis.batch_analysis import BatchAnalysis
from autodist.graph.analysis.replicated_constants import ReplicatedConstants
from autodist.graph.building.ops.builder import Builder
from autodist.graph.building.values.collectives import Collectives
from autodist.graph.building.values.means import Means
from autodist.graph.building.values.values import Value
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.context.changed_inputs import ChangedInputs
from autodist.graph.context.counterparts import Copies, Counterparts
from autodist.graph.context.fetched_values import FetchedValues, read_variable
from autodist.graph.context.gradients import Gradients
from autodist.graph.context.whole_values import WholeValues
from autodist.graph.original.observed.observer import GradientRecord
from autodist.graph.original.variables.saved_reads import SavedRead
from autodist.layout import RequestEntry


class Context(Counterparts):
    """The counterparts of the original ops, and what each op sees of its inputs. Knows no rule.

    Args:
      builder: of the transformed graph.
      batch: knows what differs from replica to replica.
      variables: the variables with their shards and replicas, by original `VarHandleOp`.

    Attributes:
      stored_parts: by original `SaveV2` or `RestoreV2`: what it saves or restores.
      saved_reads: by `VarHandleOp`: the reads that saves make in their own way.
      updates_made: the updates made since they were verified last: the original op, the variable
        and `ops[replica][shard]`.
    """

    def __init__(
        self, builder: Builder, batch: BatchAnalysis, variables: dict[Any, PlacedVariable]
    ) -> None:
        self._collectives = Collectives(builder)
        super().__init__(builder, batch, Means(builder, self._collectives), variables)
        self.stored_parts: dict[Any, tuple[RequestEntry, ...]] = {}
        self.saved_reads: dict[Any, list[SavedRead]] = {}
        self.updates_made: list[tuple[Any, PlacedVariable, Copies]] = []
        self._replicated = ReplicatedConstants()
        self._changed = ChangedInputs(self)
        self._whole_values = WholeValues(self, self._changed, self.seen)
        self._gradients = Gradients(self, self._whole_values)
        self._fetched = FetchedValues(self, self._changed, self._gradients, self._whole_values)

    def extend(
        self,
        ordered: list[Any],
        gradients: Iterable[GradientRecord],
        is_per_replica: Callable[[Any], bool],
    ) -> None:
        """Analyses ops added to the original graph.

        Args:
          ordered: the ops, each after what it depends on.
          gradients: all gradients with respect to variables.
          is_per_replica: whether an op is made once per replica for a reason of its own.
        """
        if self.replica_count > 1:
            self._replicated.extend(ordered, is_per_replica)
        self._gradients.extend(gradients)

    # What an op sees.

    def input(self, op: Any, tensor: Any) -> Value:
        """The value that `op` takes for its input `tensor`; the mean for an earlier gradient."""
        value = self.seen(op, tensor)
        batch = self.batch
        if value.varies and (
            op in batch.decisions.made_once or batch.decisions.is_seen_combined(op, tensor)
        ):
            return Value([[self._whole_values.get(op, tensor)]])
        return value

    def seen(self, op: Any, tensor: Any) -> Value:
        """The same, if each replica has its own copy of `op`."""
        second = self.batch.second_derivative(op, tensor)
        if second is not None:
            return self._gradients.behind(second)
        if self.batch.sees_mean(op, tensor):
            return self._gradients.mean(tensor)
        return self._changed.seen(op, tensor)

    def whole_of(self, op: Any, index: int, replica: int) -> Any:
        """Input `index` of the original `op`, whole, as `replica` sees it."""
        return self.input(op, op.inputs[index]).whole(replica)

    def sources(self, op: Any, tensor: Any) -> list[Any]:
        """The original ops that must be made, besides that of `tensor`, before `op` can see it."""
        found = self._gradients.ops_of_mean(tensor)
        second = self.batch.second_derivative(op, tensor)
        if second is not None:
            found.append(second.gradient.values.op)
        return found

    def ops_to_fetch(self, tensor: Any) -> list[Any]:
        """The original ops that must be made before `fetch` of a tensor."""
        return [tensor.op, *self._gradients.ops_of_mean(tensor)]

    def is_per_replica(self, op: Any) -> bool:
        """Whether each replica has a copy of an op without a rule."""
        return bool(self.batch.mask(op)) or op in self._replicated

    def scaled(self, value: Value, mask: int) -> Value:
        """A value times the inverse of each replica's share of the roots in `mask`."""
        return self._changed.scaled(value, mask)

    # One node's values.

    def fetch(self, tensor: Any) -> Any:
        """The one transformed tensor to fetch in place of an original one; see `fetched_values`."""
        return self._fetched.get(tensor)

    def read(self, variable: PlacedVariable, controls: list[Any]) -> Any:
        """A read of a variable, as one value, that waits for `controls`."""
        return read_variable(self, variable, controls)

    def whole_value(self, tensor: Any) -> Any:
        """One node's value of an original tensor, where an update that is made once takes it.

        Else None.
        """
        return self._whole_values.made(tensor)

    @property
    def whole_value_count(self) -> int:
        """How many tensors have one node's value."""
        return len(self._whole_values)

    def has_collectives(self, elements: Iterable[Any]) -> bool:
        """Whether a run of `elements`, transformed ops and tensors, contains a collective."""
        return self._collectives.are_behind(elements)
