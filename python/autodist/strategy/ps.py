"""Parameter-server strategies that keep each variable whole."""

from __future__ import annotations

from typing import Any

from autodist.strategy.base import (
    Devices,
    GraphItem,
    Placement,
    Strategy,
    StrategyBuilder,
    least_loaded,
)
from autodist.strategy.foreign_options import SHARED, check_options


class PS(StrategyBuilder):
    """Every variable whole, all of them on the first server device, shared by the replicas.

    Args:
      **options: those of AutoDist's `PS`; see `foreign_options`.

    Raises:
      ValueError: if an option asks for something that is not done, such as `sync=False`.
    """

    def __init__(self, **options: Any) -> None:
        check_options(self, SHARED, options)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        device = resource_spec.server_devices[0]
        placement = Placement(None, ((device,),), "whole, on the first server device")
        return Strategy((placement,) * len(graph_item.groups))


class PSLoadBalancing(StrategyBuilder):
    """Every variable whole; each group goes to the server device with the fewest bytes so far.

    Args:
      **options: those of AutoDist's `PSLoadBalancing`; see `foreign_options`.

    Raises:
      ValueError: if an option asks for something that is not done, such as `sync=False`.
    """

    def __init__(self, **options: Any) -> None:
        check_options(self, SHARED, options)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        loads = dict.fromkeys(resource_spec.server_devices, 0)
        placements = []
        for group in graph_item.groups:
            device = least_loaded(loads)
            loads[device] += group.size_bytes
            placements.append(Placement(None, ((device,),), "whole, on the least loaded device"))
        return Strategy(tuple(placements))
