"""Makes one node's value of tensors whose replicas' values differ, for updates that are made once.

The replicas' values are joined or combined where the tensor's kind says how (`kinds`). Any other op
is run once, on one node's values of its inputs. `updates_made_once` proves beforehand that this can
be done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from autodist.graph.building.values.combining import aggregate, extreme
from autodist.graph.building.values.values import Value
from autodist.graph.context.changed_inputs import ChangedInputs
from autodist.graph.context.counterparts import Counterparts
from autodist.graph.kinds.kind import MEAN, READ, SAME, SUM, Kind
from autodist.graph.original.variables.roles import Key, key_of

_EXTREMES = {"max": "Max", "min": "Min", "all": "All", "any": "Any"}


class WholeValues:
    """One node's values of original tensors.

    Args:
      made: has the value that stands for each original tensor.
      changed: what later ops see in place of a tensor's own value.
      seen: gives what an op, made per replica, sees of its input.
    """

    def __init__(
        self, made: Counterparts, changed: ChangedInputs, seen: Callable[[Any, Any], Value]
    ) -> None:
        self._counterparts = made
        self._changed = changed
        self._seen = seen
        self._made: dict[Key, Any] = {}
        self._copies: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self._made)

    def made(self, tensor: Any) -> Any:
        """The value of an original tensor, if it was made."""
        return self._made.get(key_of(tensor))

    def get(self, user: Any, tensor: Any) -> Any:
        """One node's value of an input of the original op `user`."""
        value = self._seen(user, tensor)
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
        """Makes `tensor`, or returns the tensors that must be made first.

        Each comes with the op that takes it.
        """
        made, key = self._counterparts, key_of(tensor)
        if key in self._made or (user is not None and not self._seen(user, tensor).varies):
            return []
        if made.batch.root_number(*key) is not None:
            self._made[key] = made.unsplit(tensor)
            return []
        kind = made.batch.kinds.joinable(tensor)
        if kind is not None:
            self._made[key] = self._combine(tensor, kind)
            return []
        op = tensor.op
        if op not in self._copies:
            missing = [
                (op, t)
                for t in op.inputs
                if self._seen(op, t).varies and key_of(t) not in self._made
            ]
            if missing:
                return missing
            self._copies[op] = self._run_again(op)
        self._made[key] = self._copies[op].outputs[tensor.value_index]
        return []

    def _run_again(self, op: Any) -> Any:
        made = self._counterparts
        inputs = []
        for tensor in op.inputs:
            value = self._seen(op, tensor)
            inputs.append(self._made[key_of(tensor)] if value.varies else value.whole(0))
        device = next((t.device for t in inputs if t.dtype == tf.resource), None)
        return made.builder.copy(op, inputs, made.controls(op, None), device=device)

    def _combine(self, tensor: Any, kind: Kind) -> Any:
        made = self._counterparts
        value = self._changed.weighted(tensor)
        pieces = made.replicas(value)
        mask = made.batch.tensor_mask(tensor)
        if kind == SAME:
            return pieces[0]
        if kind == READ and value.local_variable is not None:
            return aggregate(made.builder, value.local_variable, pieces)
        if kind.is_rows:
            return made.means.join(pieces, mask, kind.axis)
        if kind == MEAN:
            return made.means.mean(pieces, mask)
        if kind == SUM:
            return made.means.sum(pieces, mask)
        return extreme(made.builder, pieces, _EXTREMES[kind.name])
