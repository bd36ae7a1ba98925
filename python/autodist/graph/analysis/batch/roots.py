"""Decides which tensors are split over the replicas.

A root is a placeholder or an iterator's output whose first dimension is unknown. A tensor for which
the user gives the dimension of the batch is a root, too. A tensor that an op needs whole is not
(`unsplittable`).
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from autodist.errors import UnsupportedGraphError
from autodist.graph.analysis.batch.decisions import Obstacle
from autodist.graph.analysis.batch.dependence import LOCAL, Dependence
from autodist.graph.analysis.batch.unsplittable import (
    DATA_SOURCES,
    is_list,
    linked,
    meets_known_rows,
    takes_whole,
    writes_rows,
)
from autodist.graph.original.observed.observer import Observer


class Roots:
    """Finds the roots of a graph, and drops those that something needs whole.

    Args:
      batch: knows what depends on the roots.
      observer: recorded gradients and optimizers while the graph was built.
      obstacles: by update that is not made once: why.

    Attributes:
      fed_whole: tensors that look like roots, and the op for which they are not split.
    """

    def __init__(
        self, batch: Dependence, observer: Observer, obstacles: dict[Any, Obstacle]
    ) -> None:
        self._batch = batch
        self._observer = observer
        self._obstacles = obstacles
        self.fed_whole: list[tuple[Any, Any]] = []

    def find(self, ops: list[Any]) -> None:
        """Finds the roots among the outputs of new ops."""
        batch = self._batch
        for op in ops:
            for tensor in op.outputs if op.type in DATA_SOURCES else ():
                if batch.is_asked(tensor):
                    batch.add_root(tensor)
                elif self._observer.sparse_feeds:
                    continue
                elif is_list(tensor):
                    self.fed_whole.append((tensor, tensor.consumers()[0]))
                else:
                    batch.add_root(tensor)
        # Any other tensor that does not come from a root is one if the user says so: a queue's
        # output, a constant.
        asked = [t for op in ops if op.type not in DATA_SOURCES for t in op.outputs]
        asked = [t for t in asked if batch.is_asked(t)]
        if asked:
            batch.spread(ops)
        for tensor in asked:
            if not batch.mask(tensor.op):
                batch.add_root(tensor)

    def drop_unsplittable(self, ops: list[Any]) -> None:
        """Drops the roots that a new op needs whole, and those that are used together with them."""
        batch = self._batch
        batch.spread(ops)
        trained = self._trained()
        takers = [op for op in ops if takes_whole(op) or meets_known_rows(op, self._depends)]
        # A tensor that only fills a variable, such as its initial value, may have any number of
        # rows.
        takers += [
            op
            for op in ops
            if writes_rows(op) and not linked(batch.masks(), batch.mask(op)) & trained
        ]
        self.drop(takers, ops)

    def drop(self, takers: list[Any], ops: list[Any], *, keeps_asked: bool = True) -> bool:
        """Makes the roots that `takers` depend on whole.

        False if they depend on no root that may be dropped.

        Args:
          takers: ops that need roots whole.
          ops: the new ops.
          keeps_asked: whether to keep roots for which the user gave the dimension of the batch.

        Raises:
          UnsupportedGraphError: if a session splits one of them already.
        """
        batch = self._batch
        asked = self._asked() if keeps_asked else 0
        masks = {op: batch.mask(op) & ~(LOCAL | asked) for op in takers}
        masks = {op: mask for op, mask in masks.items() if mask}
        if not masks:
            return False
        # By set of roots that must stay whole: the op that is the reason.
        dropped: dict[int, Any] = {}
        known = batch.masks()
        for taker, mask in masks.items():
            if not any(mask & other for other in dropped):
                dropped[linked(known, mask) & ~asked] = taker
        for tensor in batch.roots:
            bit = batch.root_bit(tensor)
            taker = next((op for other, op in dropped.items() if other & bit), None)
            if taker is None:
                continue
            if not batch.is_new(tensor.op):
                self._refuse(tensor, taker)
            batch.remove_root(tensor)
            self.fed_whole.append((tensor, taker))
        batch.forget(ops)
        return True

    def _refuse(self, tensor: Any, taker: Any) -> None:
        obstacle = self._obstacles.get(taker)
        why = (
            ""
            if obstacle is None
            else f" (its value does not follow from the replicas': {obstacle})"
        )
        raise UnsupportedGraphError(
            f"op {taker.name!r} ({taker.type}) needs all of {tensor.name!r}{why}, which the "
            "session already splits over the replicas. Create the op before "
            "create_distributed_session()."
        )

    def _depends(self, tensor: Any) -> bool:
        return bool(self._batch.tensor_mask(tensor))

    def _trained(self) -> int:
        """The roots that gradients depend on."""
        batch = self._batch
        known = [b.values for b in self._observer.gradients if batch.is_known(b.values.op)]
        return functools.reduce(operator.or_, map(batch.tensor_mask, known), 0)

    def _asked(self) -> int:
        """The roots that are split because the user said so."""
        batch = self._batch
        bits = [batch.root_bit(t) for t in batch.roots if batch.is_asked(t)]
        return functools.reduce(operator.or_, bits, 0)
