"""Rules for the loops and branches of the v1 control flow; see `rule_table`.

What a loop carries has the kind of what enters it, if each iteration returns the same kind again.
The proof is by induction over the iterations. So each `Merge` of a loop is first assumed to have
the kind of what enters. The assumption is weakened until the kind of its `NextIteration` fits
(`weaken`). All replicas must make the same number of iterations: the condition of the loop must be
the same for all.

*Loops over rows* are the exception (`tf.map_fn` over the batch). Their counter goes from 0 in steps
of one to the number of the replica's rows. There a tensor is an *item* if it depends only on the
row of the iteration and on what all replicas share. A repeatable op makes items of items. Such a
loop may carry only the counter, tensors that it leaves unchanged, and arrays with one element for
each row.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from autodist.graph.kinds.elements import INDEX, STORE, Stores, is_batch, is_row_count, join
from autodist.graph.kinds.kind import COUNT, ITEM, SAME, SUM, Count, Kind
from autodist.graph.kinds.kinds import Kinds, Rule
from autodist.graph.kinds.rules.shapes import slice_rules

Found = list[Kind | None]

WITHIN = Kind("within")
"""In a loop over the rows: whether the iteration's number is less than the replica's row count."""
_NEXT = Kind("next")
"""In a loop over the rows: the number of the next iteration."""


@dataclasses.dataclass(frozen=True)
class Fact:
    """What is known of a tensor.

    Attributes:
      kind: its kind.
      sizes: what it holds of sizes (`Kinds.sizes`).
      units: how many rows the kind and each size count per row of the batch.
    """

    kind: Kind | None
    sizes: tuple[Any, ...] | None = None
    units: tuple[Any, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        counted = [self.kind.each if self.kind is not None else None]
        counted += [s.each if isinstance(s, Count) else None for s in self.sizes or ()]
        object.__setattr__(self, "units", tuple(counted))

    @classmethod
    def of_input(cls, kinds: Kinds, op: Any, index: int) -> Fact:
        """What is known of an input of `op`, as `op` sees it."""
        sizes = kinds.sizes(op.inputs[index])
        return cls(kinds.of(op, index), None if sizes is None else tuple(sizes))

    def join(self, other: Fact) -> Fact:
        """What is known of a tensor that is one or the other."""
        sizes = None
        if self.sizes is not None and self.sizes == other.sizes:
            pairs = zip(self.sizes, other.sizes, strict=True)
            sizes = tuple(
                COUNT if isinstance(a, Count) and a.each != b.each else a for a, b in pairs
            )
        return Fact(join(self.kind, other.kind), sizes)

    def note(self, kinds: Kinds, tensor: Any) -> Kind | None:
        """Notes the sizes of `tensor`; returns its kind."""
        if self.sizes is not None:
            kinds.set_sizes(tensor, list(self.sizes))
        return self.kind


NOTHING = Fact(None)


@dataclasses.dataclass
class Frames:
    """What is assumed of the loops of a graph.

    Attributes:
      assumed: what a loop carries, by its `Merge`.
      by_rows: the `LoopCond` ops of loops that are assumed to be loops over the rows.
      failed: those of loops that were assumed to be so, and are not.
    """

    assumed: dict[Any, Fact] = dataclasses.field(default_factory=dict)
    by_rows: set[Any] = dataclasses.field(default_factory=set)
    failed: set[Any] = dataclasses.field(default_factory=set)

    def clear(self) -> None:
        """Forgets all assumptions."""
        self.assumed.clear()
        self.by_rows.clear()
        self.failed.clear()


def begin(kinds: Kinds) -> None:
    """Forgets what was assumed of loops."""
    kinds.remembered(Frames).clear()
    kinds.remembered(Stores).clear()


def weaken(kinds: Kinds, ops: Iterable[Any]) -> bool:
    """Weakens the assumptions about loops that the kinds contradict.

    Returns whether there were any.

    Args:
      kinds: the kinds, found on the assumptions.
      ops: the ops that were taken.
    """
    frames, stores = kinds.remembered(Frames), kinds.remembered(Stores)
    merges = [op for op in ops if is_of_loop(op) and kinds.analysis.is_forward(op)]
    merges = [op for op in merges if kinds.analysis.varies(op, op.inputs[1])]
    if _has_other_loops(kinds, frames, merges):
        frames.assumed.clear()
        stores.clear()
        return True
    changed = False
    for merge in merges:
        if condition_of(merge) in frames.by_rows:
            continue
        before = frames.assumed[merge]
        frames.assumed[merge] = before.join(Fact.of_input(kinds, merge, 1))
        changed = changed or frames.assumed[merge] != before
    changed = changed or stores.has_grown
    stores.has_grown = False
    return changed


def _has_other_loops(kinds: Kinds, frames: Frames, merges: list[Any]) -> bool:
    """Whether other loops are now taken for loops over the rows."""
    before = set(frames.by_rows), set(frames.failed)
    for merge in merges:
        condition = condition_of(merge)
        if condition is None or condition in before[1]:
            continue
        kind = kinds.of_tensor(condition.outputs[0])
        if condition in before[0] and kind != WITHIN:
            frames.by_rows.discard(condition)
            frames.failed.add(condition)
        is_candidate = condition not in before[0] and kind is None
        if is_candidate and is_counter(merge) and _is_outermost(kinds, merge):
            frames.by_rows.add(condition)
    return before != (frames.by_rows, frames.failed)


def is_of_loop(op: Any) -> bool:
    """Whether `op` is the `Merge` at the entry of a loop."""
    return op.type == "Merge" and len(op.inputs) == 2 and op.inputs[1].op.type == "NextIteration"


def condition_of(merge: Any) -> Any:
    """The `LoopCond` of the loop of a `Merge`; None where it is not found."""
    for op in merge.outputs[0].consumers():
        if op.type == "Switch" and op.inputs[1].op.type == "LoopCond":
            return op.inputs[1].op
    return None


def _is_outermost(kinds: Kinds, merge: Any) -> bool:
    """Whether what a loop carries through `merge` comes from outside of all loops."""
    enter = merge.inputs[0].op
    return enter.type == "Enter" and not kinds.analysis.is_in_loop(enter.inputs[0].op)


def _origin(tensor: Any) -> Any:
    while tensor.op.type in ("Identity", "Enter"):
        tensor = tensor.op.inputs[0]
    return tensor


def _carried(merge: Any, tensor: Any) -> bool:
    """Whether a tensor is the unchanged value that enters the iteration through `merge`."""
    switch = _origin(tensor).op
    return switch.type == "Switch" and switch.inputs[0].op is merge


def is_counter(merge: Any) -> bool:
    """Whether a loop carries a number through `merge` that begins at 0 and grows by 1."""
    entered = _origin(merge.inputs[0])
    if merge.outputs[0].shape.rank != 0 or tf.get_static_value(entered) != 0:
        return False
    added = _origin(merge.inputs[1].op.inputs[0]).op
    return is_next(added, lambda tensor: _carried(merge, tensor))


def is_next(op: Any, is_number: Any) -> bool:
    """Whether `op` adds 1 to an integer tensor for which `is_number` is true."""
    if op.type not in ("Add", "AddV2") or not op.outputs[0].dtype.is_integer:
        return False
    one, other = op.inputs
    return any(
        is_number(a) and tf.get_static_value(b) == 1 for a, b in ((one, other), (other, one))
    )


# The rules.


def passes(kinds: Kinds, op: Any) -> Found:
    """The output has the kind of the input."""
    if not kinds.analysis.is_in_loop(op):
        return [None]
    return [Fact.of_input(kinds, op, 0).note(kinds, op.outputs[0])]


def merge(kinds: Kinds, op: Any) -> Found:
    """The output has the kind of what the loop carries, or of what the branches return."""
    if not is_of_loop(op):
        return _merge_branches(kinds, op)
    condition = condition_of(op)
    if condition is None or not kinds.analysis.is_in_loop(op):
        return [None, None]
    frames, entered = kinds.remembered(Frames), Fact.of_input(kinds, op, 0)
    if condition in frames.by_rows:
        is_kept = _carried(op, op.inputs[1].op.inputs[0]) or entered.kind == STORE
        if is_counter(op):
            return [INDEX, None]
        return [entered.kind if is_kept else None, None]
    fact = frames.assumed.get(op, entered).join(entered)
    frames.assumed[op] = fact
    return [fact.note(kinds, op.outputs[0]), SAME]


def _merge_branches(kinds: Kinds, op: Any) -> Found:
    """The kind of the live input, if all replicas take one branch.

    In a loop over the rows it is an item: each row may take another branch.
    """
    found = kinds.of_inputs(op)
    if kinds.analysis.is_in_loop(op) and (ITEM in found or kinds.remembered(Frames).by_rows):
        fits = set(found) <= {SAME, ITEM}
        return [ITEM if fits else None] * 2
    kind = found[0]
    for other in found[1:]:
        kind = join(kind, other)
    return [kind, SAME if kind is not None else None]


def switch(kinds: Kinds, op: Any) -> Found:
    """Both outputs have the kind of the input, if all replicas take one branch."""
    kind, predicate = kinds.of(op, 0), kinds.of(op, 1)
    is_condition = op.inputs[1].op.type == "LoopCond"
    if predicate == ITEM:
        # In a loop within an iteration everything may differ from row to row.
        kind = ITEM if kind in (SAME, ITEM) else None
    elif not (predicate == SAME or (predicate == WITHIN and is_condition)):
        kind = None
    if kind is not None:
        sizes = kinds.sizes(op.inputs[0])
        for made in op.outputs if sizes is not None else ():
            kinds.set_sizes(made, list(sizes or ()))
    return [kind] * 2


def condition(kinds: Kinds, op: Any) -> Found:
    """The output has the kind of the loop's condition."""
    kind = kinds.of(op, 0)
    return [kind if kind in (SAME, ITEM, WITHIN) else None]


