"""Strategies: which layout each variable gets.

Attributes:
  PS: every variable whole, all on one device.
  PSLoadBalancing: every variable whole, spread over the devices by bytes. The default.
  PartitionedPS: each large variable and its slots cut into shards, spread over the devices.
  AllReduce: every replica has its own copy, kept equal by the mean gradient.
"""

from autodist.strategy.all_reduce import AllReduce
from autodist.strategy.base import (
    Devices,
    GraphItem,
    Placement,
    Strategy,
    StrategyBuilder,
    VariableGroup,
    VariableInfo,
)
from autodist.strategy.partitioned_ps import PartitionedPS
from autodist.strategy.ps import PS, PSLoadBalancing

__all__ = [
    "PS",
    "AllReduce",
    "Devices",
    "GraphItem",
    "PSLoadBalancing",
    "PartitionedPS",
    "Placement",
    "Strategy",
    "StrategyBuilder",
    "VariableGroup",
    "VariableInfo",
]
