"""How partitioning strategies cut a variable: along which axis, and into how many shards."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from autodist.layout import Grid
from autodist.strategy.base import StrategyBuilder, VariableGroup
from autodist.strategy.upstream_options import check_options


@dataclasses.dataclass(frozen=True)
class Cut:
    """A grid, or the reason why there is none.

    Attributes:
      grid: how the variables of the group are cut; None: they stay whole.
      reason: one line that says why.
      blocker: why the variables cannot be cut although the strategy wants to; empty where nothing
        forbids it.
    """

    grid: Grid | None
    reason: str
    blocker: str = ""

    @property
    def shard_count(self) -> int:
        """Number of shards; 1 for a variable that stays whole."""
        return 1 if self.grid is None else self.grid.shard_count

    def fractions(self) -> list[float]:
        """Each shard's share of the elements."""
        if self.grid is None:
            return [1.0]
        counts = [box.element_count for box in self.grid.boxes()]
        total = sum(counts)
        return [count / total if total else 0.0 for count in counts]


@dataclasses.dataclass(frozen=True)
class Cutter:
    """The arguments that the partitioning strategies share.

    Attributes:
      num_shards: shards per variable; None: the strategy's choice.
      axis: the dimension to cut; None: the first that is longer than 1.
      min_variable_bytes: variables smaller than this stay whole.
    """

    num_shards: int | None = None
    axis: int | None = None
    min_variable_bytes: int = 1024

    def __post_init__(self) -> None:
        if self.num_shards is not None and (
            isinstance(self.num_shards, bool) or self.num_shards < 1
        ):
            raise ValueError(f"num_shards must be at least 1, got {self.num_shards}")
        if self.min_variable_bytes < 0:
            raise ValueError(
                f"min_variable_bytes must not be negative, got {self.min_variable_bytes}"
            )

    def blocker(self, group: VariableGroup) -> str:
        """Why `group` stays whole; empty when it can be cut."""
        primary = group.primary
        if group.cannot_be_partitioned:
            return group.cannot_be_partitioned
        if not primary.shape:
            return "a scalar or of unknown shape"
        if primary.size_bytes < self.min_variable_bytes:
            return f"{primary.size_bytes} bytes, below {self.min_variable_bytes}"
        return ""

    def cut(self, group: VariableGroup, default_count: int, axis: int | None = None) -> Cut:
        """Cuts the variables of `group`.

        Args:
          group: the variables.
          default_count: the number of shards where `num_shards` is None.
          axis: the dimension to cut; None: as the cutter was told.
        """
        blocker = self.blocker(group)
        if blocker:
            return Cut(None, f"whole: {blocker}", group.cannot_be_partitioned)
        shape = group.primary.shape or ()
        axis = self.axis if axis is None else axis
        if axis is None:
            axis = next((i for i, dim in enumerate(shape) if dim > 1), None)
        if axis is None or not -len(shape) <= axis < len(shape):
            return Cut(None, f"whole: shape {shape} has no axis to cut")
        axis %= len(shape)
        count = min(self.num_shards or default_count, shape[axis])
        if count < 2:
            return Cut(None, f"whole: axis {axis} of shape {shape} gives one shard")
        return Cut(Grid.along(shape, axis, count), f"{count} shards along axis {axis}")


class PartitioningBuilder(StrategyBuilder):
    """The base of the strategies that cut variables along one axis.

    Args:
      num_shards: shards per variable; None: the strategy's choice.
      axis: the dimension to cut; None: the first that is longer than 1.
      min_variable_bytes: variables smaller than this stay whole.
      **options: those of AutoDist's strategy of the same name; see `upstream_options`.

    Raises:
      ValueError: if `num_shards` is below 1 or `min_variable_bytes` is negative, or an option asks
        for something that autodist does not do.
    """

    # The names of the options of AutoDist's strategy.
    _UPSTREAM_OPTIONS: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        num_shards: int | None = None,
        axis: int | None = None,
        min_variable_bytes: int = 1024,
        **options: Any,
    ) -> None:
        check_options(self, self._UPSTREAM_OPTIONS, options)
        self._cutter = Cutter(num_shards, axis, min_variable_bytes)

    def _cut(self, group: VariableGroup, default_count: int) -> Cut:
        """How the variables of `group` are cut; `default_count` shards unless told otherwise."""
        return self._cutter.cut(group, default_count)
