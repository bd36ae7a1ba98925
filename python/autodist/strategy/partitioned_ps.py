"""The parameter-server strategies that cut large variables into shards."""

from __future__ import annotations

from typing import Any

from autodist.strategy.base import (
    Devices,
    GraphItem,
    Placement,
    Strategy,
    VariableGroup,
    least_loaded,
)
from autodist.strategy.cutting import Cut, PartitioningBuilder
from autodist.strategy.foreign_options import SHARED, check_options


class PartitionedPS(PartitioningBuilder):
    """Each large variable and its slots cut into shards along one axis, spread over the server devices.

    Args:
      num_shards: shards per variable; None: one per server device, at least 2. A dimension shorter
        than that gives as many shards as it has indices.
      axis: the dimension to cut; None: the first that is longer than 1.
      min_variable_bytes: variables smaller than this stay whole.
      **options: those of AutoDist's strategy of this name; see `foreign_options`.

    Raises:
      ValueError: if `num_shards` is below 1 or `min_variable_bytes` is negative, or an option asks for something that
        is not done, such as `sync=False`.
    """

    def __init__(
        self,
        num_shards: int | None = None,
        axis: int | None = None,
        min_variable_bytes: int = 1024,
        **options: Any,
    ) -> None:
        check_options(self, SHARED, options)
        super().__init__(num_shards, axis, min_variable_bytes)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        servers = resource_spec.server_devices
        loads = dict.fromkeys(servers, 0)
        placements = []
        for group in graph_item.groups:
            cut = self._cut(group, max(2, len(servers)))
            devices = []
            for fraction in cut.fractions():
                device = least_loaded(loads)
                devices.append(device)
                loads[device] += round(group.size_bytes * fraction)
            placements.append(Placement(cut.grid, (tuple(devices),), cut.reason))
        return Strategy(tuple(placements))


class UnevenPartitionedPS(PartitionedPS):
    """Like `PartitionedPS`, with shards of different sizes.

    Where `num_shards` is None, a variable gets the smallest number of shards, 2 or more, that does not divide
    its dimension, so that the sizes differ by one; for a dimension that all smaller numbers divide, as many shards
    as `PartitionedPS` gives.
    """

    def _cut(self, group: VariableGroup, default_count: int) -> Cut:
        even = self._cutter.cut(group, default_count)
        if even.grid is None or self._cutter.num_shards is not None:
            return even
        (axis,) = even.grid.cut_axes
        dim = even.grid.shape[axis]
        count = next((n for n in range(2, dim) if dim % n), default_count)
        return self._cutter.cut(group, count)
