"""The parameter-server strategy that keeps everything on one device."""

from __future__ import annotations

from autodist.strategy.base import Devices, GraphItem, Placement, Strategy
from autodist.strategy.upstream_options import SHARED, UpstreamStrategy


class PS(UpstreamStrategy):
    """Every variable whole, all of them on the first server device, shared by the replicas.

    Its options are those of AutoDist's `PS`; see `UpstreamStrategy`.
    """

    _UPSTREAM_OPTIONS = SHARED

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        device = resource_spec.server_devices[0]
        placement = Placement(None, ((device,),), "whole, on the first server device")
        return Strategy((placement,) * len(graph_item.groups))
