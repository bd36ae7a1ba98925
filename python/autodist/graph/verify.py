"""The invariants of a transformed graph, checked whenever it has grown.

1. Every op of the original graph is one that can be distributed.
2. Every update of a variable is made exactly once on each shard of each copy.

Two more hold by construction: the shards tile the variable (`layout.Grid`), and what does not vary
depends on no replica's own values (`analysis.dependence`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from autodist.errors import GraphStateError, UnsupportedGraphError
from autodist.graph.building.ops.fast_ops import ASSIGN_SHARDS, assigned_handles
from autodist.graph.building.variables.placement import PlacedVariable
from autodist.graph.original.observed.observer import Observer
from autodist.graph.original.ops import op_types
from autodist.graph.original.ops.functions import written_behind
from autodist.graph.original.variables.saved_reads import SavedRead

_REF_VARIABLES = frozenset({"Variable", "VariableV2", "TemporaryVariable"})


def check_supported(ops: list[Any], observer: Observer) -> None:
    """Refuses what cannot be distributed.

    Raises:
      UnsupportedGraphError: naming the op, why and what to do.
    """
    for op in ops:
        if op.type in _REF_VARIABLES:
            raise UnsupportedGraphError(
                f"variable {op.name!r} is a ref variable ({op.type}), which cannot be cut or "
                "copied. Create it inside AutoDist.scope(), where variables are resource "
                "variables, and not with use_resource=False."
            )
    if observer.gradients_in_tapes:
        raise UnsupportedGraphError(
            "a tf.GradientTape takes a second derivative through the gradient "
            f"{observer.gradients_in_tapes[0]!r}, where its mean over the replicas cannot be "
            "followed. Take both derivatives with tf.gradients."
        )
    for second in observer.second_derivatives:
        if isinstance(second.upstream, tf.IndexedSlices):
            raise UnsupportedGraphError(
                "a second derivative goes back through the gradient "
                f"{second.gradient.values.name!r} as tf.IndexedSlices "
                f"{second.upstream.values.name!r}, which cannot be followed to the replicas. Read "
                "single rows of a gradient with tf.matmul(tf.one_hot(...), gradient) instead of "
                "tf.gather."
            )


def check_copies(ops: list[Any], placed: dict[Any, PlacedVariable]) -> None:
    """Refuses new ops that would update only one of several copies of a variable.

    Raises:
      UnsupportedGraphError: naming the op and the variable.
    """
    for op in ops:
        for index, tensor in enumerate(op.inputs):
            variable = placed.get(tensor.op)
            if variable is None or variable.copy_count == 1 or variable.is_local:
                continue
            writer = written_behind(op, index)
            if writer is not None:
                raise UnsupportedGraphError(
                    f"op {writer.name!r} ({writer.type}) may update variable "
                    f"{variable.logical.name!r} in a function, branch or loop, but the session "
                    f"already holds it in {variable.copy_count} copies. Create the op before "
                    "create_distributed_session(), so that all replicas share the variable."
                )


def check_cut(
    op: Any, touched: list[PlacedVariable], blocker: Callable[[tuple[int, ...], Any], str]
) -> None:
    """Refuses an op that has no rule for shards on a variable that the session holds cut.

    Args:
      op: the original op.
      touched: the variables whose handles it takes.
      blocker: returns why an op needs a variable of a shape whole.

    Raises:
      UnsupportedGraphError: naming the op and the variable.
    """
    for variable in touched:
        if variable.grid is None:
            continue
        reason = blocker(tuple(variable.grid.shape), op)
        if reason:
            raise UnsupportedGraphError(
                f"op {op.name!r} ({op.type}) {reason}, but the session already holds variable "
                f"{variable.logical.name!r} cut ({variable.reason}). Create the op before "
                "create_distributed_session(), so that the variable stays whole."
            )


def check_saved_reads(new_ops: list[Any], saved_reads: dict[Any, list[SavedRead]]) -> None:
    """Refuses new updates that come after a read that a save replaced by a later read.

    Args:
      new_ops: ops added to the original graph.
      saved_reads: by `VarHandleOp`: the reads that saves make in their own way.

    Raises:
      UnsupportedGraphError: naming both.
    """
    updated = {
        tensor.op
        for op in new_ops
        if op.type not in op_types.READ_ONLY
        for tensor in op.inputs
        if tensor.op in saved_reads
    }
    for handle in updated:
        for read in saved_reads[handle]:
            update = read.update_behind()
            if update is not None:
                raise UnsupportedGraphError(
                    f"op {update.name!r} ({update.type}) may update variable {handle.name!r} after "
                    f"{read.chain[-1].name!r} has read it for {read.save.name!r}, but the session "
                    "that there is saves the variable by itself. Let the op take another read of "
                    "the variable, or create it before create_distributed_session()."
                )


def check_updates(updates: list[tuple[Any, PlacedVariable, list[list[Any]]]]) -> None:
    """Checks that each update was made once on each shard of each copy.

    Args:
      updates: per update, the original op, the variable, and `ops[replica][shard]`.

    Raises:
      GraphStateError: if one was not; a defect of the transformer.
    """
    for op, variable, rows in updates:
        made = [handle for row in rows for new in row for handle in _handles_written(new)]
        wanted = [handle for row in variable.handles for handle in row]
        if [t.op for t in made] != [t.op for t in wanted]:
            raise GraphStateError(
                f"update {op.name!r} of variable {variable.logical.name!r} was made on "
                f"{[t.name for t in made]}; expected each of {[t.name for t in wanted]} once"
            )


def _handles_written(update: Any) -> list[Any]:
    """The handles of the shards that an op of the transformed graph updates."""
    if update.type == ASSIGN_SHARDS:
        return assigned_handles(update)
    return [update.inputs[0]]
