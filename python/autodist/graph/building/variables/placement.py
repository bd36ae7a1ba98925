"""Asks the strategy for layouts of variables, and creates their shards and replicas."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from autodist import _log
from autodist.errors import ArgumentError
from autodist.graph.building.ops.builder import Builder
from autodist.graph.original.variables.groups import split_into_groups
from autodist.graph.original.variables.roles import LogicalVariable, Roles
from autodist.layout import Grid
from autodist.strategy import Devices, GraphItem, Placement, StrategyBuilder, VariableGroup


class Kept(enum.Enum):
    """How a variable lies where the graph overrides the strategy."""

    SHARED = "shared by all replicas"
    WHOLE = "whole"


@dataclasses.dataclass(frozen=True)
class Constraint:
    """Why the graph overrides the strategy for a variable.

    Attributes:
      kept: how the variable lies instead.
      cause: why.
    """

    kept: Kept
    cause: str

    def __str__(self) -> str:
        return f"{self.kept.value}: {self.cause}"


_LOCAL = Constraint(Kept.WHOLE, "each replica updates a copy of its own with its own values")


@dataclasses.dataclass(eq=False)
class PlacedVariable:
    """A logical variable with its shards and replicas.

    Attributes:
      logical: the variable.
      grid: how it is cut; None: whole.
      handles: `handles[replica][shard]`, handles in the transformed graph.
      is_local: whether each replica updates its own copy with its own values.
      reason: why it lies as it does.
      constraint: why the graph overrides the strategy; None where it does not.
      plain_reads: `plain_reads[replica][shard]`, the reads that wait for nothing; see `reads`.
    """

    logical: LogicalVariable
    grid: Grid | None
    handles: list[list[Any]]
    is_local: bool
    reason: str
    constraint: Constraint | None = None
    plain_reads: list[list[Any]] = dataclasses.field(default_factory=list)

    @property
    def copy_count(self) -> int:
        """Number of replicas of the variable."""
        return len(self.handles)

    @property
    def shard_count(self) -> int:
        """Number of shards of one replica."""
        return len(self.handles[0])

    def layout_row(self) -> tuple[str, str, str]:
        """The name, the layout in words, and why."""
        layout = (
            f"{_log.count(self.shard_count, 'shard')}, {_log.count(self.copy_count, 'replica')}"
        )
        if self.grid is not None:
            sizes = self.grid.sizes
            cuts = ", ".join(f"axis {axis}: {list(sizes[axis])}" for axis in self.grid.cut_axes)
            layout = f"{layout}; {cuts}"
        return self.logical.name, layout, self.reason


class Placer:
    """Places variables; called again when the graph grows."""

    def __init__(
        self, roles: Roles, builder: Builder, strategy_builder: StrategyBuilder, devices: Devices
    ) -> None:
        self._roles = roles
        self._builder = builder
        self._strategy_builder = strategy_builder
        self._devices = devices
        self.placed: dict[Any, PlacedVariable] = {}

    def place(self, variables: list[LogicalVariable], local: set[Any]) -> None:
        """Creates the shards and replicas of new `variables`.

        `local` holds handles of local ones.
        """
        shared = [v for v in variables if v.handle_op not in local]
        groups = [group for group in self._new_groups(shared) if not self._join(group)]
        item = GraphItem(tuple(map(VariableGroup, self._roles.infos(groups))))
        strategy = self._strategy_builder.build(item, self._devices)
        if len(strategy.placements) != len(groups):
            raise ArgumentError(
                f"{type(self._strategy_builder).__name__}.build returned "
                f"{len(strategy.placements)} placements for {len(groups)} groups of variables; "
                "expected one per group"
            )
        cuts = any(map(_would_cut, item.groups, strategy.placements))
        for group, variable_group, decided in zip(
            groups, item.groups, strategy.placements, strict=True
        ):
            _check(variable_group, decided, self._devices)
            placement, constraint = _constrained(variable_group, decided, cuts=cuts)
            for variable in group:
                self._create(variable, placement, is_local=False, constraint=constraint)
        copies = tuple((device,) for device in self._devices.replica_devices)
        placement = Placement(None, copies, str(_LOCAL))
        for variable in variables:
            if variable.handle_op in local:
                local_constraint = _LOCAL if cuts and variable.shape != () else None
                self._create(variable, placement, is_local=True, constraint=local_constraint)

    def _new_groups(self, shared: list[LogicalVariable]) -> list[list[LogicalVariable]]:
        """The groups of the variables `shared`, with the earlier placed variables of each group."""
        if not shared:
            return []
        earlier = [p.logical for p in self.placed.values() if not p.is_local]
        calls = self._roles.optimizer_calls()
        groups = split_into_groups(earlier + shared, self._roles.variables, calls)
        return [g for g in groups if any(v.handle_op not in self.placed for v in g)]

    def _join(self, group: list[LogicalVariable]) -> bool:
        """Places a group like the variable in it that was placed earlier (a slot made later).

        False where none was.
        """
        earlier = [v for v in group if v.handle_op in self.placed]
        if not earlier:
            return False
        model = self.placed[earlier[0].handle_op]
        devices = tuple(tuple(str(h.device) for h in row) for row in model.handles)
        reason = f"updated together with {model.logical.name!r}, which was placed earlier"
        for variable in group:
            if variable.handle_op not in self.placed:
                self._create(variable, Placement(model.grid, devices, reason), is_local=False)
        return True

    def _create(
        self,
        variable: LogicalVariable,
        placement: Placement,
        *,
        is_local: bool,
        constraint: Constraint | None = None,
    ) -> None:
        grid = placement.grid if variable.shape else None
        if grid is not None and (grid.is_whole or grid.shape != variable.shape):
            grid = None
        handles = []
        for replica, devices in enumerate(placement.devices):
            shards = enumerate(grid.boxes()) if grid else [(None, None)]
            handles.append(
                [
                    self._handle(variable, replica, shard, devices[shard or 0], box)
                    for shard, box in shards
                ]
            )
        self.placed[variable.handle_op] = PlacedVariable(
            variable, grid, handles, is_local, placement.reason, constraint
        )

    def _handle(
        self, variable: LogicalVariable, replica: int, shard: int | None, device: str, box: Any
    ) -> Any:
        name = variable.handle_op.name
        if shard is not None:
            name = f"{name}/shard_{shard}"
        if replica:
            name = f"replica_{replica}/{name}"
        shape = None if box is None else box.extent
        return self._builder.variable(variable.handle_op, name, device, shape)


def _would_cut(group: VariableGroup, placement: Placement) -> bool:
    """Whether the strategy cuts the variables, or would if they could be cut."""
    blocker = _partition_blocker(group)
    is_cut = placement.grid is not None and not placement.grid.is_whole
    return is_cut or (bool(blocker) and placement.blocker == blocker)


def _partition_blocker(group: VariableGroup) -> str:
    """Why the variables cannot be cut.

    Empty where they can, and for scalars, which nobody expects to be cut.
    """
    return "" if group.primary.shape == () else group.cannot_be_partitioned


def _constrained(
    group: VariableGroup, placement: Placement, *, cuts: bool
) -> tuple[Placement, Constraint | None]:
    """The placement as the graph allows it, and why the graph overrides the strategy.

    Variables that cannot have several copies get the first. The reason says why they cannot be cut,
    whether the strategy says it or not.

    Args:
      group: the variables.
      placement: what the strategy decided.
      cuts: whether the strategy cuts variables.
    """
    reason, devices = placement.reason, placement.devices
    constraint = None
    if len(devices) > 1 and group.cannot_be_copied:
        devices = devices[:1]
        constraint = Constraint(Kept.SHARED, group.cannot_be_copied)
        reason = str(constraint)
    blocker = _partition_blocker(group)
    if blocker and (constraint is not None or placement.blocker != blocker):
        reason = "; ".join(filter(None, [reason, f"cannot be cut: {blocker}"]))
    if blocker and cuts and constraint is None:
        constraint = Constraint(Kept.WHOLE, blocker)
    return Placement(placement.grid, devices, reason), constraint


def _check(group: VariableGroup, placement: Placement, allowed: Devices) -> None:
    name, grid = group.primary.name, placement.grid
    replica_count = len(allowed.replica_devices)
    known = {*allowed.replica_devices, *allowed.server_devices}
    if len(placement.devices) not in (1, replica_count):
        raise ArgumentError(
            f"the strategy gives variable {name!r} {len(placement.devices)} copies; expected 1, "
            f"shared by all replicas, or {replica_count}, one per replica"
        )
    shards = 1
    if grid is not None and not grid.is_whole:
        shards = grid.shard_count
        if group.cannot_be_partitioned:
            raise ArgumentError(
                f"the strategy cuts variable {name!r} into {shards} shards, but it must stay "
                f"whole: {group.cannot_be_partitioned}"
            )
        if grid.shape != group.primary.shape:
            raise ArgumentError(
                f"the strategy's grid for variable {name!r} has shape {grid.shape}; the variable "
                f"has shape {group.primary.shape}"
            )
    for devices in placement.devices:
        if len(devices) != shards:
            raise ArgumentError(
                f"the strategy gives variable {name!r} {shards} shards and {len(devices)} devices; "
                "expected one device per shard"
            )
        unknown = set(devices) - known
        if unknown:
            raise ArgumentError(
                f"the strategy places variable {name!r} on {sorted(unknown)}; the resource spec "
                f"has {sorted(known)}"
            )
