"""Changes the inputs of some ops so that means over the replicas stay right.

`analysis.splitting` decides which, and says why.
"""

from __future__ import annotations

from typing import Any

from autodist.graph.building.values.values import Value
from autodist.graph.context.counterparts import Counterparts
from autodist.graph.original.variables.roles import Key, key_of


class ChangedInputs:
    """The means and scaled values that ops see in place of their inputs.

    Args:
      made: has the value that stands for each original tensor.
    """

    def __init__(self, made: Counterparts) -> None:
        self._made = made
        self._changed: dict[tuple[Key, bool, bool], Value] = {}
        self._weighted: dict[Key, Value] = {}

    def seen(self, op: Any, tensor: Any) -> Value:
        """What `op` sees of its input `tensor`."""
        made = self._made
        value = made.value(tensor)
        batch = made.batch
        is_mean, is_scaled = batch.upstream_change(op, tensor)
        if not (is_mean and value.varies) and not is_scaled:
            return (
                self.weighted(tensor) if value.varies and batch.sees_weighted(op, tensor) else value
            )
        key = (key_of(tensor), is_mean and value.varies, is_scaled)
        if key not in self._changed:
            mask = batch.mask_of_change(op, tensor)
            if key[1]:
                value = Value([[made.means.mean(made.replicas(value), mask)]])
            self._changed[key] = self.scaled(value, mask) if is_scaled else value
        return self._changed[key]

    def scaled(self, value: Value, mask: int) -> Value:
        """A value times the inverse of each replica's share."""
        return self._times(value, mask, is_inverse=True)

    def weighted(self, tensor: Any) -> Value:
        """The value of a tensor, times each replica's share where later ops see it so."""
        made, key = self._made, key_of(tensor)
        value = made.value(tensor)
        if not value.varies or key not in made.batch.decisions.weighted:
            return value
        if key not in self._weighted:
            mask = made.batch.tensor_mask(tensor)
            self._weighted[key] = self._times(value, mask, is_inverse=False)
        return self._weighted[key]

    def _times(self, value: Value, mask: int, *, is_inverse: bool) -> Value:
        made = self._made
        pieces = made.means.times_shares(made.replicas(value), mask, is_inverse=is_inverse)
        return Value([[piece] for piece in pieces], varies=True)
