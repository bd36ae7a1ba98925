"""Asks the strategy where the variables go and creates their shards and replicas."""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist.errors import ArgumentError
from autodist.graph.builder import Builder
from autodist.graph.groups import split_into_groups
from autodist.graph.roles import LogicalVariable, Roles
from autodist.layout import Grid
from autodist.strategy import Devices, GraphItem, Placement, StrategyBuilder, VariableGroup


@dataclasses.dataclass(eq=False)
class PlacedVariable:
    """A logical variable with its shards and replicas.

    Attributes:
      logical: the variable.
      grid: how it is cut; None: whole.
      handles: `handles[replica][shard]`, handles in the transformed graph.
      is_local: whether each replica updates its own copy with its own values.
      reason: why it lies as it does.
      plain_reads: `plain_reads[replica][shard]`, the reads that wait for nothing; see `reads`.
    """

    logical: LogicalVariable
    grid: Grid | None
    handles: list[list[Any]]
    is_local: bool
    reason: str
    plain_reads: list[list[Any]] = dataclasses.field(default_factory=list)

    @property
    def copy_count(self) -> int:
        """Number of replicas of the variable."""
        return len(self.handles)

    @property
    def shard_count(self) -> int:
        """Number of shards of one replica."""
        return len(self.handles[0])


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
        """Creates the shards and replicas of new `variables`; `local` holds handles of local ones."""
        shared = [v for v in variables if v.handle_op not in local]
        groups = [group for group in self._new_groups(shared) if not self._join(group)]
        infos = [tuple(self._roles.infos(group)) for group in groups]
        item = GraphItem(tuple(VariableGroup(i) for i in infos))
        strategy = self._strategy_builder.build(item, self._devices)
        if len(strategy.placements) != len(groups):
            raise ArgumentError(
                f"{type(self._strategy_builder).__name__}.build returned {len(strategy.placements)} "
                f"placements for {len(groups)} groups of variables; expected one per group"
            )
        for group, variable_group, decided in zip(
            groups, item.groups, strategy.placements, strict=True
        ):
            _check(variable_group, decided, self._devices)
            placement = _without_copies(variable_group, decided)
            for variable in group:
                self._create(variable, placement, is_local=False)
        copies = tuple((device,) for device in self._devices.replica_devices)
        for variable in variables:
            if variable.handle_op in local:
                reason = "a copy on each replica, which updates it with its own values"
                self._create(variable, Placement(None, copies, reason), is_local=True)

    def _new_groups(self, shared: list[LogicalVariable]) -> list[list[LogicalVariable]]:
        """The groups that the variables `shared` make, with those placed earlier that they belong to."""
        if not shared:
            return []
        earlier = [p.logical for p in self.placed.values() if not p.is_local]
        calls = self._roles.optimizer_calls()
        groups = split_into_groups(earlier + shared, self._roles.variables, calls)
        return [g for g in groups if any(v.handle_op not in self.placed for v in g)]

    def _join(self, group: list[LogicalVariable]) -> bool:
        """Places a group like the variable in it that was placed earlier (a slot made later); False where none was."""
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

    def _create(self, variable: LogicalVariable, placement: Placement, *, is_local: bool) -> None:
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
            variable, grid, handles, is_local, placement.reason
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


def _without_copies(group: VariableGroup, placement: Placement) -> Placement:
    """The placement, reduced to its first copy where the variables cannot have several."""
    if len(placement.devices) == 1 or not group.cannot_be_copied:
        return placement
    reason = f"shared by all replicas: {group.cannot_be_copied}"
    return Placement(placement.grid, placement.devices[:1], reason)


def _check(group: VariableGroup, placement: Placement, allowed: Devices) -> None:
    name, grid = group.primary.name, placement.grid
    replica_count = len(allowed.replica_devices)
    known = {*allowed.replica_devices, *allowed.server_devices}
    if len(placement.devices) not in (1, replica_count):
        raise ArgumentError(
            f"the strategy gives variable {name!r} {len(placement.devices)} copies; expected 1, shared by all "
            f"replicas, or {replica_count}, one per replica"
        )
    shards = 1
    if grid is not None and not grid.is_whole:
        shards = grid.shard_count
        if group.cannot_be_partitioned:
            raise ArgumentError(
                f"the strategy cuts variable {name!r} into {shards} shards, but it must stay whole: "
                f"{group.cannot_be_partitioned}"
            )
        if grid.shape != group.primary.shape:
            raise ArgumentError(
                f"the strategy's grid for variable {name!r} has shape {grid.shape}; the variable has "
                f"shape {group.primary.shape}"
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
                f"the strategy places variable {name!r} on {sorted(unknown)}; the resource spec has {sorted(known)}"
            )
