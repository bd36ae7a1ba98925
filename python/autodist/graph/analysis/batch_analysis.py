"""Decides which tensors are split, what depends on them, and what runs once or per replica.

The decisions depend on each other, so they are repeated until none changes. They are: which ops
depend on the batch (`dependence`); the kinds of tensors, and what is combined or scaled
(`splitting`); which batches are not split after all (`roots`); how updates are made
(`batch_updates`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autodist.graph.analysis.batch.batch_dims import BatchDims
from autodist.graph.analysis.batch.decisions import Decisions, Obstacle
from autodist.graph.analysis.batch.dependence import Dependence
from autodist.graph.analysis.batch.roots import Roots
from autodist.graph.analysis.gradients.splitting import Splitting
from autodist.graph.analysis.gradients.unproved import Unproved
from autodist.graph.analysis.updates.batch_updates import BatchUpdates
from autodist.graph.analysis.updates.updates_made_once import Proof
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.original.gradient_calls import GradientCalls
from autodist.graph.original.observed.observer import Observer
from autodist.graph.original.ops.order import topological
from autodist.graph.original.variables.roles import Roles


class BatchAnalysis(Dependence):
    """What varies over the replicas; grows as the graph grows.

    Args:
      roles: the variables.
      observer: recorded gradients and optimizers while the graph was built.
      replica_count: the number of replicas.
      dims: where the batch lies in tensors.
      has_own_statistics: whether batch normalisation uses the statistics of each replica's rows.

    Attributes:
      kinds: the kinds of tensors.
      updates: what is decided of the updates that depend on the batch.
      culprits: by op that needs a batch whole: the op without a rule because of which.
    """

    def __init__(
        self,
        roles: Roles,
        observer: Observer,
        replica_count: int,
        dims: BatchDims,
        *,
        has_own_statistics: bool = True,
    ) -> None:
        super().__init__(observer, dims, Decisions(), GradientCalls(observer))
        self._replica_count = replica_count
        self._splitting = Splitting(
            self, self._calls, observer, has_own_statistics=has_own_statistics
        )
        obstacles: dict[Any, Obstacle] = {}
        self._finder = Roots(self, observer, obstacles)
        self.updates = BatchUpdates(self, self.kinds, roles, observer, self._finder, obstacles)
        self._unproved = Unproved(self, self._calls, self._splitting.derivatives, observer)
        self.culprits: dict[Any, Any] = {}

    @property
    def kinds(self) -> Kinds:
        """The kinds of the graph's tensors."""
        return self._splitting.kinds

    @property
    def fed_whole(self) -> list[tuple[Any, Any]]:
        """Tensors that look like roots, and the op for which they are not split."""
        return self._finder.fed_whole

    def obstacle_to(self, tensor: Any) -> Obstacle | None:
        """Why one node's value of a tensor that varies cannot be computed.

        None if it can.
        """
        return Proof(self, self.kinds).obstacle_to(tensor)

    def is_in_unknown_order(self, tensor: Any) -> bool:
        """Whether a tensor is in the order of a gradient's rows, which is not one node's."""
        return self._unproved.is_in_unknown_order(tensor)

    def extend(self, new_ops: list[Any], settled: Iterable[Any]) -> list[Any]:
        """Analyses ops added to the original graph.

        Args:
          new_ops: the ops, in order of creation.
          settled: handle ops of the variables that exist in the transformed graph; they can no
            longer become local.

        Returns:
          The ops, each after what it depends on.

        Raises:
          UnsupportedGraphError: if an update of a variable varies in a way that has no meaning.
        """
        self.take_in(new_ops)
        self._calls.extend()
        ordered = topological(new_ops, self._calls.sources_of)
        self.updates.extend(ordered)
        self.find_loops(ordered)
        if self._replica_count > 1:
            self._finder.find(ordered)
        self._finder.drop_unsplittable(ordered)
        frozen = set(settled)
        while True:
            self._find_kinds(ordered)
            if not (self._drop_unproved(ordered) or self.updates.decide(frozen)):
                break
        self._unproved.check_orders_of_rows()
        return ordered

    def _find_kinds(self, ordered: list[Any]) -> None:
        """Finds what varies and the kinds, which depend on each other."""
        self._splitting.reset()
        self._unproved.reset()
        while True:
            self.forget(ordered)
            self.spread(ordered)
            if not self._splitting.find_kinds(ordered):
                return

    def _drop_unproved(self, ordered: list[Any]) -> bool:
        """Drops the roots on which targets of differentiations depend without a proof."""
        found = (
            self._unproved.targets()
            or self._unproved.given_gradients()
            or self._unproved.orders_of_rows()
            or self._unproved.control_flow(ordered)
        )
        self.culprits.update(found)
        return bool(found) and self._finder.drop(
            [op for op, _ in found], ordered, keeps_asked=False
        )
