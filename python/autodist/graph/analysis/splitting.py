"""Decides what the replicas combine, and which batches are not split, so that each program has one node's result.

Forward, the kinds of tensors (`kinds`) are proved op by op. Where a rule does not fit because an input was reduced
over the rows, the replicas' reductions are *combined* first and all replicas go on with the one result.

Backward nothing is proved op by op. Let the replicas' losses L_r make the loss L = sum of w_r L_r, where w_r is the
replica's share of the rows; that is what the kind `mean` says, for all values of the variables. Then the derivatives
make the derivative of L in the same way, and the mean of the gradients is the gradient. So that it holds

* a sum over rows that a derivative goes back through is *scaled*: each replica has its sum times 1 / w_r, so that
  their mean is the sum;
* where a combined mean m is differentiated, the mean of what comes back to the replicas goes on to the replicas: it is
  the derivative of L with respect to m;
* the derivative of rows, which is that of their sum, is scaled by 1 / w_r where it goes to variables.

Everything is undone where a proof fails: a batch that a loss without a kind depends on is not split.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.graph.kinds import loop_rules, rule_table
from autodist.graph.kinds.custom_gradients import has_own_gradient, is_linear
from autodist.graph.kinds.kind import COUNT, MEAN, REDUCED, SAME, SUM, Kind, Kinds
from autodist.graph.original import op_types
from autodist.graph.original.differentiations import (
    Differentiation,
    GradientCall,
    Ranges,
    is_number,
    ops_behind,
    tensors_in,
)
from autodist.graph.original.observer import Observer, find_handle_op
from autodist.graph.original.roles import Key, key_of

if TYPE_CHECKING:
    from autodist.graph.analysis.batch import BatchAnalysis

_SEEDS = frozenset({"Fill", "OnesLike"})


class Splitting:
    """What is combined and scaled; grows as the graph grows.

    Args:
      batch: what varies.
      observer: what was seen while the graph was built.

    Attributes:
      kinds: the kinds of the graph's tensors.
      combined: ops whose outputs are combined for all that take them.
      shared: by op and input: the inputs that are combined for that op alone.
      scaled: ops whose outputs each replica has times the inverse of its share.
      culprits: by target of a differentiation that is made of the whole batch: the op without a rule that forbids more.
    """

    def __init__(
        self, batch: BatchAnalysis, observer: Observer, *, has_own_statistics: bool
    ) -> None:
        self._batch = batch
        self._observer = observer
        self.uses_own_statistics = has_own_statistics
        self.kinds = Kinds(rule_table.RULES, self)
        self.combined: set[Any] = set()
        self.shared: set[tuple[Any, Key]] = set()
        self.scaled: set[Any] = set()
        self._scaled_outputs: dict[Any, int] = {}
        # By result of a differentiation with respect to rows: the number of the first op that sees it weighted.
        self.weighted: dict[Key, int] = {}
        self.culprits: dict[Any, Any] = {}
        self._ops: list[Any] = []
        self._new: set[Any] = set()
        self._calls: dict[Any, list[GradientCall]] = {}
        self._ranges = Ranges()
        self._call_count = 0
        self._differentiations: list[Differentiation] = []
        self._calls_of: dict[Differentiation, list[GradientCall]] = {}
        self._results: dict[Key, tuple[Differentiation, int]] = {}
        self._behind_tapes: set[Any] = set()
        self._targets: set[Key] = set()
        self._has_changed = False

    def take_in(self, new_ops: list[Any]) -> None:
        """Takes in what was seen of the differentiations of ops added to the original graph."""
        self._new = set(new_ops)
        for call in self._observer.gradient_calls[self._call_count :]:
            self._calls.setdefault(call.op, []).append(call)
            self._ranges.add(call)
        self._call_count = len(self._observer.gradient_calls)
        for made in self._observer.differentiations[len(self._differentiations) :]:
            self._differentiations.append(made)
            self._calls_of[made] = self._ranges.between(made.begin, made.end)
            for index, result in enumerate(made.results):
                for tensor in tensors_in(result):
                    self._results.setdefault(key_of(tensor), (made, index))
            self._targets.update(key_of(t) for t in made.targets if _is_tensor(t))
            if made.is_tape:
                self._behind_tapes |= ops_behind(made.targets)

    def extend(self, ordered: list[Any]) -> None:
        """Takes in the ops, each after what it depends on."""
        self._ops = ordered

    def sources_of(self, op: Any) -> list[Any]:
        """The ops whose kinds must be known before those of `op`, besides its inputs'."""
        found = [self._results.get((op, i)) for i in range(len(op.outputs))]
        return [
            t.op for made in found if made is not None for t in made[0].targets if _is_tensor(t)
        ]

    def find_kinds(self) -> bool:
        """Finds the kinds of the new ops' outputs; whether more is combined or scaled than before."""
        former = self.scaled & self._new
        before = set(self.combined), set(self.shared)
        loop_rules.begin(self.kinds)
        while True:
            self._has_changed = False
            self.scaled -= self._new
            self.combined, self.shared = map(set, before)
            self.kinds.retake(self._ops)
            if not loop_rules.weaken(self.kinds, self._ops):
                break
        for made in self._differentiations:
            if self._mode(made) == "scaled rows":
                self.scaled.add(self._seed(made))
        for values in self._given_gradients():
            kind, op = self.kinds.of_tensor(values), values.op
            if kind in REDUCED and kind != MEAN and op in self._new and self._can_combine(op):
                self._has_changed = self._has_changed or op not in self.combined
                self.combined.add(op)
        return self._has_changed or self.scaled & self._new != former

    def reset(self) -> None:
        """Undoes the decisions on new ops."""
        self.combined -= self._new
        self.scaled -= self._new
        self.shared = {pair for pair in self.shared if pair[0] not in self._new}
        self.weighted = {k: n for k, n in self.weighted.items() if k[0] not in self._new}

    # What the rules ask.

    def varies(self, op: Any, tensor: Any) -> bool:
        """Whether a tensor depends on the batch, as `op` sees it."""
        return self._batch.varies(op, tensor)

    def axis_of_root(self, tensor: Any) -> int | None:
        """The dimension along which a tensor is split; None for one that is not."""
        return self._batch.axis_of_root(tensor)

    def is_local_read(self, op: Any) -> bool:
        """Whether `op` reads a local variable."""
        return op.type == op_types.READ and op.inputs[0].op in self._batch.local

    def is_forward(self, op: Any) -> bool:
        """Whether `op` belongs to no backward pass."""
        return self._batch.is_forward(op)

    def is_in_loop(self, op: Any) -> bool:
        """Whether `op` is in a loop of the v1 control flow."""
        return self._batch.is_in_loop(op)

    def is_differentiated(self, op: Any) -> bool:
        """Whether a derivative goes back through `op`."""
        if op in self._behind_tapes:
            return True
        return any(u is not None for call in self._calls.get(op, ()) for u in call.upstream)

    def has_own_statistics(self, op: Any) -> bool:
        """Whether each replica normalises with the statistic that `op` computes of its own part."""
        return self.uses_own_statistics and self.is_differentiated(op)

    def with_reductions(self, op: Any, found: list[Kind | None]) -> list[Kind | None]:
        """The kinds of an op's outputs with sums scaled, and with inputs combined where its rule does not fit."""
        if any(found[i] is None for i in self._used_forward(op)):
            found = self._with_combined_inputs(op, found)
        if has_own_gradient(op) and self.is_differentiated(op):
            calls = self._calls.get(op, [])
            if op in self._behind_tapes or not all(is_linear(self._batch, c, found) for c in calls):
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
        """Scales the output of `op` that is a sum; the other outputs, if it calls a function, are not sums."""
        number = sums[0]
        is_clear = all(call.has_own_upstream(number) for call in self._calls.get(op, ()))
        if len(sums) > 1 or not is_clear or not self._can_change_upstream(op):
            return [None] * len(found)
        self.scaled.add(op)
        self._scaled_outputs[op] = number
        return [MEAN if i == number else None if k == SUM else k for i, k in enumerate(found)]

    def scaled_output(self, op: Any) -> int:
        """Which output of an op among `scaled` is scaled."""
        return self._scaled_outputs.get(op, 0)

    def _can_change_upstream(self, op: Any) -> bool:
        """Whether what comes back to `op` can be changed for the ops that its gradient function made."""
        if op not in self._new or op in self._behind_tapes or self._batch.is_in_loop(op):
            return False
        calls = self._calls.get(op, ())
        return all(
            not call.passes and not any(isinstance(u, tf.IndexedSlices) for u in call.upstream)
            for call in calls
        )

    def _seed(self, made: Differentiation) -> Any:
        """The op of the ones that a differentiation of rows begins with; None where there is no such op."""
        if len(made.targets) != 1 or made.upstream is not None or made.is_tape:
            return None
        target = made.targets[0]
        for call in self._calls.get(target.op, ()):
            first = call.upstream[target.value_index]
            if made.begin <= call.begin < made.end and isinstance(first, tf.Tensor):
                return first.op if first.op.type in _SEEDS and first.op in self._new else None
        return None

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
        for combined, shared in (w for w in wanted if w is not None):
            self._has_changed = self._has_changed or not (
                combined <= self.combined and shared <= self.shared
            )
            self.combined |= combined
            self.shared |= shared
        return better

    def _used_forward(self, op: Any) -> list[int]:
        """The outputs of `op` but for those that it has only for the backward pass, as calls of functions do."""
        if len(op.outputs) == 1:
            return [0]
        numbers = range(len(op.outputs))
        users = [op.outputs[i].consumers() for i in numbers]
        used = [
            i
            for i in numbers
            if (op, i) in self._targets or any(map(self._batch.is_forward, users[i]))
        ]
        return used or [i for i in numbers if not users[i]] or list(numbers)

    def _sources_of_reduced(
        self, op: Any, index: int
    ) -> tuple[set[Any], set[tuple[Any, Key]]] | None:
        """What to combine so that all replicas have one value of input `index`; None where that cannot be done."""
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
            if behind and source in self._new:
                pending.extend((source, t) for t in behind)
            elif source in self._new and self._can_combine(source):
                combined.add(source)
            elif source not in self._new and not self.is_differentiated(source):
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

    # What the transformer asks.

    def is_seen_combined(self, op: Any, tensor: Any) -> bool:
        """Whether `op` sees one value of `tensor`, an input, that all replicas share."""
        return tensor.op in self.combined or (op, key_of(tensor)) in self.shared

    def changed_call(self, number: int, tensor: Any) -> GradientCall | None:
        """The call whose derivative `tensor` is changed for the op created as number `number`; else None."""
        if not self.combined and not self.scaled:
            return None
        call: GradientCall | None = self._ranges.find(number)
        if call is None or key_of(tensor) not in call.upstream_keys:
            return None
        if call.op in self.combined:
            return call
        if call.op not in self.scaled:
            return None
        upstream = call.upstream[self.scaled_output(call.op)]
        return call if _is_tensor(upstream) and key_of(upstream) == key_of(tensor) else None

    def is_weighted(self, number: int, tensor: Any) -> bool:
        """Whether the op created as number `number` sees the replicas' values of `tensor` times their shares."""
        seen_from = self.weighted.get(key_of(tensor))
        return seen_from is not None and number >= seen_from

    # Derivatives.

    def _mode(self, made: Differentiation) -> str | None:
        """What the replicas' derivatives are; None where nothing is known of them.

        "mean": of a mean. "rows": of rows, each of its own. "scaled rows": of rows, times the inverse of the share.
        """
        if self._goes_through_changes(made):
            return None
        kinds = {self._kind_of_target(t) for t in made.targets}
        if kinds <= {MEAN, SAME}:
            given = made.upstream or []
            is_fixed = all(not _is_tensor(u) or not self._batch.tensor_mask(u) for u in given)
            return "mean" if is_fixed else None
        if any(k is None or not k.is_rows for k in kinds):
            return None
        if not any(_are_of_variables(made)):
            given = made.upstream or []
            are_rows = all(
                not _is_tensor(u) or self.kinds.of_tensor(u) == self.kinds.of_tensor(t)
                for u, t in zip(given, made.targets, strict=False)
            )
            return "rows" if are_rows else None
        return None if self._seed(made) is None else "scaled rows"

    def _goes_through_changes(self, made: Differentiation) -> bool:
        """Whether a derivative goes back through an op of an earlier backward pass that sees something changed."""
        batch = self._batch
        return any(
            batch.upstream_change(call.op, tensor) != (False, False)
            for call in self._calls_of[made]
            if not batch.is_forward(call.op)
            for tensor in call.op.inputs
        )

    def _kind_of_target(self, target: Any) -> Kind | None:
        if not _is_tensor(target) or not self._batch.tensor_mask(target):
            return SAME
        if target.op in self.combined:
            return SAME
        return self.kinds.of_tensor(target)

    def kind_of_result(self, op: Any, index: int) -> Kind | None:  # noqa: PLR0911 - a reason each
        """The kind of an output of an op of a backward pass: known for what a differentiation returned."""
        found = self._results.get((op, index))
        if found is None:
            return None
        made, number = found
        result, source = made.results[number], made.sources[number]
        if not isinstance(result, tf.Tensor) or find_handle_op(source) is not None:
            return None
        mode = self._mode(made)
        if mode is None or not _is_tensor(source):
            return None
        if not self._batch.tensor_mask(source):
            return SUM if mode == "rows" else MEAN
        kind = self.kinds.of_tensor(source)
        if kind is None or not kind.is_rows:
            return None
        if mode == "rows":
            return kind
        if self.is_differentiated(op):
            return None
        self.weighted[op, index] = made.end
        return kind

    def without_proof(self) -> list[tuple[Any, Any]]:
        """The targets of differentiations by variables whose gradients' mean is not one node's gradient.

        Returns pairs of the target's op and the op because of which nothing is known of it.
        """
        found = []
        for made in self._differentiations:
            of_variables = _are_of_variables(made)
            if not any(of_variables):
                continue
            mode = self._mode(made)
            if mode == "scaled rows" and self._seed(made) not in self.scaled:
                mode = None
            in_loop = any(
                self._batch.is_in_loop(t.op) and t.op.type != "Exit"
                for result, is_of_variable in zip(made.results, of_variables, strict=True)
                for t in (tensors_in(result) if is_of_variable else ())
                if t.op in self._new
            )
            for target in made.targets:
                if not _is_tensor(target) or not self._batch.tensor_mask(target):
                    continue
                if mode is None or in_loop:
                    found.append((target.op, self.culprit(target)))
        return found

    def _given_gradients(self) -> Iterator[Any]:
        """What optimizers take for gradients although no differentiation made it."""
        made = {key_of(b.values) for b in self._observer.gradients if b.handle_op is not None}
        for record in self._observer.gradients:
            values = record.values
            is_given = record.handle_op is None and key_of(values) not in made
            varies = values.op in self._new and self._batch.tensor_mask(values)
            if is_given and varies and values.op not in self.combined:
                yield values

    def given_gradients_without_proof(self) -> list[tuple[Any, Any]]:
        """The gradients made by hand whose mean over the replicas is not one node's, as `without_proof`."""
        return [
            (values.op, self.culprit(values))
            for values in self._given_gradients()
            if self.kinds.of_tensor(values) != MEAN
        ]

    def control_flow_without_proof(self) -> list[tuple[Any, Any]]:
        """The ops of branches and loops of the v1 control flow that nothing is known of, as `without_proof`.

        They cannot be computed once more for the whole batch, since their ops run or do not run together.
        """
        return [
            (op, self.culprit(op.outputs[0]))
            for op in self._ops
            if op.type in op_types.CONTROL_FLOW
            and self._batch.mask(op)
            and self._batch.is_forward(op)
            and self.kinds.of_tensor(op.outputs[0]) is None
            and not _only_checks(op)
        ]

    def culprit(self, tensor: Any) -> Any:
        """The first op, behind a tensor without a kind, of whose output no rule says the kind."""
        op = tensor.op
        seen = set()
        while op not in seen:
            seen.add(op)
            behind = [
                t.op
                for i, t in enumerate(op.inputs)
                if self.kinds.of(op, i) is None and self._batch.tensor_mask(t)
                if self._batch.is_forward(t.op)
            ]
            behind = [b for b in behind if b not in seen]
            if not behind:
                break
            op = behind[0]
        return op


def _only_checks(op: Any) -> bool:
    """Whether what `op` computes is only looked at by assertions: each replica may look at its own."""
    pending, seen = [op], set()
    while pending:
        current = pending.pop()
        if current in seen or current.type == "Assert":
            continue
        seen.add(current)
        consumers = [user for tensor in current.outputs for user in tensor.consumers()]
        if not consumers and current.type not in ("Merge", "Identity", "Switch"):
            return False
        if any(user.op_def.is_stateful and user.type != "Assert" for user in consumers):
            return False
        pending.extend(consumers)
    return True


def _is_tensor(value: Any) -> bool:
    return isinstance(value, tf.Tensor)


def _are_of_variables(made: Differentiation) -> list[bool]:
    """For each source of a differentiation: whether it is a variable with a derivative."""
    return [
        result is not None and find_handle_op(source) is not None
        for source, result in zip(made.sources, made.results, strict=True)
    ]
