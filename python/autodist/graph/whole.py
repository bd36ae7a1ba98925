"""Ops that need a batch whole: what flows into them is not split over the replicas.

A placeholder with an unknown first dimension is not always a batch. It may hold the data that a
`tf.data` iterator runs over, the content of a lookup table, or the new value (or rows) of a
variable. Such an op changes shared state once, with all of what is fed; parts of it, one after the
other, would leave the last part behind.
"""

from __future__ import annotations

import re
from typing import Any

from autodist.graph import op_kinds
from autodist.graph.roles import has_batch_dimension

_DATASET = re.compile(r"\w*Dataset(V\d+)?")
_CONSUMERS = frozenset(
    {"MakeIterator", "LookupTableImportV2", "LookupTableInsertV2", "LookupTableRemoveV2"}
)


def takes_whole(op: Any) -> bool:
    """Whether `op` needs all rows of the tensors it takes."""
    if _DATASET.fullmatch(op.type) or op.type in _CONSUMERS or op.type in op_kinds.SCATTERS:
        return True
    return op.type in op_kinds.ASSIGNS and has_batch_dimension(op.inputs[1])


def linked(masks: set[int], dropped: int) -> int:
    """Extends the roots `dropped` by all that meet one of them, directly or through others, in some op.

    Args:
      masks: the sets of roots that ops depend on, as bit masks.
      dropped: a bit mask.
    """
    while True:
        grown = dropped
        for mask in masks:
            if mask & grown:
                grown |= mask
        if grown == dropped:
            return dropped
        dropped = grown
