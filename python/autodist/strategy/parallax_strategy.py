"""The strategy that shares variables with sparse gradients and copies the others."""

from __future__ import annotations

from autodist.strategy.all_reduce_strategy import AllReduce
from autodist.strategy.base import Devices, GraphItem, Strategy
from autodist.strategy.ps_lb_strategy import PSLoadBalancing
from autodist.strategy.upstream_options import SHARED, UpstreamStrategy


class Parallax(UpstreamStrategy):
    """Variables with sparse gradients as `PSLoadBalancing` has them, all others as `AllReduce`.

    Its options are those of AutoDist's `Parallax`; see `UpstreamStrategy`.
    """

    _UPSTREAM_OPTIONS = ("chunk_size", *SHARED, "all_reduce_spec", "compressor")

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
