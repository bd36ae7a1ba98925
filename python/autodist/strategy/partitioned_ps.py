"""The parameter-server strategy that cuts large variables into shards."""

from __future__ import annotations

from autodist.layout import Grid
from autodist.strategy.base import (
    Devices,
    GraphItem,
    Placement,
    Strategy,
    StrategyBuilder,
    VariableGroup,
    least_loaded,
)


class PartitionedPS(StrategyBuilder):
    """Each large variable and its slots cut into shards along one axis, spread over the server devices.

    Args:
      num_shards: shards per variable; None: one per server device, at least 2. A dimension shorter
        than that gives as many shards as it has indices.
      axis: the dimension to cut; None: the first that is longer than 1.
      min_variable_bytes: variables smaller than this stay whole.

    Raises:
      ValueError: if `num_shards` is below 1 or `min_variable_bytes` is negative.
    """

    def __init__(
        self,
        num_shards: int | None = None,
        axis: int | None = None,
        min_variable_bytes: int = 1024,
    ) -> None:
        if num_shards is not None and num_shards < 1:
            raise ValueError(f"num_shards must be at least 1, got {num_shards}")
        if min_variable_bytes < 0:
            raise ValueError(f"min_variable_bytes must not be negative, got {min_variable_bytes}")
        self._num_shards = num_shards
        self._axis = axis
        self._min_variable_bytes = min_variable_bytes

    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """See `StrategyBuilder.build`."""
        servers = resource_spec.server_devices
        loads = dict.fromkeys(servers, 0)
        placements = []
        for group in graph_item.groups:
            grid, reason = self._cut(group, len(servers))
            devices = []
            for box in grid.boxes() if grid else (None,):
                device = least_loaded(loads)
                devices.append(device)
                fraction = (
                    1.0 if box is None or grid is None else _fraction(box.element_count, grid)
                )
                loads[device] += round(group.size_bytes * fraction)
            placements.append(Placement(grid, (tuple(devices),), reason))
        return Strategy(tuple(placements))

    def _cut(self, group: VariableGroup, server_count: int) -> tuple[Grid | None, str]:
        """The grid of `group`, or None and the reason why it stays whole."""
        primary = group.primary
        if group.cannot_be_partitioned:
            return None, f"whole: {group.cannot_be_partitioned}"
        if not primary.shape:
            return None, "whole: a scalar or of unknown shape"
        if primary.size_bytes < self._min_variable_bytes:
            return None, f"whole: {primary.size_bytes} bytes, below {self._min_variable_bytes}"
        axis = self._axis
        if axis is None:
            axis = next((i for i, d in enumerate(primary.shape) if d > 1), None)
        if axis is None or not -len(primary.shape) <= axis < len(primary.shape):
            return None, f"whole: shape {primary.shape} has no axis to cut"
        axis %= len(primary.shape)
        wanted = self._num_shards or max(2, server_count)
        count = min(wanted, primary.shape[axis])
        if count < 2:
            return None, f"whole: axis {axis} of shape {primary.shape} gives one shard"
        return Grid.along(primary.shape, axis, count), f"{count} shards along axis {axis}"


def _fraction(element_count: int, grid: Grid) -> float:
    total = sum(box.element_count for box in grid.boxes())
    return element_count / total if total else 0.0
