"""Records of differentiations: targets, sources, results, and calls of gradient functions."""

from __future__ import annotations

import bisect
import dataclasses
import functools
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class Differentiation:
    """A call of `tf.gradients` or `GradientTape.gradient`.

    Attributes:
      targets: what is differentiated.
      upstream: the derivatives with respect to the targets that the caller gave; None for ones.
      sources: with respect to what.
      results: the derivatives, one for each source; None where there is none.
      begin: the ops created as number `begin` or later, and before number `end`, are of this
        differentiation.
      end: the number of ops when it returned.
      is_tape: whether a tape differentiated, which calls no gradient function that can be seen.
    """

    targets: list[Any]
    upstream: list[Any] | None
    sources: list[Any]
    results: list[Any]
    begin: int
    end: int
    is_tape: bool


@dataclasses.dataclass(frozen=True, eq=False)
class GradientCall:
    """A call of the gradient function of an op.

    Attributes:
      op: the op.
      upstream: the derivatives with respect to the op's outputs.
      begin: the ops created as number `begin` or later, and before number `end`, are made by the
        call.
      end: the number of ops when it returned.
      passes: whether it returned one of `upstream` as it is.
    """

    op: Any
    upstream: tuple[Any, ...]
    begin: int
    end: int
    passes: bool

    @functools.cached_property
    def upstream_keys(self) -> frozenset[tuple[Any, int]]:
        """The op and the output number of each tensor in `upstream`."""
        return frozenset((u.op, u.value_index) for u in self.upstream if isinstance(u, tf.Tensor))

    def has_own_upstream(self, number: int) -> bool:
        """Whether each of several outputs has a derivative of its own."""
        keys = [(u.op, u.value_index) for u in self.upstream if isinstance(u, tf.Tensor)]
        if number >= len(self.upstream) or self.upstream[number] is None:
            return True
        own = self.upstream[number]
        return isinstance(own, tf.Tensor) and keys.count((own.op, own.value_index)) == 1


class Ranges:
    """Finds the record `[begin, end)` that an op's number lies in.

    Records do not overlap and are added in order.
    """

    def __init__(self) -> None:
        self._records: list[Any] = []
        self._begins: list[int] = []

    def add(self, record: Any) -> None:
        """Adds a record that begins after the others."""
        self._records.append(record)
        self._begins.append(record.begin)

    def between(self, begin: int, end: int) -> list[Any]:
        """The records that begin at `begin` or later, and before `end`."""
        first, last = (bisect.bisect_left(self._begins, number) for number in (begin, end))
        return self._records[first:last]

    def find(self, number: int) -> Any:
        """The record that an op created as number `number` belongs to; None where there is none."""
        index = bisect.bisect_right(self._begins, number) - 1
        if index < 0 or number >= self._records[index].end:
            return None
        return self._records[index]


def is_number(tensor: Any) -> bool:
    """Whether a derivative may go back through a tensor: it is floating or complex."""
    return bool(tensor.dtype.is_floating or tensor.dtype.is_complex)


def tensors_in(result: Any) -> list[Any]:
    """The tensors that a derivative is made of; none where there is no derivative."""
    if isinstance(result, tf.IndexedSlices):
        return [result.values, result.indices]
    return [result] if isinstance(result, tf.Tensor) else []


def ops_behind(targets: list[Any]) -> set[Any]:
    """The ops that a tape may go back through from `targets`."""
    found: set[Any] = set()
    pending = [t.op for t in targets if isinstance(t, tf.Tensor)]
    while pending:
        op = pending.pop()
        if op in found or op.type == "StopGradient":
            continue
        found.add(op)
        pending.extend(t.op for t in op.inputs if is_number(t))
    return found
