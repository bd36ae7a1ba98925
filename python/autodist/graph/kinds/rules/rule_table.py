"""The table of proved rules: from the kinds of an op's inputs to those of its outputs.

A rule holds for every op of its type, with any attributes, or gives no kind. Each was read in the
definition of the op in TensorFlow 2.21. `kind` says what the kinds are.
"""

from __future__ import annotations

from autodist.graph.kinds.kinds import Rule
from autodist.graph.kinds.rules.arithmetic import (
    elementwise_rules,
    matrix_rules,
    reduction_rules,
    row_rules,
)
from autodist.graph.kinds.rules.control_flow import (
    array_rules,
    function_rules,
    list_rules,
    loop_rules,
)
from autodist.graph.kinds.rules.shapes import row_number_rules, shape_rules, size_rules, slice_rules


def _table() -> dict[str, Rule]:
    rules: dict[str, Rule] = dict.fromkeys(
        elementwise_rules.ELEMENTWISE, elementwise_rules.elementwise
    )
    rules.update(
        dict.fromkeys((*row_rules.ROW_BY_ROW, *row_rules.ROW_INPUTS), row_rules.row_by_row)
    )
    rules.update(dict.fromkeys(("LookupTableFind", "LookupTableFindV2"), row_rules.lookup))
    for table in (size_rules, slice_rules, shape_rules, reduction_rules):
        rules.update(table.RULES)
    rules.update(dict.fromkeys(matrix_rules.MATRICES, matrix_rules.matrices))
    rules.update(dict.fromkeys(row_rules.RANDOM, row_rules.random))
    rules.update(dict.fromkeys(("Cumsum", "Cumprod", "ReverseV2"), row_rules.along_an_axis))
    rules.update(dict.fromkeys(row_rules.LAST, row_rules.last_dimension))
    rules.update(
        dict.fromkeys(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), matrix_rules.batch_matmul)
    )
    fused = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
    rules.update(dict.fromkeys(fused, row_rules.batch_norm))
    rules.update(dict.fromkeys(("ResourceGather", "ResourceGatherNd"), row_rules.resource_gather))
    transposed = (
        "Conv2DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput"
    )  # fmt: skip
    rules.update(dict.fromkeys(transposed, row_rules.backprop_input))
    rules.update(
        BiasAdd=row_rules.bias_add,
        Print=row_rules.print_,
        IdentityN=row_rules.identity_n,
        MatMul=matrix_rules.matmul,
        Einsum=matrix_rules.einsum,
        EnsureShape=elementwise_rules.ensure_shape,
    )
    for later in (list_rules, array_rules, loop_rules, function_rules):
        rules.update(later.RULES)
    rules["Less"] = loop_rules.first_of(loop_rules.less, elementwise_rules.elementwise)
    for name in ("Add", "AddV2"):
        rules[name] = loop_rules.first_of(loop_rules.next_index, elementwise_rules.elementwise)
    rules["LogicalAnd"] = loop_rules.first_of(loop_rules.both, elementwise_rules.elementwise)
    return rules


RULES = _table()
RULES.update(row_number_rules.RULES)
