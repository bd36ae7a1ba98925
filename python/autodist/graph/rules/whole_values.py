"""Makes one node's value of tensors that differ from replica to replica, for updates that are made once.

What the replicas have is joined or combined where the tensor's kind says how (`kinds`); other ops are run once, on one
node's values of their inputs. `made_once` proved beforehand that this can be done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.graph.kinds.kind import MEAN, READ, SAME, SUM, Kind
from autodist.graph.original.roles import Key, key_of
from autodist.graph.rules import fetches

if TYPE_CHECKING:
    from autodist.graph.transformer import Transformer

_EXTREMES = {"max": "Max", "min": "Min", "all": "All", "any": "Any"}


class WholeValues:
    """One node's values of the tensors of a walk.

    Args:
      walk: the transformer.
    """

    def __init__(self, walk: Transformer) -> None:
        self._walk = walk
        self._made: dict[Key, Any] = {}
        self._copies: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self._made)

    def made(self, tensor: Any) -> Any:
        """The value of an original tensor, if it was made."""
        return self._made.get(key_of(tensor))

    def get(self, user: Any, tensor: Any) -> Any:
        """One node's value of an input of the original op `user`."""
        value = self._walk.seen(user, tensor)
        return self._get(user, tensor) if value.varies else value.whole(0)

    def of(self, tensor: Any) -> Any:
        """One node's value of an original tensor that varies."""
        return self._get(None, tensor)

    def _get(self, user: Any, tensor: Any) -> Any:
        pending = [(user, tensor)]
        while pending:
            user_, wanted = pending[-1]
            missing = self._missing(user_, wanted)
            if missing:
                pending.extend(missing)
            else:
                pending.pop()
        return self._made[key_of(tensor)]

    def _missing(self, user: Any, tensor: Any) -> list[tuple[Any, Any]]:
        """What must be made before `tensor`, which is made here if that is nothing."""
        walk, key = self._walk, key_of(tensor)
        if key in self._made or (user is not None and not walk.seen(user, tensor).varies):
            return []
        if walk.batch.root_number(*key) is not None:
            self._made[key] = walk.unsplit(tensor)
            return []
        kind = walk.batch.splitting.kinds.joinable(tensor)
        if kind is not None:
            self._made[key] = self._combine(tensor, kind)
            return []
        op = tensor.op
        if op not in self._copies:
            missing = [
                (op, t)
                for t in op.inputs
                if walk.seen(op, t).varies and key_of(t) not in self._made
            ]
            if missing:
                return missing
            self._copies[op] = self._run_again(op)
        self._made[key] = self._copies[op].outputs[tensor.value_index]
        return []

    def _run_again(self, op: Any) -> Any:
        walk = self._walk
        inputs = []
        for tensor in op.inputs:
            value = walk.seen(op, tensor)
            inputs.append(self._made[key_of(tensor)] if value.varies else value.whole(0))
        device = next((t.device for t in inputs if t.dtype == tf.resource), None)
        return walk.builder.copy(op, inputs, walk.controls(op, None), device=device)

    def _combine(self, tensor: Any, kind: Kind) -> Any:
        walk = self._walk
        value = walk.weighted(tensor)
        pieces = walk.replicas(value)
        mask = walk.batch.tensor_mask(tensor)
        if kind == SAME:
            return pieces[0]
        if kind == READ and value.local_variable is not None:
            return fetches.aggregate(walk, value.local_variable, pieces)
        if kind.is_rows:
            return walk.means.join(pieces, mask, kind.axis)
        if kind == MEAN:
            return walk.means.mean(pieces, mask)
        if kind == SUM:
            return walk.means.sum(pieces, mask)
        return fetches.extreme_of_replicas(walk, pieces, _EXTREMES[kind.name])
