"""Facts about op types: what they do with variable handles, and which are elementwise.

They were read in the op definitions of TensorFlow 2.21.
"""

from __future__ import annotations

import re
from typing import Any

READ = "ReadVariableOp"
GATHER = "ResourceGather"
SHAPE = "VariableShape"
IS_INITIALIZED = "VarIsInitializedOp"
DISABLE_COPY = "DisableCopyOnRead"
DESTROY = "DestroyResourceOp"
HANDLE = "VarHandleOp"

SAVE = "SaveV2"
RESTORE = "RestoreV2"
ASSIGN = "AssignVariableOp"
ASSIGNS = frozenset({ASSIGN, "AssignAddVariableOp", "AssignSubVariableOp"})
SCATTERS = frozenset(
    f"ResourceScatter{kind}" for kind in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Update")
)
_UPDATE = re.compile(
    r"Assign(Add|Sub)?VariableOp|Resource(Sparse)?Apply\w+|ResourceScatter\w+|ResourceStridedSliceAssign"
)
_DENSE_APPLY = re.compile(r"ResourceApply\w+")
_SPARSE_APPLY = re.compile(r"ResourceSparseApply\w+")

# The arguments of dense updates that have an element for each element of the variable.
ELEMENT_ARGUMENTS = frozenset({"grad", "delta", "value"})

# Ops that only read the variable behind a handle.
READ_ONLY = frozenset({READ, GATHER, "ResourceGatherNd", SHAPE, IS_INITIALIZED, "_ReadVariablesOp"})

# Ops whose output element i depends on element i of each input of the same shape (and on scalars).
# fmt: off
ELEMENTWISE = frozenset((
    "Abs", "Acos", "Acosh", "Add", "AddN", "AddV2", "Asin", "Asinh", "Atan", "Atan2", "Atanh",
    "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Cast", "Ceil", "CheckNumerics", "ClipByValue",
    "Complex", "Conj", "Cos", "Cosh", "Div", "DivNoNan", "Elu", "Equal", "Erf", "Erfc", "Exp",
    "Expm1", "Floor", "FloorDiv", "FloorMod", "Greater", "GreaterEqual", "Identity", "Imag",
    "Inv", "Invert", "IsFinite", "IsInf", "IsNan", "LeakyRelu", "Less", "LessEqual", "Log",
    "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mod", "Mul",
    "MulNoNan", "Neg", "NextAfter", "NotEqual", "OnesLike", "Pow", "Real", "RealDiv",
    "Reciprocal", "Relu", "Relu6", "Rint", "Round", "Rsqrt", "Select", "SelectV2", "Selu",
    "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Square",
    "SquaredDifference", "StopGradient", "PreventGradient", "Sub", "Tan", "Tanh", "TruncateDiv",
    "TruncateMod", "Xdivy", "Xlog1py", "Xlogy", "ZerosLike",
))
# fmt: on

# Ops that hand a resource handle on.
HANDLE_PASSES = frozenset(
    {"Identity", "IdentityN", "Enter", "Switch", "Merge", "NextIteration", "Exit"}
)

SUMMARIES = frozenset(
    {
        "ScalarSummary", "HistogramSummary", "ImageSummary", "AudioSummary", "AudioSummaryV2", "TensorSummary",
        "TensorSummaryV2",
    }
)  # fmt: skip

# The ops of the v1 control flow.
CONTROL_FLOW = frozenset({"Enter", "Exit", "Switch", "Merge", "NextIteration", "LoopCond"})

FUNCTION_CALLS = frozenset(
    {
        "PartitionedCall",
        "StatefulPartitionedCall",
        "If",
        "StatelessIf",
        "Case",
        "StatelessCase",
        "While",
        "StatelessWhile",
        "SymbolicGradient",
    }
)


def is_update(op_type: str) -> bool:
    """Whether ops of this type change the variable behind their first input."""
    return _UPDATE.fullmatch(op_type) is not None


def changes_variable(op_type: str) -> bool:
    """Whether ops of this type change the variable behind their first input, or delete it."""
    return is_update(op_type) or op_type == DESTROY


def is_dense_apply(op_type: str) -> bool:
    """Whether it is a fused optimizer update with a dense gradient, e.g. `ResourceApplyAdam`."""
    return _DENSE_APPLY.fullmatch(op_type) is not None


def is_sparse_apply(op_type: str) -> bool:
    """Whether it is a fused optimizer update with `grad` and `indices`."""
    return _SPARSE_APPLY.fullmatch(op_type) is not None


def is_by_rows(op_type: str) -> bool:
    """Whether it reads or updates single rows of the variable behind its handle."""
    return (
        op_type in SCATTERS or op_type in (GATHER, "ResourceGatherNd") or is_sparse_apply(op_type)
    )


def argument_names(op: Any) -> list[str]:
    """The name, in the op's definition, of the argument that each input of `op` belongs to."""
    names: list[str] = []
    for arg in op.op_def.input_arg:
        count = 1
        if arg.number_attr:
            count = op.get_attr(arg.number_attr)
        elif arg.type_list_attr:
            count = len(op.get_attr(arg.type_list_attr))
        names.extend([arg.name] * count)
    return names
