"""The strategy in which every replica has a copy of each variable."""

from __future__ import annotations

from typing import Any

from autodist.strategy.base import Devices, GraphItem, Placement, Strategy, StrategyBuilder
from autodist.strategy.upstream_options import COPIED, check_options


class AllReduce(StrategyBuilder):
    """Every variable whole on every replica; the copies see the same mean gradient and stay equal.

    Args:
      *positional: options in the order of AutoDist's.
      **options: those of AutoDist's `AllReduce`; see `upstream_options`.

    Raises:
      ValueError: if an option asks for something that autodist does not do, such as
        `compressor='HorovodCompressor'`.
    """

    def __init__(self, *positional: Any, **options: Any) -> None:
        check_options(self, COPIED, options, positional)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        devices = tuple((device,) for device in resource_spec.replica_devices)
        placement = Placement(None, devices, "a whole copy on each replica")
        return Strategy((placement,) * len(graph_item.groups))
