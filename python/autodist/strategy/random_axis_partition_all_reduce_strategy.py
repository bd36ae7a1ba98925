"""The strategy with a copy of each variable per replica, cut along a random axis."""

from __future__ import annotations

import random
from typing import Any

from autodist.strategy.base import VariableGroup
from autodist.strategy.cutting import Cut
from autodist.strategy.partitioned_all_reduce_strategy import PartitionedAR


class RandomAxisPartitionAR(PartitionedAR):
    """Like `PartitionedAR`, each variable cut along an axis drawn at random.

    Args:
      seed: of the draws; the same seed gives the same layouts for the same graph.
      num_shards: as for `PartitionedAR`.
      min_variable_bytes: as for `PartitionedAR`.
      **options: as for `PartitionedAR`.
    """

    def __init__(
        self,
        seed: int = 0,
        num_shards: int | None = None,
        min_variable_bytes: int = 1024,
        **options: Any,
    ) -> None:
        super().__init__(num_shards, None, min_variable_bytes, **options)
        self._seed = seed

    def _cut(self, group: VariableGroup, default_count: int) -> Cut:
        axes = [i for i, dim in enumerate(group.primary.shape or ()) if dim > 1]
        if not axes:
            return self._cutter.cut(group, default_count)
        # Drawn by name, so that a variable's axis does not depend on the others.
        axis = random.Random(f"{self._seed} {group.primary.name}").choice(axes)  # noqa: S311
        return self._cutter.cut(group, default_count, axis)
