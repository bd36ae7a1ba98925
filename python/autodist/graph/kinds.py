"""Says how one node's value of a tensor follows from the replicas' values.

The replicas compute on consecutive parts of the batch. A tensor has a *kind* where a rule proves it:

| kind | one node's value |
|---|---|
| same | the value of any replica: all are equal |
| rows | the replicas' values, concatenated along an axis in batch order |
| mean, sum, max, min, all, any | the same reduction of the replicas' values, a mean weighted by the parts' sizes |
| read | the copies of a local variable, aggregated as the variable says |

The table of rules (`kind_rules`) is positive: the outputs of an op without a rule, or whose inputs do not fit its rule,
have no kind. Their value for the whole batch is found only by running the op on one node's values of its inputs
(`whole_values`).

Two things are chosen, not proved, and are told apart as such (`by_choice`): random numbers that each replica draws
for its rows, and batch normalisation, in which each replica uses the statistics of its own part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from autodist import tf_internals
from autodist.graph import random_ops
from autodist.graph.roles import Key, key_of

_RANDOM_STATE = frozenset({"seed", "seed2"})
COUNT = "count"
"""Stands in a list of sizes for the number of rows; see `Kinds.sizes`."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """How one node's value of a tensor follows from the replicas'.

    Attributes:
      name: one of the names in the module's table.
      axis: for rows: the dimension along which they lie.
    """

    name: str
    axis: int = 0

    @property
    def is_rows(self) -> bool:
        """Whether the replicas' values are rows of one node's value."""
        return self.name == "rows"


SAME, MEAN, SUM, READ = Kind("same"), Kind("mean"), Kind("sum"), Kind("read")
MAX, MIN, ALL, ANY = Kind("max"), Kind("min"), Kind("all"), Kind("any")


def rows(axis: int = 0) -> Kind:
    """The kind of rows that lie along `axis`."""
    return Kind("rows", axis)


Rule = Callable[["Kinds", Any], "list[Kind | None]"]


class Kinds:
    """The kinds of the tensors of an original graph.

    Args:
      rules: by op type: takes the kinds and an op, returns the kind of each output.
      varies: whether a tensor depends on the batch, as an op sees it.
      root_axis: the dimension along which a tensor is split; None for one that is not.
      is_local_read: whether an op reads a local variable.
      is_forward: whether an op belongs to no backward pass.

    Attributes:
      by_choice: by op whose value depends on a choice: the op for which something was chosen.
      statistics: batch normalisation's statistics, and what is computed from them alone.
    """

    def __init__(
        self,
        rules: dict[str, Rule],
        varies: Callable[[Any, Any], bool],
        root_axis: Callable[[Any], int | None],
        is_local_read: Callable[[Any], bool],
        is_forward: Callable[[Any], bool],
    ) -> None:
        self._rules = rules
        self._varies = varies
        self._root_axis = root_axis
        self._is_local_read = is_local_read
        self.is_forward = is_forward
        self.by_choice: dict[Any, Any] = {}
        self.statistics: set[Key] = set()
        self._kinds: dict[Key, Kind | None] = {}
        self._sizes: dict[Key, list[Any]] = {}

    def extend(self, ordered: Iterable[Any]) -> None:
        """Finds the kinds of the outputs of `ordered`, ops each after what it depends on."""
        for op in ordered:
            self._take(op)

    def _take(self, op: Any) -> None:
        if not any(self._varies(op, t) for t in op.inputs) and not self._is_local_read(op):
            for tensor in op.outputs:
                axis = self._root_axis(tensor)
                if axis is not None:
                    self._kinds[key_of(tensor)] = rows(axis)
            return
        for tensor in op.inputs:
            if tensor.op in self.by_choice and self._varies(op, tensor):
                self.by_choice[op] = self.by_choice[tensor.op]
        for tensor, kind in zip(op.outputs, self._of_outputs(op), strict=True):
            self._kinds[key_of(tensor)] = kind
        if self._sees_statistics(op):
            self.statistics.update(key_of(t) for t in op.outputs)

    def _of_outputs(self, op: Any) -> list[Kind | None]:
        unknown: list[Kind | None] = [None] * len(op.outputs)
        if self._is_local_read(op):
            return [READ] * len(op.outputs)
        if _is_deterministic(op) and all(k == SAME for k in self.of_inputs(op)):
            return [SAME] * len(op.outputs)
        if random_ops.is_stateless(op.type) or _RANDOM_STATE.issubset(op.node_def.attr):
            self.choose(op)
        rule = self._rules.get(op.type)
        found = unknown if rule is None else rule(self, op)
        return found if op.type == "Identity" else [None if k == READ else k for k in found]

    def of(self, op: Any, index: int) -> Kind | None:
        """The kind of input `index` of `op`, as `op` sees it; `SAME` where it does not depend on the batch."""
        tensor = op.inputs[index]
        return self._kinds.get(key_of(tensor)) if self._varies(op, tensor) else SAME

    def of_inputs(self, op: Any) -> list[Kind | None]:
        """The kinds of all inputs of `op`."""
        return [self.of(op, index) for index in range(len(op.inputs))]

    def of_tensor(self, tensor: Any) -> Kind | None:
        """The kind of a tensor that depends on the batch."""
        return self._kinds.get(key_of(tensor))

    def choose(self, op: Any) -> None:
        """Notes that the rule for `op` follows a choice, not a proof."""
        self.by_choice.setdefault(op, op)

    # Sizes: the vectors and scalars that hold sizes of dimensions.

    def sizes(self, tensor: Any) -> list[Any] | None:
        """The elements of a vector or scalar of sizes: an int, `COUNT`, or None for one that all replicas share.

        Returns None where nothing is known of the elements.
        """
        known = self._sizes.get(key_of(tensor))
        if known is not None:
            return known
        value = tf.get_static_value(tensor) if tensor.dtype.is_integer else None
        if value is not None and np.ndim(value) <= 1:
            return [int(v) for v in np.ravel(value)]
        return None

    def set_sizes(self, tensor: Any, sizes: list[Any]) -> None:
        """Notes the elements of a tensor of sizes."""
        self._sizes[key_of(tensor)] = sizes

    # Batch normalisation.

    def _sees_statistics(self, op: Any) -> bool:
        """Whether `op` computes, from statistics of batch normalisation and what is the same, another such."""
        if op.type not in _OF_STATISTICS:
            return False
        varying = [t for t in op.inputs if self._varies(op, t)]
        return bool(varying) and all(key_of(t) in self.statistics for t in varying)


def _is_deterministic(op: Any) -> bool:
    """Whether copies of an op on several replicas give the same for the same inputs."""
    if op.op_def.is_stateful or tf_internals.takes_functions(op.type):
        return False
    return not random_ops.is_stateless(op.type)


# fmt: off
_OF_STATISTICS = frozenset((
    "Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Neg", "Rsqrt", "Sqrt", "Reciprocal", "Inv", "Cast", "Identity",
    "StopGradient", "Squeeze", "Reshape", "ExpandDims", "Switch", "Merge", "Maximum", "Relu", "Pow", "If",
    "StatelessIf",
))
# fmt: on


def meets_rows(tensor: Any, is_forward: Callable[[Any], bool]) -> bool:
    """Whether what is computed from a statistic of the batch normalises rows of a batch.

    Args:
      tensor: a mean over the batch.
      is_forward: whether an op belongs to no backward pass.
    """
    pending, seen = list(tensor.consumers()), set()
    while pending:
        op = pending.pop()
        if op in seen or op.type not in _OF_STATISTICS or not is_forward(op):
            continue
        seen.add(op)
        for made in op.outputs:
            if op.type in ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div") and has_more_rows(op):
                return True
            pending.extend(made.consumers())
    return False


def has_more_rows(op: Any) -> bool:
    """Whether an elementwise op has an input whose first dimension is unknown."""
    return any(t.shape.rank and t.shape.as_list()[0] is None for t in op.inputs)
