"""The parameter-server strategy that keeps everything on one device."""

from __future__ import annotations

from typing import Any

from autodist.strategy.base import Devices, GraphItem, Placement, Strategy, StrategyBuilder
from autodist.strategy.upstream_options import SHARED, check_options


class PS(StrategyBuilder):
    """Every variable whole, all of them on the first server device, shared by the replicas.

    Args:
      *positional: options in the order of AutoDist's.
      **options: those of AutoDist's `PS`; see `upstream_options`.

    Raises:
      ValueError: if an option asks for something that autodist does not do, such as `sync=False`.
    """

    def __init__(self, *positional: Any, **options: Any) -> None:
        check_options(self, SHARED, options, positional)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        device = resource_spec.server_devices[0]
        placement = Placement(None, ((device,),), "whole, on the first server device")
        return Strategy((placement,) * len(graph_item.groups))
