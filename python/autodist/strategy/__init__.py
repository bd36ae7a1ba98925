"""Strategies choose the layout of each variable.

Each lies in the module in which the earlier AutoDist project has it.

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

from autodist.strategy.all_reduce_strategy import AllReduce
from autodist.strategy.base import (
    Devices,
    GraphItem,
    Placement,
    Strategy,
    StrategyBuilder,
    VariableGroup,
    VariableInfo,
)
from autodist.strategy.parallax_strategy import Parallax
from autodist.strategy.partitioned_all_reduce_strategy import PartitionedAR
from autodist.strategy.partitioned_ps_strategy import PartitionedPS
from autodist.strategy.ps_lb_strategy import PSLoadBalancing
from autodist.strategy.ps_strategy import PS
from autodist.strategy.random_axis_partition_all_reduce_strategy import RandomAxisPartitionAR
from autodist.strategy.uneven_partition_ps_strategy import UnevenPartitionedPS

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
