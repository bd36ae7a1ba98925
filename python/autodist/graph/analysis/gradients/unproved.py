"""Finds ops that need the whole batch: no rule proves that a split gives one node's value."""

from __future__ import annotations

from typing import Any

from autodist.errors import UnsupportedGraphError
from autodist.graph.analysis.batch.dependence import Dependence
from autodist.graph.analysis.gradients.derivatives import (
    Derivatives,
    Mode,
    are_of_variables,
    is_tensor,
)
from autodist.graph.analysis.gradients.lookups import UsesOfRows, lookups, uses_of_rows
from autodist.graph.kinds.kind import MEAN
from autodist.graph.original.gradient_calls import GradientCalls
from autodist.graph.original.observed.differentiations import tensors_in
from autodist.graph.original.observed.observer import GradientRecord, Observer
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import Key, key_of

Pairs = list[tuple[Any, Any]]
"""Ops that need the whole batch, each with the op that no rule covers."""


class Unproved:
    """Finds targets, gradients and control flow without a proof.

    Args:
      batch: knows what differs from replica to replica.
      calls: the differentiations.
      derivatives: knows the kinds of derivatives.
      observer: what was seen while the graph was built.
    """

    def __init__(
        self,
        batch: Dependence,
        calls: GradientCalls,
        derivatives: Derivatives,
        observer: Observer,
    ) -> None:
        self._batch = batch
        self._observer = observer
        self._hidden_rows: list[tuple[GradientRecord, UsesOfRows]] | None = None
        self._in_unknown_order: frozenset[Key] | None = None
        self._calls = calls
        self._derivatives = derivatives
        self._kinds = derivatives.kinds

    def reset(self) -> None:
        """Forgets what was found; call it when kinds are computed anew."""
        self._hidden_rows = None
        self._in_unknown_order = None

    def targets(self) -> Pairs:
        """The targets whose gradients by variables have a mean that is not one node's gradient."""
        batch, found = self._batch, []
        for made in self._calls.differentiations:
            of_variables = are_of_variables(made)
            if not any(of_variables):
                continue
            mode = self._derivatives.mode(made)
            scaled = batch.decisions.scaled
            if mode is Mode.SCALED_ROWS and self._derivatives.seed(made) not in scaled:
                mode = None
            in_loop = any(
                batch.is_in_loop(t.op) and t.op.type != "Exit"
                for result, is_of_variable in zip(made.results, of_variables, strict=True)
                for t in (tensors_in(result) if is_of_variable else ())
                if batch.is_new(t.op)
            )
            for target in made.targets:
                if not is_tensor(target) or not batch.tensor_mask(target):
                    continue
                if mode is None or in_loop:
                    found.append((target.op, self.culprit(target)))
        return found

    def given_gradients(self) -> Pairs:
        """The gradients made by hand whose mean over the replicas is not one node's."""
        return [
            (values.op, self.culprit(values))
            for values in self._derivatives.given_gradients()
            if self._kinds.of_tensor(values) != MEAN
        ]

    def orders_of_rows(self) -> Pairs:
        """The ops that need the rows of a gradient in one node's order, if that is not known."""
        found = []
        for record, uses in self._unordered():
            if uses.user is not None and self._batch.is_new(record.indices.op):
                found += [(uses.user, record.indices.op), (record.indices.op, record.indices.op)]
        return found

    def check_orders_of_rows(self) -> None:
        """Refuses new ops that must have rows of earlier gradients in one node's order.

        Raises:
          UnsupportedGraphError: naming the op and the gradient.
        """
        for record, uses in self._unordered():
            user = uses.user
            if user is not None and self._batch.is_new(user):
                raise UnsupportedGraphError(
                    f"op {user.name!r} ({user.type}) takes the rows of the gradient "
                    f"{record.values.name!r}, a tf.IndexedSlices whose lookups are hidden in a "
                    "loop, branch or function, so that the order of its rows is not known. Create "
                    "the op before create_distributed_session(), so that the batch is not split."
                )

    def is_in_unknown_order(self, tensor: Any) -> bool:
        """Whether a tensor is in the order of a gradient's rows, which is not one node's."""
        if self._in_unknown_order is None:
            found = (uses.unordered for _, uses in self._unordered())
            self._in_unknown_order = frozenset().union(*found)
        return key_of(tensor) in self._in_unknown_order

    def _unordered(self) -> list[tuple[GradientRecord, UsesOfRows]]:
        """The gradients of variables whose rows are not in one node's order, and their uses."""
        if self._hidden_rows is None:
            self._hidden_rows = [
                (record, uses_of_rows(record, self._batch))
                for record in self._observer.gradients
                if record.handle_op is not None
                and record.indices is not None
                and lookups(record.indices, self._batch, self._kinds) is None
            ]
        return self._hidden_rows

    def control_flow(self, ops: list[Any]) -> Pairs:
        """The ops among `ops` that belong to v1 branches and loops without a proof.

        They cannot be computed once more for the whole batch, since their ops run or do not run
        together.
        """
        return [
            (op, self.culprit(op.outputs[0]))
            for op in ops
            if op.type in op_types.CONTROL_FLOW
            and self._batch.mask(op)
            and self._batch.is_forward(op)
            and self._kinds.of_tensor(op.outputs[0]) is None
            and not _only_checks(op)
        ]

    def culprit(self, tensor: Any) -> Any:
        """Returns the op because of which a tensor has no kind: all its inputs have one."""
        op = tensor.op
        seen = set()
        while op not in seen:
            seen.add(op)
            behind = [
                t.op
                for i, t in enumerate(op.inputs)
                if self._kinds.of(op, i) is None and self._batch.tensor_mask(t)
                if self._batch.is_forward(t.op)
            ]
            behind = [b for b in behind if b not in seen]
            if not behind:
                break
            op = behind[0]
        return op


def _only_checks(op: Any) -> bool:
    """Whether only assertions use what `op` computes; each replica may assert its own."""
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
