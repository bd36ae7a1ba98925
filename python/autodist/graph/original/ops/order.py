"""Sorts ops so that each comes after what it depends on.

Creation order is not enough: `tf.cond` and `tf.while_loop` give ops inputs that were created after
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def topological(
    ops: list[Any], more_sources: Callable[[Any], list[Any]] = lambda _: []
) -> list[Any]:
    """Sorts `ops` topologically: each comes after its inputs and control inputs among them.

    Args:
      ops: the ops, in order of creation.
      more_sources: other ops that an op comes after.

    Ops that do not depend on each other keep their order. The back edge of a while loop, from
    `NextIteration` to `Merge`, is not followed.
    """
    pending = set(ops)
    ordered = []
    for first in ops:
        stack = [first]
        while stack:
            op = stack[-1]
            if op not in pending:
                stack.pop()
                continue
            sources = _sources(op) + more_sources(op)
            missing = [s for s in sources if s in pending and s is not op]
            if missing:
                stack.extend(reversed(missing))
            else:
                pending.discard(op)
                ordered.append(op)
                stack.pop()
    return ordered


def _sources(op: Any) -> list[Any]:
    is_merge = op.type in ("Merge", "RefMerge")
    sources = [t.op for t in op.inputs]
    if is_merge:
        sources = [s for s in sources if s.type not in ("NextIteration", "RefNextIteration")]
    return sources + list(op.control_inputs)
