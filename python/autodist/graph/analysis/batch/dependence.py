"""Which ops depend on the batch: `Dependence`, spread from the split tensors over the graph.

A *root* is a split tensor; each replica gets a sub-batch of it. An op *varies* when it depends on a
root: it runs once per replica, and its values differ. All other ops run once. Five things end or
begin a dependence:

* the mean of a gradient does not vary; ops created after the gradient see the mean (`observer`);
* an optimizer's update therefore does not vary;
* an update that is made once does not vary; what is read from a *local* variable varies
  (`batch_updates`);
* saves and summaries combine the replicas' values and do not vary;
* a stack or tensor array, in which one step keeps tensors, varies when something that varies uses
  it.

Invariant: all ops of one (outermost) while loop vary or none does, for they share frames.

A varying op is remembered with the set of roots it depends on, as a bit mask; the sizes of their
sub-batches weigh its mean. Bit 0 stands for local variables, bit i + 1 for root number i.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.analysis.batch.batch_dims import BatchDims
from autodist.graph.analysis.batch.decisions import Decisions
from autodist.graph.analysis.batch.unsplittable import is_pivot
from autodist.graph.original.gradient_calls import GradientCalls
from autodist.graph.original.observed.differentiations import GradientCall, Ranges
from autodist.graph.original.observed.observer import GradientRecord, Observer, SecondDerivative
from autodist.graph.original.ops import op_types
from autodist.graph.original.variables.roles import Key, key_of
from autodist.private_apis import tf_graphs

LOCAL = 1
_STEP_STORES = frozenset(
    {"StackV2", "TensorArrayV3", "TensorArrayGradV3", "TensorArrayGradWithShape"}
)
_COMBINING = frozenset({"SaveV2", "SaveSlices", "Save"}) | op_types.SUMMARIES


class Dependence:
    """The roots of a graph and what depends on them; grows as the graph grows.

    Args:
      observer: recorded gradients and optimizers while the graph was built.
      dims: where the batch lies in tensors.
      decisions: what is combined, scaled, made once or local.
      calls: the differentiations.
    """

    def __init__(
        self, observer: Observer, dims: BatchDims, decisions: Decisions, calls: GradientCalls
    ) -> None:
        self.decisions = decisions
        self._observer = observer
        self._dims = dims
        self._calls = calls
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

    # Roots.

    @property
    def roots(self) -> list[Any]:
        """The split tensors, in order of creation."""
        return [t for t in self._candidates if key_of(t) in self._root_bits]

    def add_root(self, tensor: Any) -> None:
        """Makes a tensor a root, if one of its dimensions is the batch."""
        axis = self._dims.axis(tensor)
        if axis is not None:
            self._root_bits[key_of(tensor)] = 2 << len(self._candidates)
            self._candidates.append(tensor)
            self._axes.append(axis)

    def remove_root(self, tensor: Any) -> None:
        """Makes a root whole again."""
        del self._root_bits[key_of(tensor)]

    def root_bit(self, tensor: Any) -> int:
        """The bit of a root in masks; 0 for another tensor."""
        return self._root_bits.get(key_of(tensor), 0)

    def root_number(self, op: Any, index: int) -> int | None:
        """The number of the root that is output `index` of `op`; None if it is not a root."""
        bit = self._root_bits.get((op, index))
        return None if bit is None else bit.bit_length() - 2

    def root_axis(self, root: int) -> int:
        """Along which dimension a root is split."""
        return self._axes[root]

    def axis_of_root(self, tensor: Any) -> int | None:
        """The dimension along which a tensor is split; None for one that is not."""
        root = self.root_number(*key_of(tensor))
        return None if root is None else self._axes[root]

    def is_asked(self, tensor: Any) -> bool:
        """Whether the user said where the batch lies in a tensor."""
        return self._dims.is_asked(tensor)

    def asked_axis(self, tensor: Any) -> int | None:
        """The dimension of a tensor that the user named as the batch, or None."""
        return self._dims.axis(tensor) if self._dims.is_asked(tensor) else None

    # What varies.

    def mask(self, op: Any) -> int:
        """The roots that `op` depends on, as a bit mask; 0 if it does not vary."""
        return self._masks[op]

    def masks(self) -> set[int]:
        """The masks of all ops."""
        return set(self._masks.values())

    def is_known(self, op: Any) -> bool:
        """Whether an op was analysed."""
        return op in self._masks

    def tensor_mask(self, tensor: Any) -> int:
        """The roots that a tensor depends on."""
        return self._masks[tensor.op] | self._root_bits.get(key_of(tensor), 0)

    def varies(self, op: Any, tensor: Any) -> bool:
        """Whether `tensor`, an input of `op`, differs from replica to replica as `op` sees it."""
        return bool(self._mask_seen_by(op, tensor))

    # Where ops are.

    def is_new(self, op: Any) -> bool:
        """Whether `op` is among the ops that were added last."""
        return op in self._new

    def is_in_loop(self, op: Any) -> bool:
        """Whether an op is in a loop of the v1 control flow."""
        return self._loops[op] is not None

    def is_forward(self, op: Any) -> bool:
        """Whether no differentiation created `op`."""
        return op not in self._numbers or not self.is_of_backward_pass(op)

    def is_of_backward_pass(self, op: Any) -> bool:
        """Whether a differentiation created `op`."""
        return self._backward.find(self._numbers[op]) is not None

    def ops_between(self, begin: int, end: int) -> list[Any]:
        """The ops created as number `begin` or later, and before number `end`."""
        return self._in_order[begin:end]

    # What ops see of gradients.

    def sees_mean(self, op: Any, tensor: Any) -> bool:
        """Whether `op` takes the mean of the gradient `tensor`, not its own replica's value."""
        seen_from = self._seen_from.get(key_of(tensor))
        number = self._numbers[op]
        if seen_from is None or number < seen_from:
            return False
        inner = self._second_derivatives_of.get(key_of(tensor), ())
        return not any(r.begin <= number < r.inner_end for r in inner)

    def second_derivative(self, op: Any, tensor: Any) -> SecondDerivative | None:
        """Returns the second derivative for which `op` takes `tensor`; otherwise None.

        `tensor` is then a derivative with respect to a gradient.
        """
        number = self._numbers[op]
        for second in self._second_derivatives.get(key_of(tensor), ()):
            if second.begin <= number < second.end:
                return second
        return None

    def has_own_rows(self, record: GradientRecord) -> bool:
        """Whether each replica's gradient is `tf.IndexedSlices` with rows of its own."""
        return record.indices is not None and bool(self.tensor_mask(record.indices))

    def upstream_change(self, op: Any, tensor: Any) -> tuple[bool, bool]:
        """Whether `op`, of a backward pass, takes the mean of `tensor`, and whether scaled."""
        call = self._changed_call(self._numbers[op], tensor)
        if call is None:
            return False, False
        return call.op in self.decisions.combined, call.op in self.decisions.scaled

    def mask_of_change(self, op: Any, tensor: Any) -> int:
        """The roots whose sub-batches weigh what `op` sees in place of `tensor`."""
        call = self._changed_call(self._numbers[op], tensor)
        assert call is not None
        return self._masks[call.op]

    def sees_weighted(self, op: Any, tensor: Any) -> bool:
        """Whether `op` sees the replicas' values of `tensor` times their shares."""
        seen_from = self.decisions.weighted.get(key_of(tensor))
        return seen_from is not None and self._numbers[op] >= seen_from

    def _changed_call(self, number: int, tensor: Any) -> GradientCall | None:
        """The call whose derivative `tensor` is changed for the op created as number `number`.

        Else None.
        """
        combined, scaled = self.decisions.combined, self.decisions.scaled
        if not combined and not scaled:
            return None
        call = self._calls.find(number)
        if call is None or key_of(tensor) not in call.upstream_keys:
            return None
        if call.op in combined:
            return call
        if call.op not in scaled:
            return None
        upstream = call.upstream[self.decisions.scaled_output(call.op)]
        is_it = isinstance(upstream, tf.Tensor) and key_of(upstream) == key_of(tensor)
        return call if is_it else None

    # Growing.

    def take_in(self, new_ops: list[Any]) -> None:
        """Adds new ops of the graph, in order of creation, with what the observer saw of them."""
        self._take_gradients()
        for op in new_ops:
            self._numbers[op] = len(self._numbers)
            self._in_order.append(op)
            self._masks[op] = 0
        for made in self._observer.differentiations[self._backward_count :]:
            self._backward.add(made)
        self._backward_count = len(self._observer.differentiations)
        self._new = set(new_ops)

    def find_loops(self, ordered: list[Any]) -> None:
        """Finds the loops that new ops, each after what it depends on, are in."""
        for op in ordered:
            self._loops[op] = self._loop_of(op)

    def spread(self, ops: list[Any]) -> None:
        """Finds what `ops` depend on, until nothing changes."""
        while self._spread_once(ops):
            pass

    def forget(self, ops: list[Any]) -> None:
        """Undoes what was found of `ops`, for a new `spread`."""
        for op in ops:
            self._masks[op] = 0
            self._loop_masks.pop(self._loops[op] or "", None)

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

    def _spread_once(self, ops: list[Any]) -> bool:
        changed = False
        for op in ops:
            mask = self._masks[op] | self._input_mask(op)
            loop = self._loops[op]
            if loop is not None:
                mask |= self._loop_masks.get(loop, 0)
                if mask != self._loop_masks.get(loop, 0):
                    self._loop_masks[loop] = mask
                    changed = True
            if mask and (op.type in _COMBINING or op in self.decisions.made_once):
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
        if not tf_graphs.is_at_top_level(op):
            # Where the replicas take different branches of the v1 control flow, what a branch makes
            # varies.
            for source in op.control_inputs:
                if is_pivot(source):
                    mask |= self._masks.get(source, 0)
        return mask

    def _mask_seen_by(self, op: Any, tensor: Any) -> int:
        """The roots that `tensor`, an input of `op`, depends on as `op` sees it."""
        source = tensor.op
        is_local = source in self.decisions.local and not op_types.is_update(op.type)
        mask = LOCAL if is_local else 0
        if source not in self._masks:
            return mask
        if self.decisions.is_seen_combined(op, tensor):
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
