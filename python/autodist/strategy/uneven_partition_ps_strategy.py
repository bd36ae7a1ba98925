"""The parameter-server strategy whose shards differ in size."""

from __future__ import annotations

from autodist.strategy.base import VariableGroup
from autodist.strategy.cutting import Cut
from autodist.strategy.partitioned_ps_strategy import PartitionedPS


class UnevenPartitionedPS(PartitionedPS):
    """Like `PartitionedPS`, with shards of different sizes.

    If `num_shards` is None, a variable gets the smallest number of shards, 2 or more, that does not
    divide its dimension. So the sizes differ by one; for a dimension that all smaller numbers
    divide, as many shards as `PartitionedPS` gives.
    """

    def _cut(self, group: VariableGroup, default_count: int) -> Cut:
        even = self._cutter.cut(group, default_count)
        if even.grid is None or self._cutter.num_shards is not None:
            return even
        (axis,) = even.grid.cut_axes
        dim = even.grid.shape[axis]
        count = next((n for n in range(2, dim) if dim % n), default_count)
        return self._cutter.cut(group, count)