def exit_(kinds: Kinds, op: Any) -> Found:
    """The output has the kind of what the loop carried in its last iteration."""
    source = op.inputs[0].op
    if source.type != "Switch" or source.inputs[1].op.type != "LoopCond":
        return [None]
    fact, predicate = Fact.of_input(kinds, op, 0), kinds.of(source, 1)
    if predicate == WITHIN:
        if fact.kind == INDEX:
            # The counter ends at the number of rows.
            fact = Fact(SUM, (Count.of(()),))
        elif fact.kind not in (SAME, STORE):
            fact = NOTHING
    elif predicate == ITEM:
        # Each row may have made another number of iterations.
        fact = Fact(ITEM if fact.kind in (SAME, ITEM) else None)
    elif predicate != SAME:
        fact = NOTHING
    return [fact.note(kinds, op.outputs[0])]


def less(kinds: Kinds, op: Any) -> Found | None:
    """Returns `WITHIN` if the op compares the iteration's number with the number of rows."""
    is_within = kinds.of(op, 0) == INDEX and is_row_count(kinds, op.inputs[1])
    return [WITHIN] if is_within else None


def next_index(kinds: Kinds, op: Any) -> Found | None:
    """Returns `_NEXT` if the op adds 1 to the iteration's number."""
    number = 0 if kinds.of(op, 0) == INDEX else 1
    is_one = kinds.of(op, number) == INDEX and tf.get_static_value(op.inputs[1 - number]) == 1
    return [_NEXT] if is_one else None


