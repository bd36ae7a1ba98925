"""Input and output of a strategy: pure data, no TensorFlow.

A strategy takes the variables of the original graph and the machines. For each *group* of variables
it gives the `Grid`, the number of replicas, and the devices. A group is a variable and the slot
variables that are updated with it. They are cut alike and lie on the same devices, because an
update reads them together.
"""

from __future__ import annotations

import abc
import dataclasses
import heapq
import math
from collections.abc import Sequence
from typing import Protocol

from autodist.layout import Grid


@dataclasses.dataclass(frozen=True)
class VariableInfo:
    """One logical variable as a strategy sees it.

    Attributes:
      name: the original variable's name.
      shape: full shape; None when it is not fully known.
      dtype: name of the dtype, e.g. `float32`.
      itemsize: bytes per element.
      is_trainable: whether an optimizer updates it.
      is_sparse: whether its gradient comes as `tf.IndexedSlices`.
      cannot_be_partitioned: why it must stay whole; empty when it may be cut.
      cannot_be_copied: why all replicas must share it; empty when each may have a copy. A placement
        with copies is then reduced to its first.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    itemsize: int
    is_trainable: bool
    is_sparse: bool
    cannot_be_partitioned: str = ""
    cannot_be_copied: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole variable; 0 when the shape is not known."""
        return 0 if self.shape is None else math.prod(self.shape) * self.itemsize


@dataclasses.dataclass(frozen=True)
class VariableGroup:
    """Variables that are cut and placed together: `variables[0]` and the slots of its shape."""

    variables: tuple[VariableInfo, ...]

    @property
    def primary(self) -> VariableInfo:
        """The variable whose slots the others are."""
        return self.variables[0]

    @property
    def size_bytes(self) -> int:
        """Bytes of all variables of the group."""
        return sum(v.size_bytes for v in self.variables)

    @property
    def cannot_be_partitioned(self) -> str:
        """Why the group must stay whole; empty when it may be cut."""
        return self._first_reason("cannot_be_partitioned")

    @property
    def cannot_be_copied(self) -> str:
        """Why all replicas must share the group; empty when each may have copies."""
        return self._first_reason("cannot_be_copied")

    def _first_reason(self, attribute: str) -> str:
        for v in self.variables:
            reason: str = getattr(v, attribute)
            if reason:
                return reason if v is self.primary else f"of {v.name!r}: {reason}"
        return ""


@dataclasses.dataclass(frozen=True)
class GraphItem:
    """The original graph as a strategy sees it."""

    groups: tuple[VariableGroup, ...]


class Devices(Protocol):
    """The devices a strategy may use; `autodist.cluster.spec.resource_spec.ResourceSpec` is one."""

    @property
    def replica_devices(self) -> tuple[str, ...]:
        """One device per replica, e.g. `/device:CPU:1`."""

    @property
    def server_devices(self) -> tuple[str, ...]:
        """The devices that may hold shared variables."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """The decision of a strategy for one group.

    Attributes:
      grid: how each variable of the group is cut; None: whole.
      devices: `devices[replica][shard]`. One replica: the variable is shared by all replicas of the
        computation. As many as there are replica devices: each has a copy of its own.
      reason: one line that says why, for the log and the layout table.
      blocker: the group's `cannot_be_partitioned`, where the strategy would cut the variables
        otherwise and says so in `reason`; else empty.
    """

    grid: Grid | None
    devices: tuple[tuple[str, ...], ...]
    reason: str = ""
    blocker: str = ""


@dataclasses.dataclass(frozen=True)
class Strategy:
    """The placement of each group, in the order of `GraphItem.groups`."""

    placements: tuple[Placement, ...]


class StrategyBuilder(abc.ABC):
    """Decides layouts. Subclass it to bring a strategy of your own."""

    # AutoDist programs read it: how many steps a replica may run ahead. Training is synchronous.
    _staleness = 0

    @abc.abstractmethod
    def build(self, graph_item: GraphItem, resource_spec: Devices) -> Strategy:
        """Returns one `Placement` per group of `graph_item`.

        Args:
          graph_item: the variables of the original graph, grouped.
          resource_spec: the devices.

        Returns:
          A `Strategy`. A grid must have the shape of the group's primary variable, and a group
          whose `cannot_be_partitioned` is not empty must stay whole.
        """


class Loads:
    """The bytes that each device holds so far.

    Args:
      devices: the devices, at least one.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._heap = [(0, number, device) for number, device in enumerate(devices)]

    def add_to_least(self, size_bytes: int) -> str:
        """Adds bytes to the device with the fewest, the first of equals, and returns it."""
        load, number, device = self._heap[0]
        heapq.heapreplace(self._heap, (load + size_bytes, number, device))
        return device
