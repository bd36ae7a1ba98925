"""What stands for a tensor of the original graph in the transformed one: `Value`.

    one copy, whole         pieces = [[t]]
    one per replica         pieces = [[t0], [t1]]                 varies: the values differ
    cut into shards         pieces = [[s0, s1, s2]]               grid says where they lie
    copies of shards        pieces = [[s0, s1], [s0', s1']]

`whole` and `cut` convert between them. Their results are kept: a tensor is concatenated or cut once
per device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.graph.building.ops import fast_ops
from autodist.layout import Grid

if TYPE_CHECKING:
    from autodist.graph.building.variables.placement import PlacedVariable


class Value:
    """A tensor of the original graph in the transformed one.

    Attributes:
      pieces: `pieces[replica][shard]`, tensors of the transformed graph; one or R replicas.
      grid: how it is cut; None: whole.
      varies: whether the replicas' values differ.
      local_variable: for a value read from a local variable, the variable; else None.
    """

    __slots__ = ("_cut", "_whole", "grid", "local_variable", "pieces", "varies")

    def __init__(
        self,
        pieces: list[list[Any]],
        *,
        grid: Grid | None = None,
        varies: bool = False,
        local_variable: PlacedVariable | None = None,
    ) -> None:
        self.pieces = pieces
        self.grid = grid
        self.varies = varies
        self.local_variable = local_variable
        self._whole: dict[int, Any] = {}
        self._cut: dict[tuple[int, Grid, str], list[Any]] = {}

    def whole(self, replica: int) -> Any:
        """The whole tensor as `replica` sees it."""
        row = self._row(replica)
        if self.grid is None:
            return self.pieces[row][0]
        if row not in self._whole:
            pieces = self.pieces[row]
            self._whole[row] = assemble(pieces, self.grid, pieces[0].device)
        return self._whole[row]

    def cut(self, replica: int, grid: Grid, device: str | None = None) -> list[Any]:
        """The tensor as `replica` sees it, cut into the shards of `grid`.

        Args:
          replica: the replica.
          grid: of the tensor's shape.
          device: where all shards are needed: the tensor comes there in one piece and is cut there.
            None: they are needed in several places, and the tensor is cut where it is.
        """
        row = self._row(replica)
        if self.grid == grid:
            return self.pieces[row]
        whole = self.whole(replica)
        key = (row, grid, device or whole.device)
        if key not in self._cut:
            self._cut[key] = _cut(whole, grid, device or whole.device)
        return self._cut[key]

    def _row(self, replica: int) -> int:
        return replica if len(self.pieces) > 1 else 0


def common_device(tensors: list[Any]) -> str | None:
    """The device that all `tensors` are on; None where there are several."""
    devices = {tensor.device for tensor in tensors}
    return devices.pop() if len(devices) == 1 else None


def assemble(pieces: list[Any], grid: Grid, device: str, first_axis: int = 0) -> Any:
    """Concatenates the shards of `grid`, given in row-major order, to one tensor.

    Args:
      pieces: one tensor per shard.
      grid: how the tensor is cut.
      device: where the tensor is made.
      first_axis: the axis of the tensors that axis 0 of `grid` stands for.
    """
    for axis in reversed(range(len(grid.counts))):
        count = grid.counts[axis]
        if count > 1:
            pieces = [
                fast_ops.concat(pieces[i : i + count], axis + first_axis, device)
                for i in range(0, len(pieces), count)
            ]
    return pieces[0]


def _cut(whole: Any, grid: Grid, device: str) -> list[Any]:
    """The shards of `grid` in row-major order."""
    if not fast_ops.can_split(whole):
        with whole.graph.as_default(), tf.device(device), tf.control_dependencies(None):
            return [tf.slice(whole, box.start, box.extent) for box in grid.boxes()]
    pieces = [whole]
    for axis, sizes in enumerate(grid.sizes):
        if len(sizes) > 1:
            pieces = [
                part for piece in pieces for part in fast_ops.split(piece, sizes, axis, device)
            ]
    return pieces
