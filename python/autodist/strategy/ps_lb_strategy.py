"""The parameter-server strategy that spreads whole variables over the devices."""

from __future__ import annotations

from typing import Any

from autodist.strategy.base import Devices, GraphItem, Loads, Placement, Strategy, StrategyBuilder
from autodist.strategy.upstream_options import SHARED, check_options


class PSLoadBalancing(StrategyBuilder):
    """Every variable whole; each group goes to the server device with the fewest bytes so far.

    Args:
      *positional: options in the order of AutoDist's.
      **options: those of AutoDist's `PSLoadBalancing`; see `upstream_options`.

    Raises:
      ValueError: if an option asks for something that autodist does not do, such as `sync=False`.
    """

    def __init__(self, *positional: Any, **options: Any) -> None:
        check_options(self, SHARED, options, positional)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        loads = Loads(resource_spec.server_devices)
        placements = []
        for group in graph_item.groups:
            device = loads.add_to_least(group.size_bytes)
            placements.append(Placement(None, ((device,),), "whole, on the least loaded device"))
        return Strategy(tuple(placements))
