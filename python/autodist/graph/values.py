"""How one tensor of the original graph is represented in the transformed graph.

    one copy, whole         pieces = [[t]]
    one per replica         pieces = [[t0], [t1]]                 varies: the values differ
    cut into shards         pieces = [[s0, s1, s2]]               grid says where they lie
    copies of shards        pieces = [[s0, s1], [s0', s1']]

`whole` and `cut` convert; what they make is kept, so that a tensor is concatenated or sliced once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.layout import Grid

if TYPE_CHECKING:
    from autodist.graph.placement import PlacedVariable


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
        self._cut: dict[tuple[int, Grid], list[Any]] = {}

    def whole(self, replica: int) -> Any:
        """The whole tensor as `replica` sees it."""
        row = self._row(replica)
        if self.grid is None:
            return self.pieces[row][0]
        if row not in self._whole:
            pieces = self.pieces[row]
            with pieces[0].graph.as_default(), tf.device(pieces[0].device), outside_of_loops():
                self._whole[row] = assemble(pieces, self.grid)
        return self._whole[row]

    def cut(self, replica: int, grid: Grid) -> list[Any]:
        """The tensor as `replica` sees it, cut into the shards of `grid`."""
        row = self._row(replica)
        if self.grid == grid:
            return self.pieces[row]
        if (row, grid) not in self._cut:
            whole = self.whole(replica)
            with whole.graph.as_default(), tf.device(whole.device), outside_of_loops():
                self._cut[row, grid] = [tf.slice(whole, b.start, b.extent) for b in grid.boxes()]
        return self._cut[row, grid]

    def _row(self, replica: int) -> int:
        return replica if len(self.pieces) > 1 else 0


def outside_of_loops() -> Any:
    """A context in which new ops have no control inputs."""
    return tf.control_dependencies(None)


def assemble(pieces: list[Any], grid: Grid, first_axis: int = 0) -> Any:
    """Concatenates the shards of `grid`, given in row-major order, to one tensor.

    Args:
      pieces: one tensor per shard.
      grid: how the tensor is cut.
      first_axis: the axis of the tensors that axis 0 of `grid` stands for.
    """
    for axis in reversed(range(len(grid.counts))):
        count = grid.counts[axis]
        if count > 1:
            pieces = [
                tf.concat(pieces[i : i + count], axis + first_axis)
                for i in range(0, len(pieces), count)
            ]
    return pieces[0]
