"""Strategies: which layout each variable gets.

Attributes:
  PS: every variable whole, all on one device.
  PSLoadBalancing: every variable whole, spread over the devices by bytes. The default.
  PartitionedPS: each large variable and its slots cut into shards, spread over the devices.
  UnevenPartitionedPS: the same with shards of different sizes.
  AllReduce: every replica has its own copy, kept equal by the mean gradient.
  PartitionedAR: every replica has its own copy, cut into shards.
  RandomAxisPartitionAR: the same along an axis drawn at random.
  Parallax: variables with sparse gradients as PSLoadBalancing, the others as AllReduce.
"""

from autodist.strategy.all_reduce import (
    AllReduce,
    Parallax,
    PartitionedAR,
    RandomAxisPartitionAR,
)
from autodist.strategy.base import (
    Devices,
    GraphItem,
    Placement,
    Strategy,
    StrategyBuilder,
    VariableGroup,
    VariableInfo,
)
from autodist.strategy.partitioned_ps import PartitionedPS, UnevenPartitionedPS
from autodist.strategy.ps import PS, PSLoadBalancing

__all__ = [
    "PS",
    "AllReduce",
    "Devices",
    "GraphItem",
    "PSLoadBalancing",
    "Parallax",
    "PartitionedAR",
    "PartitionedPS",
    "Placement",
    "RandomAxisPartitionAR",
    "Strategy",
    "StrategyBuilder",
    "UnevenPartitionedPS",
    "VariableGroup",
    "VariableInfo",
]
