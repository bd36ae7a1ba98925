"""Makes the values that some ops see in place of a tensor's own, so that means over the replicas stay right.

See `splitting` for which, and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autodist.graph.building.values import Value
from autodist.graph.original.roles import Key, key_of

if TYPE_CHECKING:
    from autodist.graph.transformer import Transformer


class Changed:
    """The changed values of one walk.

    Args:
      walk: the transformer.
    """

    def __init__(self, walk: Transformer) -> None:
        self._walk = walk
        self._made: dict[tuple[Key, bool, bool], Value] = {}
        self._weighted: dict[Key, Value] = {}

    def seen(self, op: Any, tensor: Any) -> Value:
        """What `op` sees of its input `tensor`."""
        walk = self._walk
        value = walk.value(tensor)
        batch = walk.batch
        is_mean, is_scaled = batch.upstream_change(op, tensor)
        if not (is_mean and value.varies) and not is_scaled:
            return (
                self.weighted(tensor) if value.varies and batch.sees_weighted(op, tensor) else value
            )
        key = (key_of(tensor), is_mean and value.varies, is_scaled)
        if key not in self._made:
            mask = batch.mask_of_change(op, tensor)
            if key[1]:
                value = Value([[walk.means.mean(walk.replicas(value), mask)]])
            self._made[key] = self.scaled(value, mask) if is_scaled else value
        return self._made[key]

    def scaled(self, value: Value, mask: int) -> Value:
        """A value times the inverse of each replica's share."""
        return self._times(value, mask, is_inverse=True)

    def weighted(self, tensor: Any) -> Value:
        """The value of a tensor, times each replica's share where later ops see it so."""
        walk, key = self._walk, key_of(tensor)
        value = walk.value(tensor)
        if not value.varies or key not in walk.batch.splitting.weighted:
            return value
        if key not in self._weighted:
            mask = walk.batch.tensor_mask(tensor)
            self._weighted[key] = self._times(value, mask, is_inverse=False)
        return self._weighted[key]

    def _times(self, value: Value, mask: int, *, is_inverse: bool) -> Value:
        walk = self._walk
        pieces = walk.means.times_shares(walk.replicas(value), mask, is_inverse=is_inverse)
        return Value([[piece] for piece in pieces], varies=True)
