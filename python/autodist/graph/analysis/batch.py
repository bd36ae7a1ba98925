"""Which tensors are split over the replicas, and what depends on them.

A *root* is a tensor whose first dimension is the batch: a placeholder or an iterator's output whose
first dimension is unknown, unless something needs all of it at once (`whole`). Each replica gets a
part of it. An op *varies* when it depends on a root: it runs once per replica and its values
differ. All other ops run once. Five things end or begin a dependence:

* a gradient's mean over the replicas does not vary; consumers created after the gradient
  see it (`observer`);
* an optimizer's update therefore does not vary;
* an update of a variable with something that varies is made once, with what one node has, where that is proved
  (`made_once`); otherwise the roots it depends on are not split, or, if the variable declares how copies become
  one value, it is *local*: each replica keeps a copy of its own, and what is read from it varies;
* saving and summaries combine the replicas' values and do not vary;
* a stack or tensor array, in which one step keeps tensors, varies when something that varies uses
  it.

Invariant: all ops of one (outermost) while loop vary or none does, for they share frames.

A varying op is remembered with the set of roots it depends on, as a bit mask: their sizes weigh its
mean. Bit 0 stands for local variables, bit i + 1 for `roots[i]`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from autodist.errors import UnsupportedGraphError
from autodist.graph.analysis.batch_dims import BatchDims
from autodist.graph.analysis.batch_updates import BatchUpdates
from autodist.graph.analysis.splitting import Splitting
from autodist.graph.analysis.unsplittable import (
    DATA_SOURCES,
    is_list,
    is_pivot,
    linked,
    meets_known_rows,
    takes_whole,
    writes_rows,
)
from autodist.graph.analysis.updates_made_once import Obstacle, Proof
from autodist.graph.original import op_types
from autodist.graph.original.differentiations import Ranges
from autodist.graph.original.observer import GradientRecord, Observer, SecondDerivative
from autodist.graph.original.order import topological
from autodist.graph.original.roles import Key, Roles, key_of
from autodist.private_apis import tf_internals

LOCAL = 1
_STEP_STORES = frozenset(
    {"StackV2", "TensorArrayV3", "TensorArrayGradV3", "TensorArrayGradWithShape"}
)
COMBINING = frozenset({"SaveV2", "SaveSlices", "Save"}) | op_types.SUMMARIES


class BatchAnalysis:
    """What varies over the replicas; grows as the graph grows.

    Attributes:
      fed_whole: tensors that look like roots, and the op for which they are not split.
      updates: what is decided of the updates that depend on the batch.
    """

    def __init__(
        self,
        roles: Roles,
        observer: Observer,
        replica_count: int,
        dims: BatchDims,
        *,
        has_own_statistics: bool = True,
    ) -> None:
        self._roles = roles
        self._observer = observer
        self._replica_count = replica_count
        self._dims = dims
        self.fed_whole: list[tuple[Any, Any]] = []
        self.splitting = Splitting(self, observer, has_own_statistics=has_own_statistics)
        self.updates = BatchUpdates(self, roles, observer)
        self._candidates: list[Any] = []
        self._axes: list[int] = []
        self._root_bits: dict[Key, int] = {}
        self._masks: dict[Any, int] = {}
        self._loops: dict[Any, str | None] = {}
        self._loop_masks: dict[str, int] = {}
        self._numbers: dict[Any, int] = {}
        self._in_order: list[Any] = []
        self._backward = Ranges()
        self._backward_count = 0
        self._seen_from: dict[Key, int] = {}
        self._new: set[Any] = set()
        self._second_derivatives: dict[Key, list[SecondDerivative]] = {}
        self._second_derivatives_of: dict[Key, list[SecondDerivative]] = {}

    @property
    def roots(self) -> list[Any]:
        """The split tensors, in order of creation."""
        return [t for t in self._candidates if key_of(t) in self._root_bits]

    def mask(self, op: Any) -> int:
        """The roots that `op` depends on; 0 when it does not vary."""
        return self._masks[op]

    def root_number(self, op: Any, index: int) -> int | None:
        """Which root output `index` of `op` is; None when it is none."""
        bit = self._root_bits.get((op, index))
        return None if bit is None else bit.bit_length() - 2

    def root_axis(self, root: int) -> int:
        """Along which dimension a root is split."""
        return self._axes[root]

    def asked_axis(self, tensor: Any) -> int | None:
        """The dimension of a tensor that the user named as the batch, or None."""
        return self._dims.axis(tensor) if self._dims.is_asked(tensor) else None

    def obstacle_to(self, tensor: Any) -> Obstacle | None:
        """What keeps one node's value of a tensor that varies from being computed; None where nothing does."""
        return Proof(self, self.splitting.kinds).obstacle_to(tensor)

    def tensor_mask(self, tensor: Any) -> int:
        """The roots that a tensor depends on."""
        return self._masks[tensor.op] | self._root_bits.get(key_of(tensor), 0)

    def varies(self, op: Any, tensor: Any) -> bool:
        """Whether `tensor`, an input of `op`, differs from replica to replica as `op` sees it."""
        return bool(self._mask_seen_by(op, tensor))

    @property
    def local(self) -> set[Any]:
        """The handle ops of the local variables."""
        return self.updates.local

    def is_new(self, op: Any) -> bool:
        """Whether `op` is of those that `extend` takes in."""
        return op in self._new

    def is_in_loop(self, op: Any) -> bool:
        """Whether an op is in a loop of the v1 control flow."""
        return self._loops[op] is not None

    def is_forward(self, op: Any) -> bool:
        """Whether no differentiation created `op`."""
        return op not in self._numbers or not self.is_of_backward_pass(op)

    def axis_of_root(self, tensor: Any) -> int | None:
        """The dimension along which a tensor is split; None for one that is not."""
        root = self.root_number(*key_of(tensor))
        return None if root is None else self._axes[root]

    def sees_mean(self, op: Any, tensor: Any) -> bool:
        """Whether `op` sees the mean of the gradient `tensor` rather than its own replica's value."""
        seen_from = self._seen_from.get(key_of(tensor))
        number = self._numbers[op]
        if seen_from is None or number < seen_from:
            return False
        inner = self._second_derivatives_of.get(key_of(tensor), ())
        return not any(r.begin <= number < r.inner_end for r in inner)

    def second_derivative(self, op: Any, tensor: Any) -> SecondDerivative | None:
        """The second derivative for which `op` takes `tensor`, a derivative with respect to a gradient; else None."""
        number = self._numbers[op]
        for second in self._second_derivatives.get(key_of(tensor), ()):
            if second.begin <= number < second.end:
                return second
        return None

    def ops_between(self, begin: int, end: int) -> list[Any]:
        """The ops created as number `begin` or later, and before number `end`."""
        return self._in_order[begin:end]

    def upstream_change(self, op: Any, tensor: Any) -> tuple[bool, bool]:
        """Whether `op`, of a backward pass, sees the mean of `tensor`, and whether it sees it scaled."""
        call = self.splitting.changed_call(self._numbers[op], tensor)
        if call is None:
            return False, False
        return call.op in self.splitting.combined, call.op in self.splitting.scaled

    def mask_of_change(self, op: Any, tensor: Any) -> int:
        """The roots whose parts weigh what `op` sees in place of `tensor`."""
        call = self.splitting.changed_call(self._numbers[op], tensor)
        assert call is not None
        return self._masks[call.op]

    def sees_weighted(self, op: Any, tensor: Any) -> bool:
        """Whether `op` sees the replicas' values of `tensor` times their shares."""
        return self.splitting.is_weighted(self._numbers[op], tensor)

    def is_of_backward_pass(self, op: Any) -> bool:
        """Whether a differentiation created `op`."""
        return self._backward.find(self._numbers[op]) is not None

    def has_own_rows(self, record: GradientRecord) -> bool:
        """Whether each replica's gradient is `tf.IndexedSlices` with rows of its own."""
        return record.indices is not None and bool(self.tensor_mask(record.indices))

    def extend(self, new_ops: list[Any], settled: Iterable[Any]) -> list[Any]:
        """Takes in ops added to the original graph.

        Args:
          new_ops: the ops, in order of creation.
          settled: handle ops of the variables that exist in the transformed graph; they can no
            longer become local.

        Returns:
          The ops, each after what it depends on.

        Raises:
          UnsupportedGraphError: if an update of a variable varies in a way that has no meaning.
        """
        self._take_gradients()
        for op in new_ops:
            self._numbers[op] = len(self._numbers)
            self._in_order.append(op)
            self._masks[op] = 0
        for made in self._observer.differentiations[self._backward_count :]:
            self._backward.add(made)
        self._backward_count = len(self._observer.differentiations)
        self.splitting.take_in(new_ops)
        ordered = topological(new_ops, self.splitting.sources_of)
        self.splitting.extend(ordered)
        self.updates.extend(ordered)
        self._new = set(new_ops)
        for op in ordered:
            self._loops[op] = self._loop_of(op)
        if self._replica_count > 1:
            self._find_roots(ordered)
        self._unsplit(ordered)
        frozen = set(settled)
        while True:
            self._find_kinds(ordered)
            if not (self._drop_unproved(ordered) or self.updates.decide(frozen)):
                break
        return ordered

    def _find_kinds(self, ordered: list[Any]) -> None:
        """Finds what varies and the kinds, which tell of each other."""
        self.splitting.reset()
        while True:
            self.forget(ordered)
            while self._spread(ordered):
                pass
            if not self.splitting.find_kinds():
                return

    def _drop_unproved(self, ordered: list[Any]) -> bool:
        """Has roots not be split on which the targets of differentiations depend without a proof."""
        splitting = self.splitting
        found = (
            splitting.without_proof()
            or splitting.given_gradients_without_proof()
            or splitting.control_flow_without_proof()
        )
        self.splitting.culprits.update(found)
        return bool(found) and self.drop_roots([op for op, _ in found], ordered, keeps_asked=False)

    def _take_gradients(self) -> None:
        for record in self._observer.gradients:
            for tensor in (record.values, record.indices):
                if tensor is not None:
                    self._seen_from.setdefault(key_of(tensor), record.seen_from)
        self._second_derivatives = {}
        self._second_derivatives_of = {}
        for second in self._observer.second_derivatives:
            self._second_derivatives.setdefault(key_of(second.upstream), []).append(second)
            self._second_derivatives_of.setdefault(key_of(second.gradient.values), []).append(
                second
            )

    def _find_roots(self, ops: list[Any]) -> None:
        for op in ops:
            for tensor in op.outputs if op.type in DATA_SOURCES else ():
                if self._dims.is_asked(tensor):
                    self._add_root(tensor)
                elif self._observer.sparse_feeds:
                    continue
                elif is_list(tensor):
                    self.fed_whole.append((tensor, tensor.consumers()[0]))
                else:
                    self._add_root(tensor)
        # Anything else that does not come from a root may be one where the user says so: a queue's output, a constant.
        asked = [t for op in ops if op.type not in DATA_SOURCES for t in op.outputs]
        asked = [t for t in asked if self._dims.is_asked(t)]
        if asked:
            while self._spread(ops):
                pass
        for tensor in asked:
            if not self._masks[tensor.op]:
                self._add_root(tensor)

    def _add_root(self, tensor: Any) -> None:
        axis = self._dims.axis(tensor)
        if axis is not None:
            self._root_bits[key_of(tensor)] = 2 << len(self._candidates)
            self._candidates.append(tensor)
            self._axes.append(axis)

    def _unsplit(self, ops: list[Any]) -> None:
        """Takes the roots back that an op needs whole, and those that are used together with them."""
        while self._spread(ops):
            pass
        trained = self._trained_roots()
        takers = [op for op in ops if takes_whole(op) or meets_known_rows(op, self._depends)]
        # What fills a variable and trains nothing, such as its initial value, may have any number of rows.
        takers += [
            op
            for op in ops
            if writes_rows(op) and not linked(set(self._masks.values()), self._masks[op]) & trained
        ]
        self.drop_roots(takers, ops)

    def _depends(self, tensor: Any) -> bool:
        return bool(self.tensor_mask(tensor))

    def _trained_roots(self) -> int:
        """The roots that gradients depend on."""
        known = [b.values for b in self._observer.gradients if b.values.op in self._masks]
        return functools.reduce(operator.or_, map(self.tensor_mask, known), 0)

    def drop_roots(self, takers: list[Any], ops: list[Any], *, keeps_asked: bool = True) -> bool:
        """Has the roots that `takers` depend on not be split; False where they depend on none that may be dropped.

        Args:
          takers: ops that need roots whole.
          ops: the new ops.
          keeps_asked: whether those are kept of which the user said where the batch lies.
        """
        asked = self._asked_roots() if keeps_asked else 0
        masks = {op: self._masks[op] & ~(LOCAL | asked) for op in takers}
        masks = {op: mask for op, mask in masks.items() if mask}
        if not masks:
            return False
        # By set of roots that must go: the op because of which.
        dropped: dict[int, Any] = {}
        known = set(self._masks.values())
        for taker, mask in masks.items():
            if not any(mask & other for other in dropped):
                dropped[linked(known, mask) & ~asked] = taker
        for tensor in self._candidates:
            bit = self._root_bits.get(key_of(tensor), 0)
            taker = next((op for other, op in dropped.items() if other & bit), None)
            if taker is None:
                continue
            if tensor.op not in self._new:
                obstacle = self.updates.obstacles.get(taker)
                why = (
                    ""
                    if obstacle is None
                    else f" (its value does not follow from the replicas': {obstacle})"
                )
                raise UnsupportedGraphError(
                    f"op {taker.name!r} ({taker.type}) needs all of {tensor.name!r}{why}, which the session already "
                    "splits over the replicas. Create the op before create_distributed_session()."
                )
            del self._root_bits[key_of(tensor)]
            self.fed_whole.append((tensor, taker))
        self.forget(ops)
        return True

    def forget(self, ops: list[Any]) -> None:
        """Has what depends on the batch be found anew for `ops`."""
        for op in ops:
            self._masks[op] = 0
            self._loop_masks.pop(self._loops[op] or "", None)

    def _asked_roots(self) -> int:
        """The roots that are split because the user said so."""
        bits = [
            self._root_bits.get(key_of(t), 0) for t in self._candidates if self._dims.is_asked(t)
        ]
        return functools.reduce(operator.or_, bits, 0)

    def _loop_of(self, op: Any) -> str | None:
        """Name of the outermost while-loop frame that `op` runs in; None outside loops."""
        for source in [t.op for t in op.inputs] + list(op.control_inputs):
            loop = self._loops.get(source)
            if loop is not None and source.type not in ("Exit", "RefExit"):
                return loop
        if op.type in ("Enter", "RefEnter"):
            return str(op.get_attr("frame_name"))
        if op.type in ("Exit", "RefExit"):
            return self._loops.get(op.inputs[0].op)
        return None

    def _spread(self, ops: list[Any]) -> bool:
        changed = False
        for op in ops:
            mask = self._masks[op] | self._input_mask(op)
            loop = self._loops[op]
            if loop is not None:
                mask |= self._loop_masks.get(loop, 0)
                if mask != self._loop_masks.get(loop, 0):
                    self._loop_masks[loop] = mask
                    changed = True
            if mask and (op.type in COMBINING or op in self.updates.made_once):
                mask = 0
            if mask != self._masks[op]:
                self._masks[op] = mask
                changed = True
            if mask and self._separate_stores(op, mask):
                changed = True
        return changed

    def _separate_stores(self, op: Any, mask: int) -> bool:
        """Makes the stacks and tensor arrays that `op` uses vary."""
        changed = False
        for tensor in op.inputs:
            source = tensor.op
            if tensor.dtype != tf.resource:
                continue
            while source.type in op_types.HANDLE_PASSES:
                source = source.inputs[0].op
            if source.type in _STEP_STORES and self._masks[source] | mask != self._masks[source]:
                self._masks[source] |= mask
                changed = True
        return changed

    def _input_mask(self, op: Any) -> int:
        mask = 0
        for tensor in op.inputs:
            mask |= self._mask_seen_by(op, tensor)
        if not tf_internals.is_at_top_level(op):
            # Where the replicas take different branches of the v1 control flow, what a branch makes varies.
            for source in op.control_inputs:
                if is_pivot(source):
                    mask |= self._masks.get(source, 0)
        return mask

    def _mask_seen_by(self, op: Any, tensor: Any) -> int:
        """The roots that `tensor`, an input of `op`, depends on as `op` sees it."""
        source = tensor.op
        mask = LOCAL if source in self.updates.local and not op_types.is_update(op.type) else 0
        if source not in self._masks:
            return mask
        if self.splitting.is_seen_combined(op, tensor):
            return 0
        second = self.second_derivative(op, tensor)
        if second is not None:
            record = second.gradient
            return mask | (self.tensor_mask(record.values) if self.has_own_rows(record) else 0)
        if self.sees_mean(op, tensor):
            return mask
        is_mean, is_scaled = self.upstream_change(op, tensor)
        if is_scaled:
            return mask | self.mask_of_change(op, tensor)
        return mask if is_mean else mask | self.tensor_mask(tensor)
