"""The strategies that tests go through: all, or some by name.

Those that cut variables cut small ones too.
"""

from collections.abc import Callable
from functools import partial

from autodist.strategy import (
    PS,
    AllReduce,
    Parallax,
    PartitionedAR,
    PartitionedPS,
    PSLoadBalancing,
    RandomAxisPartitionAR,
    StrategyBuilder,
    UnevenPartitionedPS,
)

# One of each class, with as many shards as it chooses itself.
STRATEGIES: dict[str, Callable[[], StrategyBuilder]] = {
    "PS": PS,
    "PSLoadBalancing": PSLoadBalancing,
    "PartitionedPS": partial(PartitionedPS, min_variable_bytes=0),
    "UnevenPartitionedPS": partial(UnevenPartitionedPS, min_variable_bytes=0),
    "AllReduce": AllReduce,
    "PartitionedAR": partial(PartitionedAR, min_variable_bytes=0),
    "RandomAxisPartitionAR": partial(RandomAxisPartitionAR, min_variable_bytes=0),
    "Parallax": Parallax,
}

# The same, and those that cut along another axis or into more shards than there are devices.
CUTS: dict[str, Callable[[], StrategyBuilder]] = {
    **STRATEGIES,
    "PartitionedPS_7": partial(PartitionedPS, 7, min_variable_bytes=0),
    "PartitionedPS_axis_1": partial(PartitionedPS, 3, axis=1, min_variable_bytes=0),
    "PartitionedAR_3": partial(PartitionedAR, 3, min_variable_bytes=0),
    "PartitionedAR_13": partial(PartitionedAR, 13, min_variable_bytes=0),
    "RandomAxisPartitionAR_5": partial(RandomAxisPartitionAR, num_shards=5, min_variable_bytes=0),
}
