"""Finds the kinds of a graph's tensors, op by op, by a table of rules."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from autodist.graph.kinds.kind import (
    COUNT,
    ITEM,
    MAX,
    MIN,
    RANDOM_NUMBERS,
    READ,
    SAME,
    SIZES,
    Kind,
    merged,
    rows,
)
from autodist.graph.kinds.statistics import OF_STATISTICS
from autodist.graph.original.ops import functions, op_types, random_op_types
from autodist.graph.original.variables.roles import Key, key_of
from autodist.private_apis import tf_graphs

T = TypeVar("T")
Rule = Callable[["Kinds", Any], "list[Kind | None]"]
"""Gives the kind of each output of an op, from the kinds of its inputs."""


class Analysis(Protocol):
    """What the rules for kinds ask of the analysis of the batch."""

    def varies(self, op: Any, tensor: Any) -> bool:
        """Whether a tensor depends on the batch, as an op sees it."""

    def axis_of_root(self, tensor: Any) -> int | None:
        """The dimension along which a tensor is split; None for one that is not."""

    def is_local_read(self, op: Any) -> bool:
        """Whether an op reads a local variable."""

    def is_forward(self, op: Any) -> bool:
        """Whether an op belongs to no backward pass."""

    def is_in_loop(self, op: Any) -> bool:
        """Whether an op is in a loop of the v1 control flow."""

    def is_differentiated(self, op: Any) -> bool:
        """Whether a derivative goes back through an op."""

    @property
    def uses_own_statistics(self) -> bool:
        """Whether batch normalisation uses the statistics of each replica's sub-batch."""

    def has_own_statistics(self, op: Any) -> bool:
        """Whether each replica normalises by its own sub-batch's statistic, which `op` computes."""

    def kind_of_result(self, op: Any, index: int) -> Kind | None:
        """The kind of an output of an op of a backward pass."""

    def with_reductions(self, op: Any, found: list[Kind | None]) -> list[Kind | None]:
        """The kinds of an op's outputs after decisions on reductions, from those of its rule."""


