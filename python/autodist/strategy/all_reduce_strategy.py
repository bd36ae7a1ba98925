"""The strategy in which every replica has a copy of each variable."""

from __future__ import annotations

from autodist.strategy.base import Devices, GraphItem, Placement, Strategy
from autodist.strategy.upstream_options import COPIED, UpstreamStrategy


class AllReduce(UpstreamStrategy):
    """Every variable whole on every replica; the copies see the same mean gradient and stay equal.

    Its options are those of AutoDist's `AllReduce`; see `UpstreamStrategy`.
    """

    _UPSTREAM_OPTIONS = COPIED

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        devices = tuple((device,) for device in resource_spec.replica_devices)
        placement = Placement(None, devices, "a whole copy on each replica")
        return Strategy((placement,) * len(graph_item.groups))
