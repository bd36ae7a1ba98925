"""Makes the means over the replicas of gradients with respect to variables.

Ops created after a gradient (`observer`) see its mean. A second derivative comes back to the
gradient from such ops and goes on into the backward pass that made it. Let L = f(mean of g_r). Then
dL/dv is the mean of the replicas' (dg_r/dv)' u, where u = f' is one value for all replicas. This
mean is taken of the resulting gradient, so each replica uses u itself. If the replicas' values of u
differ, u is averaged first. Of `tf.IndexedSlices` the mean holds the rows of all replicas, and each
replica uses its own rows of u.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autodist.graph.building.values.values import Value
from autodist.graph.context.counterparts import Counterparts
from autodist.graph.context.gradient_rows import GradientRows
from autodist.graph.context.whole_values import WholeValues
from autodist.graph.original.observed.observer import GradientRecord, SecondDerivative
from autodist.graph.original.variables.roles import Key, key_of


class Gradients:
    """The gradients of a graph and what stands for their means; grows as the graph grows.

    Args:
      made: has the value that stands for each original tensor.
      whole_values: one node's values.
    """

    def __init__(self, made: Counterparts, whole_values: WholeValues) -> None:
        self._made = made
        self._whole_values = whole_values
        self._rows = GradientRows(made)
        self._records: dict[Key, GradientRecord] = {}
        self._means: dict[Key, Value] = {}
        self._behind: dict[tuple[Key, Key], Value] = {}

    def extend(self, records: Iterable[GradientRecord]) -> None:
        """Adds gradients; skips known ones."""
        for record in records:
            for tensor in (record.values, record.indices):
                if tensor is not None:
                    self._records.setdefault(key_of(tensor), record)

    def __contains__(self, tensor: Any) -> bool:
        return key_of(tensor) in self._records

    def ops_of_mean(self, tensor: Any) -> list[Any]:
        """The other ops of a gradient's mean: that of `IndexedSlices` has values and rows."""
        found: list[Any] = []
        record = self._records.get(key_of(tensor))
        while record is not None and record.indices is not None:
            found += [record.values.op, record.indices.op]
            # The row numbers may be those of an earlier gradient (clipping, scaling).
            earlier = self._records[key_of(record.indices)]
            record = None if earlier is record or earlier.values.op in found else earlier
        return found

    def mean(self, gradient: Any) -> Value:
        """The mean over the replicas of an original gradient (or the indices that go with it)."""
        key = key_of(gradient)
        if key not in self._means:
            self._make_mean(self._records[key])
        return self._means[key]

    def behind(self, second: SecondDerivative) -> Value:
        """The second derivative that the backward pass behind a gradient takes."""
        upstream, record = second.upstream, second.gradient
        key = (key_of(upstream), key_of(record.values))
        if key not in self._behind:
            made, value = self._made, self._mean_of(upstream)
            if made.batch.has_own_rows(record):
                own = made.replicas(made.value(record.values))
                mask = self._mask(record)
                parts = self._rows.of_replicas(record.indices, value.whole(0), own, mask)
                value = Value([[part] for part in parts], varies=True)
            self._behind[key] = value
        return self._behind[key]

    def _mask(self, record: GradientRecord) -> int:
        batch = self._made.batch
        return batch.tensor_mask(record.values) | batch.tensor_mask(record.indices)

    def _mean_of(self, tensor: Any) -> Value:
        """The mean of the replicas' values, or the value where it does not vary."""
        made = self._made
        value = made.value(tensor)
        if not value.varies:
            return value
        if tensor.op in made.batch.decisions.combined:
            return Value([[self._whole_values.of(tensor)]])
        mask = made.batch.tensor_mask(tensor)
        return Value([[made.means.mean(made.replicas(value), mask)]])

    def _mean_of_dense(self, record: GradientRecord) -> Value:
        """The mean of a dense gradient, on each replica's task that has a copy of the variable."""
        made = self._made
        value, variable = made.value(record.values), made.placed_by(record.handle_op)
        is_combined = record.values.op in made.batch.decisions.combined
        if value.varies and not is_combined and variable is not None and variable.copy_count > 1:
            tensors = made.replicas(value)
            if made.means.can_mean_on_tasks(tensors):
                mask = made.batch.tensor_mask(record.values)
                return Value([[mean] for mean in made.means.mean_on_tasks(tensors, mask)])
        return self._mean_of(record.values)

    def _make_mean(self, record: GradientRecord) -> None:
        made, key = self._made, key_of(record.values)
        if record.indices is None:
            self._means[key] = self._mean_of_dense(record)
            return
        indices_key = key_of(record.indices)
        values, indices = made.value(record.values), made.value(record.indices)
        if not indices.varies:
            values = self._mean_of(record.values)
        elif self._records[indices_key] is record:
            rows, numbers = self._rows.mean(
                record.indices,
                made.replicas(values),
                made.replicas(indices),
                self._mask(record),
            )
            values, indices = Value([[rows]]), Value([[numbers]])
        else:
            # New values for the rows of an earlier gradient, computed from its mean (clipping,
            # scaling).
            indices = self.mean(record.indices)
        self._means[key] = values
        self._means[indices_key] = indices
