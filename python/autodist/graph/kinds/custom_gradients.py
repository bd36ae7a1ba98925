"""Proves that a custom gradient works row by row and is linear in the upstream gradient.

The mean of the replicas' gradients is one node's gradient because derivatives follow the chain
rule. A gradient function of the user's own (`tf.custom_gradient`, `gradient_override_map`) need
not. The mean is still right if the function makes rows of rows, each in proportion to its upstream
gradient. For the upstream gradient of a replica is one node's, times the inverse of the replica's
share of the batch.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from autodist.graph.kinds.kind import SAME, Kind
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.original.observed.differentiations import GradientCall
from autodist.graph.original.variables.roles import Key, key_of
from autodist.private_apis import tf_graphs

# Op types that keep a value linear in the upstream gradient: products if one input is linear, sums
# if all are, the others if the first is.
_PRODUCTS = frozenset({"Mul", "MulNoNan", "MatMul", "BatchMatMulV2"})
_LINEAR = frozenset(
    {"Neg", "Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "ZerosLike", "StopGradient"}
)
_SUMS = frozenset({"Add", "AddV2", "AddN", "Sub"})
_BY_FIRST = frozenset({"RealDiv", "Div", "DivNoNan"})


def has_own_gradient(op: Any) -> bool:
    """Whether the user gave the gradient function of an op."""
    return "_gradient_op_type" in op.node_def.attr and not tf_graphs.takes_functions(op.type)


def is_linear(kinds: Kinds, ops: list[Any], call: GradientCall, found: list[Kind | None]) -> bool:
    """Whether a user's gradient function is linear in the upstream gradient, row by row.

    Args:
      kinds: the kinds of the graph's tensors.
      ops: the ops that the call made, in order of creation.
      call: the call.
      found: the kinds of the outputs of the call's op.
    """
    backs: dict[Key, Kind] = {}
    for derivative, kind in zip(call.upstream, found, strict=False):
        if derivative is None:
            continue
        if (
            not isinstance(derivative, tf.Tensor)
            or kind is None
            or not (kind.is_rows or kind == SAME)
        ):
            return False
        backs[key_of(derivative)] = kind
    with kinds.supposing(backs):
        linear = set(backs)
        for op in ops:
            if op.type == "NoOp" or not op.outputs:
                continue
            made = _made(kinds, op, linear)
            if made is None:
                return False
            kinds.suppose(op, made)
            if any(key_of(t) in linear for t in op.inputs):
                linear.update(key_of(t) for t in op.outputs)
    return True


def _made(kinds: Kinds, op: Any, linear: set[Key]) -> list[Kind | None] | None:
    """The kinds of what `op` makes.

    None where it is not known, or not linear in the tensors `linear`.
    """
    is_linear = [key_of(t) in linear for t in op.inputs]
    if any(is_linear):
        fits = (
            (op.type in _LINEAR and is_linear[0] and not any(is_linear[1:]))
            or (op.type in _PRODUCTS and sum(is_linear) == 1)
            or (op.type in _SUMS and all(is_linear))
            or (op.type in _BY_FIRST and is_linear[0] and not is_linear[1])
            or (op.type in ("Select", "SelectV2") and not is_linear[0] and all(is_linear[1:]))
        )
        if not fits:
            return None
    found: list[Kind | None] = [SAME] * len(op.outputs)
    if len(op.inputs):
        found = kinds.of_outputs(op)
    return None if any(k is None or not (k.is_rows or k == SAME) for k in found) else found
