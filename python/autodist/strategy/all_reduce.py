"""The strategies in which every replica has its own copy of every dense variable."""

from __future__ import annotations

import random
from typing import Any

from autodist.strategy.base import (
    Devices,
    GraphItem,
    Placement,
    Strategy,
    StrategyBuilder,
    VariableGroup,
)
from autodist.strategy.cutting import Cut, PartitioningBuilder
from autodist.strategy.foreign_options import COPIED, SHARED, check_options
from autodist.strategy.ps import PSLoadBalancing


class AllReduce(StrategyBuilder):
    """Every variable whole on every replica; the copies see the same mean gradient and stay equal.

    Args:
      **options: those of AutoDist's `AllReduce`; see `foreign_options`.

    Raises:
      ValueError: if an option asks for something that is not done, such as `chunk_size=128`.
    """

    def __init__(self, **options: Any) -> None:
        check_options(self, COPIED, options)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        devices = tuple((device,) for device in resource_spec.replica_devices)
        placement = Placement(None, devices, "a whole copy on each replica")
        return Strategy((placement,) * len(graph_item.groups))


class PartitionedAR(PartitioningBuilder):
    """Every replica has a copy of every variable, in which each large variable and its slots are cut into shards.

    Args:
      num_shards: shards per variable; None: one per replica, at least 2. A dimension shorter than that gives as
        many shards as it has indices.
      axis: the dimension to cut; None: the first that is longer than 1.
      min_variable_bytes: variables smaller than this stay whole.
      **options: those of AutoDist's `PartitionedAR`; see `foreign_options`.

    Raises:
      ValueError: if `num_shards` is below 1 or `min_variable_bytes` is negative, or an option asks for something that
        is not done, such as `chunk_size=128`.
    """

    def __init__(
        self,
        num_shards: int | None = None,
        axis: int | None = None,
        min_variable_bytes: int = 1024,
        **options: Any,
    ) -> None:
        check_options(self, COPIED, options)
        super().__init__(num_shards, axis, min_variable_bytes)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        replicas = resource_spec.replica_devices
        placements = []
        for group in graph_item.groups:
            cut = self._cut(group, max(2, len(replicas)))
            devices = tuple((device,) * cut.shard_count for device in replicas)
            placements.append(Placement(cut.grid, devices, f"on each replica: {cut.reason}"))
        return Strategy(tuple(placements))


class RandomAxisPartitionAR(PartitionedAR):
    """Like `PartitionedAR`, each variable cut along an axis drawn at random.

    Args:
      seed: of the draws; the same seed gives the same layouts for the same graph.
      num_shards: as for `PartitionedAR`.
      min_variable_bytes: as for `PartitionedAR`.
      **options: as for `PartitionedAR`.
    """

    def __init__(
        self,
        seed: int = 0,
        num_shards: int | None = None,
        min_variable_bytes: int = 1024,
        **options: Any,
    ) -> None:
        super().__init__(num_shards, None, min_variable_bytes, **options)
        self._seed = seed

    def _cut(self, group: VariableGroup, default_count: int) -> Cut:
        axes = [i for i, dim in enumerate(group.primary.shape or ()) if dim > 1]
        if not axes:
            return self._cutter.cut(group, default_count)
        # Drawn by name, so that a variable's axis does not depend on the others.
        axis = random.Random(f"{self._seed} {group.primary.name}").choice(axes)  # noqa: S311
        return self._cutter.cut(group, default_count, axis)


class Parallax(StrategyBuilder):
    """Variables with sparse gradients as `PSLoadBalancing` has them, all others as `AllReduce`.

    Args:
      **options: those of AutoDist's `Parallax`; see `foreign_options`.

    Raises:
      ValueError: if an option asks for something that is not done, such as `sync=False`.
    """

    def __init__(self, **options: Any) -> None:
        check_options(self, SHARED + COPIED, options)

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        sparse = [any(v.is_sparse for v in group.variables) for group in graph_item.groups]
        groups = tuple(
            g for g, is_sparse in zip(graph_item.groups, sparse, strict=True) if is_sparse
        )
        shared = iter(PSLoadBalancing().build(GraphItem(groups), resource_spec).placements)
        copied = AllReduce().build(graph_item, resource_spec).placements
        return Strategy(
            tuple(
                next(shared) if is_sparse else copy
                for copy, is_sparse in zip(copied, sparse, strict=True)
            )
        )
