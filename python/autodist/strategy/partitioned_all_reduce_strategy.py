"""The strategy in which every replica has a copy of each variable, cut into shards."""

from __future__ import annotations

from autodist.strategy.base import Devices, GraphItem, Placement, Strategy
from autodist.strategy.cutting import PartitioningBuilder
from autodist.strategy.upstream_options import COPIED


class PartitionedAR(PartitioningBuilder):
    """Every replica has a copy of every variable; large variables and slots are cut into shards.

    Args:
      num_shards: shards per variable; None: one per replica, at least 2. A dimension shorter than
        that gives as many shards as it has indices.
      axis: the dimension to cut; None: the first that is longer than 1.
      min_variable_bytes: variables smaller than this stay whole.
      **options: those of AutoDist's `PartitionedAR`; see `upstream_options`.

    Raises:
      ValueError: if `num_shards` is below 1 or `min_variable_bytes` is negative, or an option asks
        for something that autodist does not do, such as `compressor='HorovodCompressor'`.
    """

    _UPSTREAM_OPTIONS = COPIED

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        replicas = resource_spec.replica_devices
        placements = []
        for group in graph_item.groups:
            cut = self._cut(group, max(2, len(replicas)))
            devices = tuple((device,) * cut.shard_count for device in replicas)
            reason = f"on each replica: {cut.reason}"
            placements.append(Placement(cut.grid, devices, reason, cut.blocker))
        return Strategy(tuple(placements))
