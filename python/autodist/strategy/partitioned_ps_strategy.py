"""The parameter-server strategy that cuts large variables into shards."""

from __future__ import annotations

from autodist.strategy.base import Devices, GraphItem, Loads, Placement, Strategy
from autodist.strategy.cutting import PartitioningBuilder
from autodist.strategy.upstream_options import SHARED


class PartitionedPS(PartitioningBuilder):
    """Cuts each large variable and its slots along one axis, over the server devices.

    Args:
      num_shards: shards per variable; None: one per server device, at least 2. A dimension shorter
        than that gives as many shards as it has indices.
      axis: the dimension to cut; None: the first that is longer than 1.
      min_variable_bytes: variables smaller than this stay whole.
      **options: those of AutoDist's strategy of this name; see `upstream_options`.

    Raises:
      ValueError: if `num_shards` is below 1 or `min_variable_bytes` is negative, or an option asks
        for something that autodist does not do, such as `sync=False`.
    """

    _UPSTREAM_OPTIONS = SHARED

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        servers = resource_spec.server_devices
        loads = Loads(servers)
        placements = []
        for group in graph_item.groups:
            cut = self._cut(group, max(2, len(servers)))
            devices = tuple(
                loads.add_to_least(round(group.size_bytes * fraction))
                for fraction in cut.fractions()
            )
            placements.append(Placement(cut.grid, (devices,), cut.reason, cut.blocker))
        return Strategy(tuple(placements))
