"""Means over a part of the batch: one sum over the batch divided by another.

Example: a loss over the rows that a mask leaves, `N / D` with `N = sum(loss * mask)` and `D = sum(mask)`; tf.losses
with weights, and the masked language model of BERT, are of this kind. The replicas' quotients `N_r / D_r` have another
mean than `N / D` where the mask leaves more rows of one part of the batch than of another. So each replica divides by
its share of the batch's divisor: by `(B_r / B) D`, for a batch of B rows and a part of B_r. Then the mean over the
replicas, weighted by B_r / B as all means are, is `N / D`; and as `D` does not depend on the variables, so it is with
the gradients.

A quotient is recognised by what it is made of: its dividend is a sum over the batch or a count of its elements, or
such, added, scaled or negated; its divisor is computed from such sums alone (and from what does not vary), and no
derivative goes back from it to a variable. Both are scalars outside of functions, branches and loops. The ops of the
backward pass that divide by the same divisor see the same share of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import tf_internals
from autodist.graph import op_kinds
from autodist.graph.batch import LOCAL
from autodist.graph.roles import Key, key_of
from autodist.graph.scalars import is_count

if TYPE_CHECKING:
    from autodist.graph.lowering import Transformer

_DIVISIONS = frozenset({"RealDiv", "DivNoNan", "Div"})
_PASS = frozenset({"Identity", "Cast", "Reshape", "StopGradient", "Neg"})
_ADDITIONS = frozenset({"Add", "AddV2", "AddN", "Sub"})
_SCALINGS = frozenset({"Mul", "RealDiv", "Div", "DivNoNan"})
_OF_DIVISORS = _PASS | _ADDITIONS | {"Mul", "Maximum", "Minimum"}


class Quotients:
    """The divisors of the quotients of one walk.

    Args:
      walk: the transformer.
    """

    def __init__(self, walk: Transformer) -> None:
        self._walk = walk
        self._totals: dict[Key, Any] = {}
        self._shares: dict[Key, list[Any]] = {}
        self._is_divisor: dict[Key, bool] = {}

    def divisor(self, op: Any, replica: int) -> Any:
        """What `replica` divides by, where `op` divides by a sum over the batch; None for any other op."""
        if op.type not in _DIVISIONS or not self._is_quotient(op):
            return None
        divisor = op.inputs[1]
        key = key_of(divisor)
        if key not in self._shares:
            mask = self._walk.batch.tensor_mask(divisor)
            self._shares[key] = self._walk.means.shares(self._total(divisor), mask)
        return self._shares[key][replica]

    def _is_quotient(self, op: Any) -> bool:
        dividend, divisor = op.inputs
        if op.outputs[0].shape.rank != 0 or not divisor.dtype.is_floating:
            return False
        if not tf_internals.is_at_top_level(op) or not self._is_of_sums(divisor):
            return False
        is_backward = self._walk.batch.is_of_backward_pass
        if not is_backward(op):
            return self._is_sum(dividend)
        return any(
            user.type in _DIVISIONS and not is_backward(user) and self._is_quotient(user)
            for user in divisor.consumers()
            if user.inputs[-1] is divisor
        )

    def _varies(self, tensor: Any) -> bool:
        return bool(self._walk.batch.tensor_mask(tensor))

    def _is_sum(self, tensor: Any) -> bool:
        """Whether a scalar is a sum over the batch, a count of its elements, or proportional to such."""
        op = tensor.op
        if self._is_batch_sum(tensor) or is_count(tensor):
            return True
        if op.type in _PASS or _is_sum_of_scalar(op):
            return tensor.shape.rank == 0 and self._is_sum(op.inputs[0])
        if op.type in _ADDITIONS:
            return all(self._is_sum(t) for t in op.inputs)
        if op.type in _SCALINGS:
            first, second = op.inputs
            if op.type == "Mul" and not self._varies(first):
                first, second = second, first
            return self._is_sum(first) and not self._varies(second)
        return False

    def _is_batch_sum(self, tensor: Any) -> bool:
        op = tensor.op
        if op.type != "Sum" or tensor.shape.rank != 0 or not self._varies(tensor):
            return False
        summed = op.inputs[0]
        return bool(summed.shape.rank) and None in summed.shape.as_list()

    def _is_of_sums(self, divisor: Any) -> bool:
        key = key_of(divisor)
        if key not in self._is_divisor:
            self._is_divisor[key] = (
                self._varies(divisor)
                and not self._walk.batch.tensor_mask(divisor) & LOCAL
                and self._is_made_of_sums(divisor)
                and not _depends_on_variables(divisor)
            )
        return self._is_divisor[key]

    def _is_made_of_sums(self, tensor: Any) -> bool:
        if not self._varies(tensor) or self._is_batch_sum(tensor):
            return True
        op = tensor.op
        if tensor.shape.rank != 0 or not (op.type in _OF_DIVISORS or _is_sum_of_scalar(op)):
            return False
        return all(self._is_made_of_sums(t) for t in op.inputs)

    def _total(self, tensor: Any) -> Any:
        """What stands for the whole batch in place of a scalar that was made of sums over it."""
        key = key_of(tensor)
        if key not in self._totals:
            self._totals[key] = self._make_total(tensor)
        return self._totals[key]

    def _make_total(self, tensor: Any) -> Any:
        walk = self._walk
        value = walk.value(tensor)
        if not value.varies:
            return value.whole(0)
        if self._is_batch_sum(tensor):
            return walk.means.sum(walk.replicas(value), walk.batch.tensor_mask(tensor))
        inputs = [self._total(t) for t in tensor.op.inputs]
        return walk.builder.copy(tensor.op, inputs, []).outputs[tensor.value_index]


def _is_sum_of_scalar(op: Any) -> bool:
    return bool(op.type == "Sum" and op.inputs[0].shape.rank == 0)


def _depends_on_variables(tensor: Any) -> bool:
    """Whether a derivative may go back from a tensor to a variable."""
    pending, seen = [tensor], set()
    while pending:
        source = pending.pop()
        op = source.op
        if op in seen or op.type == "StopGradient":
            continue
        if source.dtype == tf.resource or op.type in (op_kinds.READ, op_kinds.GATHER):
            return True
        if not (source.dtype.is_floating or source.dtype.is_complex):
            continue
        seen.add(op)
        pending.extend(op.inputs)
    return False
