"""The gradients with respect to variables: their means over the replicas, and the way back through them.

Ops created after a gradient's record (`observe`) see the mean. A second derivative comes back to the gradient from such
ops and goes on into the backward pass before the record: let L = f(mean of g_r); then dL/dv is the mean of the
replicas' (dg_r/dv)' u, where u = f' is one value for all of them. The mean is taken at the second record, so each
replica goes on from u itself; u is averaged first where the replicas' values of it differ. Of `tf.IndexedSlices`
the mean holds the rows of all replicas, and each goes on from those of u that are its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from autodist.graph.building.values import Value
from autodist.graph.original.observer import GradientRecord, SecondDerivative
from autodist.graph.original.roles import Key, key_of

if TYPE_CHECKING:
    from autodist.graph.transformer import Transformer


class Gradients:
    """The records of a graph and what stands for their means; grows as the graph grows."""

    def __init__(self, walk: Transformer) -> None:
        self._walk = walk
        self._records: dict[Key, GradientRecord] = {}
        self._means: dict[Key, Value] = {}
        self._behind: dict[tuple[Key, Key], Value] = {}

    def extend(self, records: Iterable[GradientRecord]) -> None:
        """Takes in gradients; those known already are skipped."""
        for record in records:
            for tensor in (record.values, record.indices):
                if tensor is not None:
                    self._records.setdefault(key_of(tensor), record)

    def __contains__(self, tensor: Any) -> bool:
        return key_of(tensor) in self._records

    def sources(self, op: Any, tensor: Any) -> list[Any]:
        """The ops that must be lowered, besides that of `tensor`, before `op` can see it."""
        found = []
        record = self._records.get(key_of(tensor))
        if record is not None and record.indices is not None:
            # A gradient's rows and their numbers make one mean.
            found = [record.values.op, record.indices.op]
        second = self._walk.batch.second_derivative(op, tensor)
        if second is not None:
            found.append(second.gradient.values.op)
        return found

    def mean(self, gradient: Any) -> Value:
        """The mean over the replicas of an original gradient (or the indices that go with it)."""
        key = key_of(gradient)
        if key not in self._means:
            record = self._records[key]
            self._walk.require(t.op for t in (record.values, record.indices) if t is not None)
            self._make_mean(record)
        return self._means[key]

    def behind(self, second: SecondDerivative) -> Value:
        """What the backward pass behind a gradient sees of the derivative with respect to the gradient."""
        upstream, record = second.upstream, second.gradient
        key = (key_of(upstream), key_of(record.values))
        if key not in self._behind:
            value = self._mean_of(upstream)
            batch = self._walk.batch
            if batch.has_own_rows(record):
                mask = batch.tensor_mask(record.values) | batch.tensor_mask(record.indices)
                own = self._walk.replicas(self._walk.value(record.values))
                parts = self._walk.means.rows_of_replicas(value.whole(0), own, mask)
                value = Value([[part] for part in parts], varies=True)
            self._behind[key] = value
        return self._behind[key]

    def _mean_of(self, tensor: Any) -> Value:
        """The mean of the replicas' values, or the value where it does not vary."""
        value = self._walk.value(tensor)
        if not value.varies:
            return value
        if tensor.op in self._walk.batch.splitting.combined:
            return Value([[self._walk.one_value(tensor)]])
        mask = self._walk.batch.tensor_mask(tensor)
        return Value([[self._walk.means.mean(self._walk.replicas(value), mask)]])

    def _mean_for(self, record: GradientRecord) -> Value:
        """The mean of a dense gradient: on each replica's task where the variable has a copy on each."""
        walk = self._walk
        value, variable = walk.value(record.values), walk.placed_by(record.handle_op)
        is_combined = record.values.op in walk.batch.splitting.combined
        if value.varies and not is_combined and variable is not None and variable.copy_count > 1:
            tensors = walk.replicas(value)
            if walk.means.can_mean_on_tasks(tensors):
                mask = walk.batch.tensor_mask(record.values)
                return Value([[mean] for mean in walk.means.mean_on_tasks(tensors, mask)])
        return self._mean_of(record.values)

    def _make_mean(self, record: GradientRecord) -> None:
        walk, key = self._walk, key_of(record.values)
        if record.indices is None:
            self._means[key] = self._mean_for(record)
            return
        indices_key = key_of(record.indices)
        values, indices = walk.value(record.values), walk.value(record.indices)
        if not indices.varies:
            values = self._mean_of(record.values)
        elif self._records[indices_key] is record:
            mask = walk.batch.tensor_mask(record.values) | walk.batch.tensor_mask(record.indices)
            rows, numbers = walk.means.mean_slices(
                walk.replicas(values), walk.replicas(indices), mask
            )
            values, indices = Value([[rows]]), Value([[numbers]])
        else:
            # New values for the rows of an earlier gradient, made from its mean (clipping, scaling).
            indices = self.mean(record.indices)
        self._means[key] = values
        self._means[indices_key] = indices
