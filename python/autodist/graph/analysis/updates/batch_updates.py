"""Decides how updates of variables are made whose inputs depend on the batch.

In this order, for each op that may change a variable with something that differs from replica to
replica:

1. It is *made once*, with what one node has, where that is proved (`updates_made_once`).
2. Otherwise the roots that it depends on are not split: then none of its inputs differ.
3. Where the variable declares an `aggregation`, each replica updates a copy of its own instead: the
   variable is *local*.
4. It is refused where `batch_dims` asks for the split.
"""

from __future__ import annotations

from typing import Any

from autodist.graph.analysis.batch.decisions import Obstacle
from autodist.graph.analysis.batch.dependence import Dependence
from autodist.graph.analysis.batch.roots import Roots
from autodist.graph.analysis.updates.local_variables import (
    check_can_be_local,
    check_gradient,
    refuse,
)
from autodist.graph.analysis.updates.updates_made_once import Proof
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.original.observed.observer import Observer
from autodist.graph.original.ops.functions import handle_behind, has_lasting_effect, may_write
from autodist.graph.original.variables.roles import LogicalVariable, Roles

_Refused = tuple[Any, list[LogicalVariable], "Obstacle | None"]
"""An update, the variables it writes, and why it is not made once.

None where a variable of it is local.
"""


class BatchUpdates:
    """What is decided of the updates that depend on the batch; grows as the graph grows.

    Args:
      batch: knows what depends on the batch; holds the decisions.
      kinds: the kinds of tensors.
      roles: the variables.
      observer: recorded gradients and optimizers while the graph was built.
      roots: drops roots.
      obstacles: by update that is not made once: why; filled here.
    """

    def __init__(  # noqa: PLR0917 - each is a part of the picture, and there is one call
        self,
        batch: Dependence,
        kinds: Kinds,
        roles: Roles,
        observer: Observer,
        roots: Roots,
        obstacles: dict[Any, Obstacle],
    ) -> None:
        self._batch = batch
        self._kinds = kinds
        self._roles = roles
        self._roots = roots
        self._observer = observer
        self._ops: list[Any] = []
        self.obstacles = obstacles
        self._decisions = batch.decisions
        self._per_replica: set[Any] = set()

    def extend(self, ordered: list[Any]) -> None:
        """Analyses ops added to the original graph, each after what it depends on."""
        self._ops = ordered

    def choice_behind(self, op: Any) -> Any:
        """An op that `op` depends on whose randomness or statistics differ by replica; or None."""
        choices = self._kinds.by_choice
        found = (choices.get(t.op) for t in op.inputs if self._batch.varies(op, t))
        return next((choice for choice in found if choice is not None), None)

    def in_order(self) -> list[Any]:
        """The updates that are made once among the ops taken in last, in their order."""
        return [op for op in self._ops if op in self._decisions.made_once]

    def variables_of(self, op: Any) -> list[LogicalVariable]:
        """The variables that `op` may change."""
        found = []
        for index, tensor in enumerate(op.inputs):
            variable = self._roles.variables.get(handle_behind(tensor))
            if variable is not None and may_write(op, index):
                found.append(variable)
        return found

    def decide(self, settled: set[Any]) -> bool:
        """Decides for the updates that vary; False when there was nothing to decide.

        Args:
          settled: handle ops of the variables that exist in the transformed graph; they can no
            longer become local.

        Raises:
          UnsupportedGraphError: if an update has no meaning.
        """
        writers = [(op, self.variables_of(op)) for op in self._ops if self._batch.mask(op)]
        writers = [
            (op, variables)
            for op, variables in writers
            if any(v.handle_op not in self._decisions.local for v in variables)
            or (not variables and op not in self._per_replica and has_lasting_effect(op))
        ]
        if not writers:
            return False
        proof = Proof(self._batch, self._kinds)
        proved: list[Any] = []
        refused: list[_Refused] = []
        for op, variables in writers:
            check_gradient(self._batch, op, variables)
            obstacle = proof.obstacle(op)
            if obstacle is None and not any(
                v.handle_op in self._decisions.local for v in variables
            ):
                proved.append(op)
            else:
                refused.append((op, variables, obstacle))
        if refused:
            self._refuse(refused, settled)
            self._decisions.made_once -= set(self._ops)
        else:
            self._decisions.made_once.update(proved)
        self._batch.forget(self._ops)
        return True

    def _refuse(self, refused: list[_Refused], settled: set[Any]) -> None:
        """For updates that cannot be made once, makes roots whole or variables local."""
        self.obstacles.update({op: found for op, _, found in refused if found is not None})
        undeclared = [
            r for r in refused if not r[1] or not all(v.declares_aggregation for v in r[1])
        ]
        if not undeclared:
            for each in refused:
                self._localise(*each, settled)
        elif not self._roots.drop([op for op, *_ in undeclared], self._ops):
            writing = [r for r in undeclared if r[1]]
            if writing:
                refuse(*writing[0])
            # The user asked to split all the same: each replica makes the effect, with its rows.
            self._per_replica.update(op for op, *_ in undeclared)

    def _localise(
        self,
        op: Any,
        variables: list[LogicalVariable],
        obstacle: Obstacle | None,
        settled: set[Any],
    ) -> None:
        """Makes the variables that `op` writes local."""
        for variable in variables:
            if variable.handle_op in self._decisions.local:
                continue
            is_trained = any(b.handle_op is variable.handle_op for b in self._observer.gradients)
            is_settled = variable.handle_op in settled
            check_can_be_local(variable, op, obstacle, is_settled=is_settled, is_trained=is_trained)
            self._decisions.local.add(variable.handle_op)