class Kinds:
    """The kinds of the tensors of an original graph.

    Args:
      rules: by op type, a function of the kinds and an op that returns the kind of each output.
      analysis: answers what the rules ask.

    Attributes:
      analysis: answers what the rules ask.
      by_choice: for each op whose value depends on a choice, the op of that choice.
      chosen: for each op of a choice, the names of what was chosen.
      statistics: batch normalisation's statistics, and what is computed from them alone.
    """

    def __init__(self, rules: dict[str, Rule], analysis: Analysis) -> None:
        self._rules = rules
        self.analysis = analysis
        self.by_choice: dict[Any, Any] = {}
        self.chosen: dict[Any, set[str]] = {}
        self.statistics: set[Key] = set()
        self._kinds: dict[Key, Kind | None] = {}
        self._memory: dict[type, Any] = {}
        self._sizes: dict[Key, list[Any]] = {}
        self._dims: dict[Key, list[Any]] = {}
        self._taken_as_same: frozenset[int] = frozenset()
        self._whole_inputs: frozenset[Key] = frozenset()
        self._seen_as_rows: frozenset[str] = frozenset()
        self._supposed: dict[Key, Kind] = {}

    def retake(self, ordered: Iterable[Any]) -> None:
        """Finds the kinds of the outputs of `ordered`, topologically sorted ops, once more."""
        ops = list(ordered)
        for op in ops:
            self.by_choice.pop(op, None)
            self.chosen.pop(op, None)
            for tensor in op.outputs:
                key = key_of(tensor)
                self._kinds.pop(key, None)
                self._sizes.pop(key, None)
                self._dims.pop(key, None)
                self.statistics.discard(key)
        for op in ops:
            self.take(op)

    def take(self, op: Any) -> None:
        """Finds the kinds of the outputs of one op, whose inputs have theirs."""
        if not any(
            self.analysis.varies(op, t) for t in op.inputs
        ) and not self.analysis.is_local_read(op):
            for tensor in op.outputs:
                axis = self.analysis.axis_of_root(tensor)
                if axis is not None:
                    self._kinds[key_of(tensor)] = rows(axis, ())
                elif self.is_repeatable(op):
                    self._kinds[key_of(tensor)] = SAME
            if op.type != "TensorArrayV3":
                return
        if not self.analysis.is_forward(op):
            for index, tensor in enumerate(op.outputs):
                self._kinds[key_of(tensor)] = self.analysis.kind_of_result(op, index)
            return
        found = self.analysis.with_reductions(op, self.of_outputs(op))
        for tensor in op.inputs:
            if tensor.op in self.by_choice and self.analysis.varies(op, tensor):
                self.by_choice.setdefault(op, self.by_choice[tensor.op])
        for tensor, kind in zip(op.outputs, found, strict=True):
            self._kinds[key_of(tensor)] = kind
        if self.sees_statistics(op):
            self.statistics.update(key_of(t) for t in op.outputs)

    def of_outputs(self, op: Any, taken_as_same: Iterable[int] = ()) -> list[Kind | None]:
        """The kinds that the rule for `op` gives its outputs.

        Args:
          op: an op whose inputs have their kinds.
          taken_as_same: the numbers of inputs to take for such that all replicas share.
        """
        self._taken_as_same = frozenset(taken_as_same)
        self._whole_inputs = frozenset(
            key_of(t) for i, t in enumerate(op.inputs) if self.of(op, i) == SAME
        )
        try:
            return self._of_outputs(op)
        finally:
            self._taken_as_same = frozenset()

    def _of_outputs(self, op: Any) -> list[Kind | None]:
        unknown: list[Kind | None] = [None] * len(op.outputs)
        if self.analysis.is_local_read(op):
            return [READ] * len(op.outputs)
        given = set(self.of_inputs(op))
        if (
            given <= {SAME, ITEM}
            and self.is_repeatable(op)
            and op.type not in op_types.CONTROL_FLOW
        ):
            if op.type in _OF_SIZES and op.outputs[0].dtype.is_integer and len(op.outputs) == 1:
                self._rules[op.type](self, op)
            return [ITEM if ITEM in given else SAME] * len(op.outputs)
        if random_op_types.draws(op.type, op.node_def.attr):
            self.choose(op, RANDOM_NUMBERS)
        rule = self._rules.get(op.type)
        found = unknown if rule is None else rule(self, op)
        if found == unknown and rule is not None:
            found = (
                self._rules["numbers"](self, op)
                if self._has_numbers(op)
                else self._of_merged(rule, op)
            )
        found = [self._with_each(op, k) for k in found]
        return found if op.type == "Identity" else [None if k == READ else k for k in found]

    def _with_each(self, op: Any, kind: Kind | None) -> Kind | None:
        """A kind of rows with the number per row of the batch, if the inputs have the same."""
        if kind is None or not kind.is_rows or kind.each is not None or op.type in _COUNTS_ANEW:
            return kind
        known = {k.each for k in self.of_inputs(op) if k is not None and k.is_rows}
        return rows(kind.axis, known.pop()) if len(known) == 1 else kind

    def _has_numbers(self, op: Any) -> bool:
        return any(k is not None and k.name in ("numbers", "indices") for k in self.of_inputs(op))

    def rule(self, op_type: str) -> Rule | None:
        """The rule for ops of a type."""
        return self._rules.get(op_type)

    def is_repeatable(self, op: Any) -> bool:
        """Whether copies of an op on several replicas give the same for the same inputs."""
        if tf_graphs.takes_functions(op.type):
            known = self.remembered(_Repeatable).known
            if op not in known:
                known[op] = functions.is_repeatable(op)
            return known[op]
        if random_op_types.is_stateless(op.type):
            return False
        return not op.op_def.is_stateful or functions.only_looks(op.type)

    def remembered(self, of: type[T]) -> T:
        """Returns the object of a class in which rules remember facts; there is one per class."""
        found: T = self._memory.setdefault(of, None) or of()
        self._memory[of] = found
        return found

    def of_body(self, analysis: Analysis) -> Kinds:
        """Returns empty kinds for the tensors of a function's body."""
        made = Kinds(self._rules, analysis)
        made._memory = self._memory
        return made

    def set_kind(self, tensor: Any, kind: Kind | None) -> None:
        """Notes the kind of an argument of a function."""
        self._kinds[key_of(tensor)] = kind

    def of(self, op: Any, index: int) -> Kind | None:
        """The kind of input `index` of `op`, as `op` sees it.

        `SAME` where it does not depend on the batch.
        """
        tensor = op.inputs[index]
        if self._supposed and key_of(tensor) in self._supposed:
            return self._supposed[key_of(tensor)]
        if index in self._taken_as_same or not self.analysis.varies(op, tensor):
            return SAME
        kind = self._kinds.get(key_of(tensor))
        return rows(kind.axis) if kind is not None and kind.name in self._seen_as_rows else kind

    def with_numbers_as_rows(self, rule: Rule, op: Any) -> list[Kind | None]:
        """Returns the kinds that `rule` gives if row numbers count as rows."""
        return self._with_as_rows(("numbers", "indices"), rule, op)

    def _with_as_rows(self, names: tuple[str, ...], rule: Rule, op: Any) -> list[Kind | None]:
        self._seen_as_rows = frozenset(names)
        try:
            return rule(self, op)
        finally:
            self._seen_as_rows = frozenset()

    def _of_merged(self, rule: Rule, op: Any) -> list[Kind | None]:
        """Returns the kinds that `rule` gives if all inputs that vary are rows merged in one way.

        Then the output's rows are merged in the same way, and a reduction over them is one over all
        rows.
        """
        unknown: list[Kind | None] = [None] * len(op.outputs)
        alike = {k for k in self.of_inputs(op) if k not in (SAME, SIZES)}
        kind = alike.pop() if len(alike) == 1 else None
        if kind is None or kind.name != "merged" or op.type in ("Reshape", "Shape", "ShapeN"):
            return unknown
        found = self._with_as_rows(("merged",), rule, op)
        if any(k is None for k in found):
            return unknown
        return [
            merged(k.axis, kind.outer, kind.each if op.type != "Transpose" else None)
            if k is not None and k.is_rows
            else k
            for k in found
        ]

    def of_inputs(self, op: Any) -> list[Kind | None]:
        """The kinds of all inputs of `op`."""
        return [self.of(op, index) for index in range(len(op.inputs))]

    def of_tensor(self, tensor: Any) -> Kind | None:
        """The kind of a tensor that depends on the batch."""
        return self._kinds.get(key_of(tensor))

    def joinable(self, tensor: Any) -> Kind | None:
        """The kind of a batch-dependent tensor, if the replicas' values give one node's."""
        kind = self._kinds.get(key_of(tensor))
        if kind in (MAX, MIN) and tensor.dtype.is_floating:
            # Where a value is NaN, TensorFlow's result depends on the order of the values.
            return None
        return None if kind is None or kind.is_partial else kind

    @contextlib.contextmanager
    def supposing(self, kinds: Mapping[Key, Kind]) -> Iterator[None]:
        """Supposes that tensors have these kinds, until the context is left."""
        former, self._supposed = self._supposed, {**self._supposed, **kinds}
        try:
            yield
        finally:
            self._supposed = former

    def suppose(self, op: Any, kinds: list[Kind | None]) -> None:
        """Supposes that the outputs of `op` have these kinds, in `supposing`."""
        for tensor, kind in zip(op.outputs, kinds, strict=True):
            if kind is not None:
                self._supposed[key_of(tensor)] = kind

    def choose(self, op: Any, *whats: str) -> None:
        """Records that the rule for `op` rests on `STATISTICS` or `RANDOM_NUMBERS`, not a proof."""
        self.by_choice.setdefault(op, op)
        self.chosen.setdefault(op, set()).update(whats)

    # Sizes: the vectors and scalars that hold sizes of dimensions.

    def sizes(self, tensor: Any) -> list[Any] | None:
        """The elements of sizes: each an int, `COUNT`, a shared tensor, or None.

        What all share is the key of a tensor and the number of its dimension, where that is known.

        Returns None where nothing is known of the elements.
        """
        known = self._sizes.get(key_of(tensor))
        if known is not None:
            # All replicas share the number of all rows, which is not that of their own.
            is_whole = COUNT in known and key_of(tensor) in self._whole_inputs
            return None if is_whole else known
        value = tf.get_static_value(tensor) if tensor.dtype.is_integer else None
        if value is not None and np.ndim(value) <= 1:
            return [int(v) for v in np.ravel(value)]
        return None

    def set_sizes(self, tensor: Any, sizes: list[Any]) -> None:
        """Notes the elements of a tensor of sizes."""
        self._sizes[key_of(tensor)] = sizes

    def dims(self, tensor: Any) -> list[Any]:
        """The sizes of a tensor's dimensions: an int, or a key that is equal for equal sizes."""
        found = self._dims.get(key_of(tensor)) or [None] * tensor.shape.rank
        own = [
            (key_of(tensor), i) if s is None else s for i, s in enumerate(tensor.shape.as_list())
        ]
        return [s if isinstance(s, int) else f or s for f, s in zip(found, own, strict=True)]

    def set_dims(self, tensor: Any, dims: list[Any]) -> None:
        """Notes that the sizes of a tensor's dimensions are those of others."""
        if tensor.shape.rank == len(dims):
            self._dims[key_of(tensor)] = dims

    # Batch normalisation.

    def sees_statistics(self, op: Any) -> bool:
        """Whether `op` makes a batch statistic of batch statistics and of shared values."""
        if op.type not in OF_STATISTICS:
            return False
        varying = [t for t in op.inputs if self.analysis.varies(op, t)]
        return bool(varying) and all(key_of(t) in self.statistics for t in varying)


@dataclasses.dataclass
class _Repeatable:
    """Which calls of functions are repeatable."""

    known: dict[Any, bool] = dataclasses.field(default_factory=dict)


# Op types whose outputs may have other numbers of rows than their inputs.
_COUNTS_ANEW = frozenset(
    {"Reshape", "Gather", "GatherV2", "GatherNd", "ResourceGather", "ResourceGatherNd"}
)
# Op types that make sizes of sizes.
_OF_SIZES = frozenset({"Prod", "Pack", "ConcatV2", "StridedSlice", "GatherV2", "Identity", "Cast"})
