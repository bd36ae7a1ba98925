"""Finds the reads whose value a `SaveV2` stores, and updates between read and save."""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist.graph.original.ops import op_types
from autodist.private_apis.tf_graphs import control_outputs
from autodist.tf_nodes import variable_ops


@dataclasses.dataclass(frozen=True)
class SavedRead:
    """A read of a variable that a save makes in its own way, and later than the original graph.

    Attributes:
      save: the original `SaveV2`.
      chain: the original ops that read the value and pass it on to `save`, from there backwards.
    """

    save: Any
    chain: tuple[Any, ...]

    def update_behind(self) -> Any:
        """An op that may update the variable and comes after the read, but not after `save`.

        None if there is none.

        After such an op the variable no longer has the value that is to be saved.
        """
        handle = self.chain[-1].inputs[0]
        pending, seen = list(self.chain), {self.save, *self.chain}
        while pending:
            op = pending.pop()
            found = [taker for output in op.outputs for taker in output.consumers()]
            for taker in [*found, *control_outputs(op)]:
                if taker in seen:
                    continue
                seen.add(taker)
                if _may_update(taker, handle):
                    return taker
                pending.append(taker)
        return None


def reading_chain(tensor: Any) -> tuple[Any, ...]:
    """The ops that read a variable and pass its value on to `tensor`, from there backwards.

    Empty for any other tensor.
    """
    chain = variable_ops.read_chain(tensor)
    return chain if chain[-1].type == op_types.READ else ()


def _may_update(op: Any, handle: Any) -> bool:
    """Whether an op takes a variable's handle and is not known only to read it."""
    return op.type not in op_types.READ_ONLY and any(each is handle for each in op.inputs)