def both(kinds: Kinds, op: Any) -> Found | None:
    """Returns `WITHIN` if both inputs are `WITHIN`."""
    return [WITHIN] if kinds.of_inputs(op) == [WITHIN, WITHIN] else None


def row_by_index(kinds: Kinds, op: Any) -> Found | None:
    """Returns `ITEM` if the op takes the row with the iteration's number."""
    if not is_batch(kinds.of(op, 0)):
        return None
    if op.type == "StridedSlice":
        begin_ = op.inputs[1].op
        is_one = begin_.type == "Pack" and len(begin_.inputs) == 1 and kinds.of(begin_, 0) == INDEX
        return [ITEM] if is_one and op.get_attr("shrink_axis_mask") == 1 else None
    if op.type == "GatherV2" and (
        tf.get_static_value(op.inputs[2]) != 0 or op.get_attr("batch_dims")
    ):
        return None
    return [ITEM] if kinds.of(op, 1) == INDEX else None


def first_of(special: Any, rule: Rule) -> Rule:
    """Returns a rule that tries `special`, and uses `rule` where `special` returns None."""

    @functools.wraps(rule)
    def found(kinds: Kinds, op: Any) -> Found:
        made: Found | None = special(kinds, op)
        return rule(kinds, op) if made is None else made

    return found


RULES: dict[str, Rule] = {
    "Enter": passes,
    "NextIteration": passes,
    "Merge": merge,
    "Switch": switch,
    "LoopCond": condition,
    "Exit": exit_,
    "StridedSlice": first_of(row_by_index, slice_rules.strided_slice),
    "GatherV2": first_of(row_by_index, slice_rules.gather),
    "Gather": first_of(row_by_index, slice_rules.gather),
}
