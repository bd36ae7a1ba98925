"""The parameter-server strategy that spreads whole variables over the devices."""

from __future__ import annotations

from autodist.strategy.base import Devices, GraphItem, Loads, Placement, Strategy
from autodist.strategy.upstream_options import SHARED, UpstreamStrategy


class PSLoadBalancing(UpstreamStrategy):
    """Every variable whole; each group goes to the server device with the fewest bytes so far.

    Its options are those of AutoDist's `PSLoadBalancing`; see `UpstreamStrategy`.
    """

    _UPSTREAM_OPTIONS = SHARED

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        loads = Loads(resource_spec.server_devices)
        placements = []
        for group in graph_item.groups:
            device = loads.add_to_least(group.size_bytes)
            placements.append(Placement(None, ((device,),), "whole, on the least loaded device"))
        return Strategy(tuple(placements))
