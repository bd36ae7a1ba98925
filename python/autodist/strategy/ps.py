"""Parameter-server strategies that keep each variable whole."""

from __future__ import annotations

from autodist.strategy.base import (
    Devices,
    GraphItem,
    Placement,
    Strategy,
    StrategyBuilder,
    least_loaded,
)


class PS(StrategyBuilder):
    """Every variable whole, all of them on the first server device, shared by the replicas."""

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        device = resource_spec.server_devices[0]
        placement = Placement(None, ((device,),), "whole, on the first server device")
        return Strategy((placement,) * len(graph_item.groups))


class PSLoadBalancing(StrategyBuilder):
    """Every variable whole; each group goes to the server device with the fewest bytes so far."""

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        loads = dict.fromkeys(resource_spec.server_devices, 0)
        placements = []
        for group in graph_item.groups:
            device = least_loaded(loads)
            loads[device] += group.size_bytes
            placements.append(Placement(None, ((device,),), "whole, on the least loaded device"))
        return Strategy(tuple(placements))
