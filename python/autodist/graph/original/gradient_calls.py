"""Which ops derivatives go back through, and which calls of gradient functions made which ops."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.original.observed.differentiations import (
    Differentiation,
    GradientCall,
    Ranges,
    ops_behind,
    tensors_in,
)
from autodist.graph.original.observed.observer import Observer
from autodist.graph.original.variables.roles import Key, key_of


class GradientCalls:
    """The differentiations of a graph and their calls of gradient functions.

    Grows as the graph grows.

    Args:
      observer: recorded gradients and optimizers while the graph was built.

    Attributes:
      differentiations: in order.
      targets: the tensors that are differentiated.
      behind_tapes: the ops that a tape may go back through.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._calls: dict[Any, list[GradientCall]] = {}
        self._ranges = Ranges()
        self._call_count = 0
        self._calls_of: dict[Differentiation, list[GradientCall]] = {}
        self._results: dict[Key, tuple[Differentiation, int]] = {}
        self.differentiations: list[Differentiation] = []
        self.targets: set[Key] = set()
        self.behind_tapes: set[Any] = set()

    def extend(self) -> None:
        """Adds what the observer saw since the last call."""
        for call in self._observer.gradient_calls[self._call_count :]:
            self._calls.setdefault(call.op, []).append(call)
            self._ranges.add(call)
        self._call_count = len(self._observer.gradient_calls)
        for made in self._observer.differentiations[len(self.differentiations) :]:
            self.differentiations.append(made)
            self._calls_of[made] = self._ranges.between(made.begin, made.end)
            for index, result in enumerate(made.results):
                for tensor in tensors_in(result):
                    self._results.setdefault(key_of(tensor), (made, index))
            self.targets.update(key_of(t) for t in made.targets if isinstance(t, tf.Tensor))
            if made.is_tape:
                self.behind_tapes |= ops_behind(made.targets)

    def of(self, op: Any) -> list[GradientCall]:
        """The calls of the gradient function of `op`."""
        return self._calls.get(op, [])

    def in_differentiation(self, made: Differentiation) -> list[GradientCall]:
        """The calls of one differentiation."""
        return self._calls_of[made]

    def find(self, number: int) -> GradientCall | None:
        """The call that made the op created as number `number`; None where none did."""
        found: GradientCall | None = self._ranges.find(number)
        return found

    def result(self, op: Any, index: int) -> tuple[Differentiation, int] | None:
        """The differentiation that returned output `index` of `op`, and its number; or None."""
        return self._results.get((op, index))

    def is_differentiated(self, op: Any) -> bool:
        """Whether a derivative goes back through `op`."""
        if op in self.behind_tapes:
            return True
        return any(u is not None for call in self.of(op) for u in call.upstream)

    def sources_of(self, op: Any) -> list[Any]:
        """The ops whose kinds must be known before those of `op`, besides its inputs'."""
        found = [self._results.get((op, i)) for i in range(len(op.outputs))]
        return [
            t.op
            for made in found
            if made is not None
            for t in made[0].targets
            if isinstance(t, tf.Tensor)
        ]
