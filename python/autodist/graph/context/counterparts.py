"""Remembers what stands in the transformed graph for each op and tensor of the original one."""

from __future__ import annotations

from typing import Any

from autodist.graph.analysis.batch_analysis import BatchAnalysis
from autodist.graph.building.ops.builder import Builder
from autodist.graph.building.values.means import Means
from autodist.graph.building.values.values import Value
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.original.variables.roles import Key, key_of
from autodist.layout import Grid
from autodist.private_apis import tf_graphs

Copies = list[list[Any]]
"""What an original op became, `copies[replica][shard]`: ops.

One list where all replicas share them.
"""


class Counterparts:
    """The transformed ops and values of the original ops and tensors made so far.

    Args:
      builder: of the transformed graph.
      batch: knows what differs from replica to replica.
      means: the sub-batches and the means over them.
      variables: the variables with their shards and replicas, by original `VarHandleOp`.

    Attributes:
      replica_count: the number of replicas.
    """

    def __init__(
        self,
        builder: Builder,
        batch: BatchAnalysis,
        means: Means,
        variables: dict[Any, PlacedVariable],
    ) -> None:
        self.builder = builder
        self.batch = batch
        self.means = means
        self.replica_count = len(builder.replica_devices)
        self._variables = variables
        self._copies: dict[Any, Copies] = {}
        self._values: dict[Key, Value] = {}
        self._unsplit: dict[Key, Any] = {}
        self._back_edges: dict[Key, list[tuple[Any, int, int]]] = {}

    # Variables.

    @property
    def variables(self) -> list[PlacedVariable]:
        """The variables with their shards and replicas, in order of creation."""
        return list(self._variables.values())

    def placed(self, tensor: Any) -> PlacedVariable | None:
        """The variable whose handle an original tensor is; None for any other tensor."""
        return self._variables.get(tensor.op)

    def placed_by(self, handle_op: Any) -> PlacedVariable | None:
        """The variable of an original `VarHandleOp`; None for any other op."""
        return self._variables.get(handle_op)

    # What is made.

    def is_made(self, op: Any) -> bool:
        """Whether an original op has its counterparts."""
        return op in self._copies

    def copies(self, op: Any) -> Copies:
        """What an original op became."""
        return self._copies[op]

    def value(self, tensor: Any) -> Value:
        """What stands for an original tensor; for a gradient, each replica's own value."""
        return self._values[key_of(tensor)]

    def has_value(self, tensor: Any) -> bool:
        """Whether something stands for an original tensor."""
        return key_of(tensor) in self._values

    def unsplit(self, root: Any) -> Any:
        """The transformed tensor of a root before it is split."""
        return self._unsplit[key_of(root)]

    def replicas(self, value: Value) -> list[Any]:
        """The whole tensor as each replica sees it."""
        return [value.whole(replica) for replica in range(self.replica_count)]

    def controls(self, op: Any, replica: int | None, *, without: str | None = None) -> list[Any]:
        """The transformed ops that a copy of `op` waits for.

        Args:
          op: the original op.
          replica: whose copy waits; None: the one copy, which waits for all replicas.
          without: a type of ops that it does not wait for.
        """
        found = []
        for source in op.control_inputs:
            if source.type == without:
                continue
            rows = self._copies[source]
            if replica is not None and len(rows) > 1:
                rows = [rows[replica]]
            for row in rows:
                found.extend(row)
        return found

    # Making.

    def record(
        self,
        op: Any,
        rows: Copies,
        *,
        grid: Grid | None = None,
        varies: bool = False,
        local_variable: PlacedVariable | None = None,
    ) -> None:
        """Remembers what an original op became, and that the outputs stand for the original ones.

        Args:
          op: the original op.
          rows: `rows[replica][shard]`, ops with the same outputs as `op`.
          grid: how the outputs are cut.
          varies: whether the replicas' outputs differ.
          local_variable: the local variable that the outputs were read from.
        """
        self._copies[op] = rows
        for index in range(len(op.outputs)):
            pieces = [[new.outputs[index] for new in row] for row in rows]
            self.record_value(
                op, index, Value(pieces, grid=grid, varies=varies, local_variable=local_variable)
            )

    def record_value(self, op: Any, index: int, value: Value) -> None:
        """Remembers what stands for output `index` of an original op.

        Splits the output if it is a root.
        """
        root = self.batch.root_number(op, index)
        if root is not None and not value.varies:
            self._unsplit[op, index] = value.whole(0)
            value = self.means.split(root, value.whole(0), self.batch.root_axis(root))
        self._values[op, index] = value
        for user, position, replica in self._back_edges.pop((op, index), []):
            merged = self._copies[user][replica][0]
            tf_graphs.update_input(merged, position, value.whole(replica))

    def record_ops(self, op: Any, rows: Copies) -> None:
        """Remembers what an original op became, and nothing about its outputs."""
        self._copies[op] = rows

    def replace_value(self, op: Any, index: int, value: Value) -> None:
        """Has `value` stand for output `index` of an op that was recorded."""
        self._values[op, index] = value

    def add_back_edge(self, op: Any, index: int, replica: int) -> None:
        """Sets input `index` of a copy of `op`, a loop's back edge, once its source is made."""
        key = key_of(op.inputs[index])
        self._back_edges.setdefault(key, []).append((op, index, replica))
