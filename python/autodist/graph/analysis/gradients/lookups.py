"""Finds the lookups behind the gradient of a table, and what depends on the order of its rows.

The gradient of a table that is looked up several times is `tf.IndexedSlices`: the rows of the first
lookup, then those of the second, and so on. The mean over the replicas is to have the same rows as
on one node, in the same order. For that, the transformer must know the lookups. Sometimes it does
not, as behind a loop. Then the mean still has the right sum for each row of the table. That is
enough for an optimizer, which adds up the rows with the same number.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist.graph.analysis.batch.dependence import Dependence
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.kinds.rules.shapes.size_rules import constant
from autodist.graph.original.observed.observer import GradientRecord
from autodist.graph.original.variables.roles import Key, key_of

# The elements of the output are those of the first input, in the same order.
_KEEP_ORDER = frozenset({"Reshape", "ExpandDims", "Squeeze", "Identity", "Cast", "StopGradient"})
# The output is the input, with each row times a factor.
_SCALE = frozenset({"Mul", "RealDiv"})
_PASS = frozenset({"Identity", "Neg", "Cast"})
_SCATTERS = frozenset({"ResourceScatterAdd", "ResourceScatterSub"})


@dataclasses.dataclass(frozen=True)
class Lookup:
    """The row numbers of a lookup.

    Attributes:
      numbers: the original tensor.
      axis: the dimension along which they lie with the rows of the batch; None: all replicas have
        the same.
    """

    numbers: Any
    axis: int | None


def lookups(indices: Any, batch: Dependence, kinds: Kinds) -> list[Lookup] | None:
    """The lookups whose row numbers lie one behind the other in `indices`.

    None where they are not known.
    """
    found, pending = [], [indices]
    while pending:
        tensor = pending.pop()
        kind = kinds.of_tensor(tensor)
        if not batch.tensor_mask(tensor) or tensor.op in batch.decisions.combined:
            found.append(Lookup(tensor, None))
        elif kind is not None and kind.is_rows:
            found.append(Lookup(tensor, kind.axis))
        elif tensor.op.type in _KEEP_ORDER:
            pending.append(tensor.op.inputs[0])
        elif tensor.op.type == "ConcatV2" and _is_zero(constant(tensor.op.inputs[-1])):
            pending.extend(reversed(tensor.op.inputs[:-1]))
        else:
            return None
    return found


def _is_zero(axis: Any) -> bool:
    return axis is not None and int(axis) == 0


@dataclasses.dataclass(frozen=True)
class UsesOfRows:
    """What is made of the rows of a gradient.

    Attributes:
      unordered: the tensors that are in the order of the rows: the gradient and its row numbers,
        multiples of them, and the sums of the rows with the same number.
      user: an op that does anything else with them than to add up the rows with the same number;
        None if there is none.
    """

    unordered: frozenset[Key]
    user: Any


def uses_of_rows(record: GradientRecord, batch: Dependence) -> UsesOfRows:
    """Finds what the graph makes of a gradient's rows and row numbers. Optimizers make sums."""
    numbers, positions, user = _numbers(record, batch)
    found = {key_of(record.values)}
    sums, pending = set(), [record.values]
    while pending and user is None:
        tensor = pending.pop()
        for op in _users(tensor, record, batch):
            index = next(i for i, t in enumerate(op.inputs) if t is tensor)
            if op.type == "UnsortedSegmentSum" and index == 0:
                if key_of(op.inputs[1]) in positions:
                    sums |= {key_of(op.outputs[0]), key_of(op.inputs[1].op.outputs[0])}
                    continue
                if key_of(op.inputs[1]) in numbers:
                    continue
            elif op.type in _SCATTERS and key_of(op.inputs[1]) in numbers:
                continue
            elif op.type in _PASS or (op.type in _SCALE and _is_factor(op, index)):
                if key_of(op.outputs[0]) not in found:
                    found.add(key_of(op.outputs[0]))
                    pending.append(op.outputs[0])
                continue
            user = op
            break
    return UsesOfRows(frozenset(found | sums | numbers | positions), user)


def _numbers(record: GradientRecord, batch: Dependence) -> tuple[set[Key], set[Key], Any]:
    """Returns three things about the row numbers of a gradient.

    First, the tensors with these numbers. Second, the tensors with the place of each row among the
    unique numbers. Third, an op that uses the numbers for anything but sums, or None.
    """
    numbers, positions = {key_of(record.indices)}, set()
    pending = [record.indices]
    while pending:
        tensor = pending.pop()
        for op in _users(tensor, record, batch):
            if op.type in ("Unique", "UniqueV2"):
                positions.add(key_of(op.outputs[1]))
                users = op.outputs[1].consumers()
                other = next((u for u in users if u.type != "UnsortedSegmentSum"), None)
                if other is not None:
                    return numbers, positions, other
            elif op.type in ("Identity", "Cast"):
                numbers.add(key_of(op.outputs[0]))
                pending.append(op.outputs[0])
            elif op.type != "UnsortedSegmentSum" and op.type not in _SCATTERS:
                return numbers, positions, op
    return numbers, positions, None


def _users(tensor: Any, record: GradientRecord, batch: Dependence) -> list[Any]:
    """Returns the ops that take `tensor`; if it is the gradient, those that see the mean."""
    own = tensor is record.values or tensor is record.indices
    return [op for op in tensor.consumers() if not own or batch.sees_mean(op, tensor)]


def _is_factor(op: Any, index: int) -> bool:
    """Whether all rows, which are input `index`, are multiplied by one number."""
    if op.type == "RealDiv" and index == 1:
        return False
    return bool(op.inputs[1 - index].shape.rank == 0)
