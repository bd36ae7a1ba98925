"""Rules for products of matrices, and for ops on each matrix of a batch."""

from __future__ import annotations

from typing import Any

from autodist.graph.kinds.kind import LINEAR, SAME, SUM, Kind, rows
from autodist.graph.kinds.kinds import Kinds
from autodist.graph.kinds.rules.arithmetic.elementwise_rules import each_of
from autodist.graph.original.variables.roles import size_of

Found = list[Kind | None]

# fmt: off
# The last two dimensions are a matrix, and each matrix is treated by itself.
MATRICES = frozenset((
    "MatrixInverse", "MatrixDeterminant", "LogMatrixDeterminant", "Cholesky", "Qr", "Svd", "SelfAdjointEigV2",
    "MatrixBandPart", "MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3", "MatrixSolve", "MatrixTriangularSolve",
    "MatrixSetDiag", "MatrixSetDiagV2", "MatrixSetDiagV3", "MatrixExponential", "MatrixLogarithm", "MatrixSquareRoot",
))
# fmt: on


def matrices(kinds: Kinds, op: Any) -> Found:
    """The output is rows if each row holds matrices, which are the last two dimensions."""
    found = kinds.of_inputs(op)
    outputs: Found = [None] * len(op.outputs)
    ranks = [t.shape.rank for t in op.inputs]
    is_part = op.type.startswith(("MatrixSetDiag", "MatrixSolve", "MatrixTriangular"))
    if found[0] != rows(0) or ranks[0] is None or ranks[0] < 3:
        return outputs
    if op.type in ("MatrixSolve", "MatrixTriangularSolve") and ranks[0] != ranks[1]:
        return outputs
    if is_part and (found[1] != rows(0) or any(k != SAME for k in found[2:])):
        return outputs
    if not is_part and any(k != SAME for k in found[1:]):
        return outputs
    if _has_values_alone(op):
        outputs[0] = rows(0)
        return outputs
    return [rows(0)] * len(outputs)


def _has_values_alone(op: Any) -> bool:
    """Whether a decomposition computes values only, so that its outputs of vectors are empty."""
    asked = {"Svd": "compute_uv", "SelfAdjointEigV2": "compute_v"}.get(op.type)
    return asked is not None and not op.get_attr(asked)


def matmul(kinds: Kinds, op: Any) -> Found:
    """Rows times parameters are rows; rows times rows, contracted over the rows, are a sum."""
    if _is_linear_in_one(kinds, op):
        return [next(k for k in kinds.of_inputs(op) if k != SAME)]
    flips = [op.get_attr("transpose_a"), op.get_attr("transpose_b")]
    places: list[int | None] = []
    for index in (0, 1):
        kind = kinds.of(op, index)
        if kind is None or not (kind.is_rows or kind == SAME):
            return [None]
        axis = kind.axis if kind.is_rows else None
        places.append(1 - axis if axis is not None and flips[index] else axis)
    results: dict[tuple[int | None, int | None], Kind] = {
        (0, None): rows(0, each_of(kinds, op)),
        (None, 1): rows(1),
        (1, 0): SUM,
    }
    return [results.get((places[0], places[1]))]


def _is_linear_in_one(kinds: Kinds, op: Any) -> bool:
    """Whether one input of a product is a mean or sum, and all replicas share the others."""
    found = [k for k in kinds.of_inputs(op) if k != SAME]
    return len(found) == 1 and found[0] in LINEAR


def batch_matmul(kinds: Kinds, op: Any) -> Found:
    """The output is rows if both inputs hold a matrix per row, or one does and one is shared."""
    if _is_linear_in_one(kinds, op):
        return [next(k for k in kinds.of_inputs(op) if k != SAME)]
    found = kinds.of_inputs(op)
    ranks = [t.shape.rank for t in op.inputs]
    if None in ranks:
        return [None]
    first = found[0]
    is_pair = first is not None and first.is_rows and found[1] == first and ranks[0] == ranks[1]
    if first is not None and is_pair and first.axis < ranks[0] - 2:
        return [rows(first.axis)]
    # The output has the rank of the larger one; dimensions are aligned at the last.
    for one, other in ((0, 1), (1, 0)):
        if found[one] == rows(0) and found[other] == SAME and ranks[one] >= max(3, ranks[other]):
            is_broadcast = ranks[other] < ranks[one] or size_of(op.inputs[other], 0) == 1
            return [rows(0) if is_broadcast else None]
    return [None]


def einsum(kinds: Kinds, op: Any) -> Found:
    """The output is rows if the equation keeps the label of the rows, a sum if it sums over it."""
    if _is_linear_in_one(kinds, op):
        return [next(k for k in kinds.of_inputs(op) if k != SAME)]
    left, arrow, right = op.get_attr("equation").decode().replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or "." in left or len(terms) != len(op.inputs):
        return [None]
    labels: set[str] = set()
    others = ""
    for term, kind in zip(terms, kinds.of_inputs(op), strict=True):
        if kind is not None and kind.is_rows:
            labels.add(term[kind.axis])
            others += term[: kind.axis] + term[kind.axis + 1 :]
        elif kind == SAME:
            others += term
        else:
            return [None]
    if len(labels) != 1 or labels & set(others):
        return [None]
    label = labels.pop()
    if right.count(label) > 1:  # A diagonal.
        return [None]
    return [rows(right.index(label)) if label in right else SUM]
