"""Proves what the replicas' derivatives are: those of a mean, or those of rows.

Let the replicas' losses L_r make the loss L = sum of w_r L_r, where w_r is the replica's share of
the rows. Then the derivatives make the derivative of L in the same way; `splitting` says what is
changed so that this holds.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from autodist.graph.analysis.batch.dependence import Dependence
from autodist.graph.kinds.kind import MEAN, SAME, SUM, Kind
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.original.gradient_calls import GradientCalls
from autodist.graph.original.observed.differentiations import Differentiation
from autodist.graph.original.observed.observer import Observer, find_handle_op
from autodist.graph.original.variables.roles import key_of

_SEEDS = frozenset({"Fill", "OnesLike"})


class Mode(enum.Enum):
    """Of what the replicas compute derivatives."""

    MEAN = "of a mean"
    ROWS = "of rows, each of its own"
    SCALED_ROWS = "of rows, times the inverse of the share"


class Derivatives:
    """What is known of the differentiations of a graph.

    Args:
      batch: knows what differs from replica to replica.
      calls: the differentiations.
      kinds: the kinds of the graph's tensors.
      observer: recorded gradients and optimizers while the graph was built.
    """

    def __init__(
        self, batch: Dependence, calls: GradientCalls, kinds: Kinds, observer: Observer
    ) -> None:
        self._batch = batch
        self._calls = calls
        self.kinds = kinds
        self._observer = observer

    def mode(self, made: Differentiation) -> Mode | None:
        """Of what the replicas compute derivatives; None where that is not known."""
        if self._goes_through_changes(made):
            return None
        kinds = {self._kind_of_target(t) for t in made.targets}
        if kinds <= {MEAN, SAME}:
            given = made.upstream or []
            is_fixed = all(not is_tensor(u) or not self._batch.tensor_mask(u) for u in given)
            return Mode.MEAN if is_fixed else None
        if any(k is None or not k.is_rows for k in kinds):
            return None
        if not any(are_of_variables(made)):
            given = made.upstream or []
            are_rows = all(
                not is_tensor(u) or self.kinds.of_tensor(u) == self.kinds.of_tensor(t)
                for u, t in zip(given, made.targets, strict=False)
            )
            return Mode.ROWS if are_rows else None
        return None if self.seed(made) is None else Mode.SCALED_ROWS

    def seed(self, made: Differentiation) -> Any:
        """The op that makes the ones with which a differentiation of rows begins.

        None where there is no such op.
        """
        if len(made.targets) != 1 or made.upstream is not None or made.is_tape:
            return None
        target = made.targets[0]
        for call in self._calls.of(target.op):
            first = call.upstream[target.value_index]
            if made.begin <= call.begin < made.end and isinstance(first, tf.Tensor):
                is_seed = first.op.type in _SEEDS and self._batch.is_new(first.op)
                return first.op if is_seed else None
        return None

    def _goes_through_changes(self, made: Differentiation) -> bool:
        """Whether a derivative goes back through an earlier backward pass with changed inputs."""
        batch = self._batch
        return any(
            batch.upstream_change(call.op, tensor) != (False, False)
            for call in self._calls.in_differentiation(made)
            if not batch.is_forward(call.op)
            for tensor in call.op.inputs
        )

    def _kind_of_target(self, target: Any) -> Kind | None:
        if not is_tensor(target) or not self._batch.tensor_mask(target):
            return SAME
        if target.op in self._batch.decisions.combined:
            return SAME
        return self.kinds.of_tensor(target)

    def kind_of_result(self, op: Any, index: int) -> Kind | None:  # noqa: PLR0911 - a reason each
        """The kind of an output of a backward pass; known only for results of differentiations."""
        found = self._calls.result(op, index)
        if found is None:
            return None
        made, number = found
        result, source = made.results[number], made.sources[number]
        if not isinstance(result, tf.Tensor) or find_handle_op(source) is not None:
            return None
        mode = self.mode(made)
        if mode is None or not is_tensor(source):
            return None
        if not self._batch.tensor_mask(source):
            return SUM if mode is Mode.ROWS else MEAN
        kind = self.kinds.of_tensor(source)
        if kind is None or not kind.is_rows:
            return None
        if mode is Mode.ROWS:
            return kind
        if self._calls.is_differentiated(op):
            return None
        self._batch.decisions.weighted[op, index] = made.end
        return kind

    def given_gradients(self) -> Iterator[Any]:
        """The tensors that optimizers take for gradients, but that no differentiation made."""
        made = {key_of(b.values) for b in self._observer.gradients if b.handle_op is not None}
        for record in self._observer.gradients:
            values = record.values
            is_given = record.handle_op is None and key_of(values) not in made
            varies = self._batch.is_new(values.op) and self._batch.tensor_mask(values)
            if is_given and varies and values.op not in self._batch.decisions.combined:
                yield values


def is_tensor(value: Any) -> bool:
    """Whether a target, source or derivative is a `tf.Tensor`."""
    return isinstance(value, tf.Tensor)


def are_of_variables(made: Differentiation) -> list[bool]:
    """For each source of a differentiation: whether it is a variable with a derivative."""
    return [
        result is not None and find_handle_op(source) is not None
        for source, result in zip(made.sources, made.results, strict=True)
    ]
