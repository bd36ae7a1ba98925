"""Decides what the replicas combine and scale, so that each program has one node's result.

Forward, the kinds of tensors (`kinds`) are proved op by op. A rule may not fit because an input was
reduced over the rows. Then the replicas' reductions are *combined* first, and all replicas use the
one result.

Backward, nothing is proved op by op. Let the loss have the kind `mean`: L = sum of w_r L_r for all
values of the variables, where L_r is the replica's loss and w_r its share of the rows. Then the
same holds for the derivatives, and the mean of the gradients is the gradient. Three changes let
this hold for more programs:

* a sum over rows that a derivative goes back through is *scaled*: each replica multiplies its sum
  by 1/w_r, so that their mean is the sum;
* where a combined mean m is differentiated, each replica gets the mean of the replicas' gradients
  of m, which is the derivative of L with respect to m;
* the derivative of rows, which is that of their sum, is scaled by 1/w_r where it goes to variables.

If a proof fails, these changes are undone: a batch that a loss without a kind depends on is not
split (`unproved`).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.analysis.batch.dependence import Dependence
from autodist.graph.analysis.gradients.derivatives import Derivatives, Mode
from autodist.graph.kinds.custom_gradients import has_own_gradient, is_linear
from autodist.graph.kinds.kind import COUNT, MEAN, REDUCED, SUM, Kind
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.kinds.rules import rule_table
from autodist.graph.kinds.rules.control_flow import loop_rules
from autodist.graph.original.gradient_calls import GradientCalls
from autodist.graph.original.observed.differentiations import is_number
from autodist.graph.original.observed.observer import Observer
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import Key, key_of


class Splitting:
    """Finds the kinds of a graph's tensors, and decides what is combined and scaled for them.

    Args:
      batch: knows what differs from replica to replica; holds the decisions.
      calls: the differentiations.
      observer: recorded gradients and optimizers while the graph was built.
      has_own_statistics: whether batch normalisation uses the statistics of each replica's rows.

    Attributes:
      kinds: the kinds of the graph's tensors.
      derivatives: knows the kinds of derivatives.
    """

    def __init__(
        self,
        batch: Dependence,
        calls: GradientCalls,
        observer: Observer,
        *,
        has_own_statistics: bool,
    ) -> None:
        self._batch = batch
        self._calls = calls
        self._decisions = batch.decisions
        self.uses_own_statistics = has_own_statistics
        self.kinds = Kinds(rule_table.RULES, self)
        self.derivatives = Derivatives(batch, calls, self.kinds, observer)
        self._has_changed = False

    def find_kinds(self, ordered: list[Any]) -> bool:
        """Finds the kinds of the new ops' outputs.

        Returns whether it combines or scales more than before.
        """
        decisions = self._decisions
        former = self._new(decisions.scaled)
        before = set(decisions.combined), set(decisions.shared)
        loop_rules.begin(self.kinds)
        while True:
            self._has_changed = False
            decisions.scaled -= self._new(decisions.scaled)
            decisions.combined, decisions.shared = map(set, before)
            self.kinds.retake(ordered)
            if not loop_rules.weaken(self.kinds, ordered):
                break
        for made in self._calls.differentiations:
            if self.derivatives.mode(made) is Mode.SCALED_ROWS:
                decisions.scaled.add(self.derivatives.seed(made))
        for values in self.derivatives.given_gradients():
            kind, op = self.kinds.of_tensor(values), values.op
            is_new = self._batch.is_new(op)
            if kind in REDUCED and kind != MEAN and is_new and self._can_combine(op):
                self._has_changed = self._has_changed or op not in decisions.combined
                decisions.combined.add(op)
        return self._has_changed or self._new(decisions.scaled) != former

    def reset(self) -> None:
        """Undoes the decisions on new ops."""
        decisions, is_new = self._decisions, self._batch.is_new
        decisions.combined -= self._new(decisions.combined)
        decisions.scaled -= self._new(decisions.scaled)
        decisions.shared = {pair for pair in decisions.shared if not is_new(pair[0])}
        decisions.weighted = {k: n for k, n in decisions.weighted.items() if not is_new(k[0])}

    def _new(self, ops: set[Any]) -> set[Any]:
        return {op for op in ops if self._batch.is_new(op)}

    # What the rules for kinds ask.

    def varies(self, op: Any, tensor: Any) -> bool:
        """Whether a tensor depends on the batch, as `op` sees it."""
        return self._batch.varies(op, tensor)

    def axis_of_root(self, tensor: Any) -> int | None:
        """The dimension along which a tensor is split; None for one that is not."""
        return self._batch.axis_of_root(tensor)

    def is_local_read(self, op: Any) -> bool:
        """Whether `op` reads a local variable."""
        return op.type == op_types.READ and op.inputs[0].op in self._decisions.local

    def is_forward(self, op: Any) -> bool:
        """Whether `op` belongs to no backward pass."""
        return self._batch.is_forward(op)

    def is_in_loop(self, op: Any) -> bool:
        """Whether `op` is in a loop of the v1 control flow."""
        return self._batch.is_in_loop(op)

    def is_differentiated(self, op: Any) -> bool:
        """Whether a derivative goes back through `op`."""
        return self._calls.is_differentiated(op)

    def has_own_statistics(self, op: Any) -> bool:
        """Whether each replica normalises by its own sub-batch's statistic, which `op` computes."""
        return self.uses_own_statistics and self.is_differentiated(op)

    def kind_of_result(self, op: Any, index: int) -> Kind | None:
        """The kind of an output of an op of a backward pass."""
        return self.derivatives.kind_of_result(op, index)

    def with_reductions(self, op: Any, found: list[Kind | None]) -> list[Kind | None]:
        """The kinds of an op's outputs after sums are scaled and, where needed, inputs combined."""
        if any(found[i] is None for i in self._used_forward(op)):
            found = self._with_combined_inputs(op, found)
        if has_own_gradient(op) and self.is_differentiated(op):
            is_proved = op not in self._calls.behind_tapes and all(
                is_linear(self.kinds, self._batch.ops_between(call.begin, call.end), call, found)
                for call in self._calls.of(op)
            )
            if not is_proved:
                return [None] * len(found)
        sums = [i for i in self._used_forward(op) if found[i] == SUM and is_number(op.outputs[i])]
        if sums and self._is_to_scale(op):
            return self._scale(op, found, sums)
        return found

    # Scaling.

    def _is_to_scale(self, op: Any) -> bool:
        """Whether `op` sums over rows, and a derivative goes back through the sum."""
        kinds = self.kinds.of_inputs(op)
        makes_sum = any(k is not None and (k.is_rows or k.name == "merged") for k in kinds)
        return makes_sum and self.is_differentiated(op)

    def _scale(self, op: Any, found: list[Kind | None], sums: list[int]) -> list[Kind | None]:
        """Scales the output of `op` that is a sum.

        The other outputs, if it calls a function, are not sums.
        """
        number = sums[0]
        is_clear = all(call.has_own_upstream(number) for call in self._calls.of(op))
        if len(sums) > 1 or not is_clear or not self._can_change_upstream(op):
            return [None] * len(found)
        self._decisions.scaled.add(op)
        self._decisions.scaled_outputs[op] = number
        return [MEAN if i == number else None if k == SUM else k for i, k in enumerate(found)]

    def _can_change_upstream(self, op: Any) -> bool:
        """Whether the upstream gradient of `op` can be changed for its gradient function's ops."""
        if not self._batch.is_new(op) or op in self._calls.behind_tapes:
            return False
        return not self._batch.is_in_loop(op) and all(
            not call.passes and not any(isinstance(u, tf.IndexedSlices) for u in call.upstream)
            for call in self._calls.of(op)
        )

    # Combining.

    def _with_combined_inputs(self, op: Any, found: list[Kind | None]) -> list[Kind | None]:
        indices = [i for i, k in enumerate(self.kinds.of_inputs(op)) if k in REDUCED]
        if not indices or op.type in op_types.CONTROL_FLOW - {"Switch"}:
            return found
        if self.kinds.sees_statistics(op):
            return found
        wanted = [self._sources_of_reduced(op, index) for index in indices]
        if any(w is None for w in wanted):
            return found
        better = self.kinds.of_outputs(op, indices)
        if any(better[i] is None for i in self._used_forward(op)):
            return found
        decisions = self._decisions
        for combined, shared in (w for w in wanted if w is not None):
            self._has_changed = self._has_changed or not (
                combined <= decisions.combined and shared <= decisions.shared
            )
            decisions.combined |= combined
            decisions.shared |= shared
        return better

    def _used_forward(self, op: Any) -> list[int]:
        """The outputs of `op` without those that function calls have only for the backward pass."""
        if len(op.outputs) == 1:
            return [0]
        numbers = range(len(op.outputs))
        users = [op.outputs[i].consumers() for i in numbers]
        used = [
            i
            for i in numbers
            if (op, i) in self._calls.targets or any(map(self._batch.is_forward, users[i]))
        ]
        return used or [i for i in numbers if not users[i]] or list(numbers)

    def _sources_of_reduced(
        self, op: Any, index: int
    ) -> tuple[set[Any], set[tuple[Any, Key]]] | None:
        """The tensors to combine so that all replicas have one value of input `index`.

        None where that cannot be done.
        """
        combined: set[Any] = set()
        shared: set[tuple[Any, Key]] = set()
        pending, seen = [(op, op.inputs[index])], set()
        while pending:
            user, tensor = pending.pop()
            source = tensor.op
            if (user, key_of(tensor)) in seen:
                continue
            seen.add((user, key_of(tensor)))
            if self.kinds.sizes(tensor) == [COUNT] and tensor.dtype.is_integer:
                shared.add((user, key_of(tensor)))
                continue
            behind = [
                source.inputs[i]
                for i, kind in enumerate(self.kinds.of_inputs(source))
                if kind in REDUCED
            ]
            is_new = self._batch.is_new(source)
            if behind and is_new:
                pending.extend((source, t) for t in behind)
            elif is_new and self._can_combine(source):
                combined.add(source)
            elif not is_new and not self.is_differentiated(source):
                shared.add((user, key_of(tensor)))
            else:
                return None
        if any(self._batch.is_in_loop(user) for user, _ in shared):
            return None
        return combined, shared

    def _can_combine(self, op: Any) -> bool:
        """Whether the replicas' outputs of an op that reduces rows can be combined."""
        if self._batch.is_in_loop(op) or any(self.kinds.of_tensor(t) is None for t in op.outputs):
            return False
        if not self.is_differentiated(op):
            return True
        is_mean = all(self.kinds.of_tensor(t) == MEAN for t in op.outputs)
        return is_mean and self._can_change_upstream(op)
