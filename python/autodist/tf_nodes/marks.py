"""Our marks on `SaveV2` and `RestoreV2` nodes: private attributes, with their defaults.

A user's graph never holds an op of ours. A stock node carries private attributes instead, which
stock TensorFlow imports and ignores. Where our op library is loaded, its graph pass replaces the
node in the runtime's own copy of the graph. `docs/design/architecture.md` lists the attributes; the
passes in `cc/` read them by the same names.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from autodist.private_apis.tf_graphs import set_attribute

PREFIX = "_autodist"
_SAVE = "_autodist_save"
_LAYOUT = "_autodist_layout"
_LOCK = "_autodist_lock"
_THREADS = "_autodist_threads"
_DURABLE = "_autodist_durable"
_AGGREGATIONS = "_autodist_aggregations"
_RESTORE = "_autodist_restore"
_VERIFY = "_autodist_verify"


@dataclasses.dataclass(frozen=True)
class SaveMarks:
    """The marks of a `SaveV2`; the defaults are those of a node without marks.

    Attributes:
        layout: `'original'` writes whole variables, `'slices'` writes slices as they are,
            `'restorable'` writes whole what stock TensorFlow can restore into slices, and slices
            otherwise.
        lock: `'block'` or `'copy'`.
        threads: Number of threads that write; 0 lets the machine decide.
        durable: Whether the files are synced.
        aggregations: How the replicas of each value become one, in the order of the node; `None` is
            `MEAN` for all.
    """

    layout: str = "restorable"
    lock: str = "block"
    threads: int = 0
    durable: bool = True
    aggregations: tuple[bytes, ...] | None = None

    @property
    def distributed_layout(self) -> str:
        """The layout in a distributed session: whole variables unless slices were asked for.

        AutoDist cuts the variables there. Readers of the checkpoint never see that cut by default.
        """
        return "slices" if self.layout == "slices" else "original"


@dataclasses.dataclass(frozen=True)
class RestoreMarks:
    """The marks of a `RestoreV2`; the defaults are those of a node without marks.

    Attributes:
        verify: `'before'`, `'during'` or `'swap'`.
        threads: Number of threads that read; 0 lets the machine decide.
    """

    verify: str = "before"
    threads: int = 0


def read_save(op: Any) -> SaveMarks:
    """Returns the marks of a `SaveV2`, with the default of each that is missing."""
    default = SaveMarks()
    aggregations = _get(op, _AGGREGATIONS, None)
    return SaveMarks(
        _text(_get(op, _LAYOUT, default.layout)),
        _text(_get(op, _LOCK, default.lock)),
        _get(op, _THREADS, default.threads),
        _get(op, _DURABLE, default.durable),
        None if aggregations is None else tuple(aggregations),
    )


def read_restore(op: Any) -> RestoreMarks:
    """Returns the marks of a `RestoreV2`, with the default of each that is missing."""
    default = RestoreMarks()
    return RestoreMarks(
        _text(_get(op, _VERIFY, default.verify)), _get(op, _THREADS, default.threads)
    )


def mark_save(op: Any, marks: SaveMarks) -> None:
    """Marks a `SaveV2` to be replaced.

    Aggregations of `None` leave those of the node as they are.
    """
    set_attribute(op, _SAVE, tf.compat.v1.AttrValue(b=True))
    set_attribute(op, _LAYOUT, tf.compat.v1.AttrValue(s=marks.layout.encode()))
    set_attribute(op, _LOCK, tf.compat.v1.AttrValue(s=marks.lock.encode()))
    set_attribute(op, _THREADS, tf.compat.v1.AttrValue(i=marks.threads))
    set_attribute(op, _DURABLE, tf.compat.v1.AttrValue(b=marks.durable))
    if marks.aggregations is not None:
        value = tf.compat.v1.AttrValue()
        value.list.s.extend(marks.aggregations)
        set_attribute(op, _AGGREGATIONS, value)


def mark_restore(op: Any, marks: RestoreMarks) -> None:
    """Marks a `RestoreV2` to be replaced."""
    set_attribute(op, _RESTORE, tf.compat.v1.AttrValue(b=True))
    set_attribute(op, _VERIFY, tf.compat.v1.AttrValue(s=marks.verify.encode()))
    set_attribute(op, _THREADS, tf.compat.v1.AttrValue(i=marks.threads))


def is_marked(op: Any) -> bool:
    """Tells whether a `SaveV2` or `RestoreV2` is marked to be replaced."""
    return bool(_get(op, _SAVE, False) or _get(op, _RESTORE, False))  # noqa: FBT003


def is_mark(attribute: str) -> bool:
    """Tells whether the name of an attribute is that of one of our marks."""
    return attribute.startswith(PREFIX)


def strip(graph_def: Any) -> None:
    """Removes our marks from a `GraphDef`, in place.

    Args:
        graph_def: The `GraphDef`, as TensorFlow exports it.
    """
    for node in graph_def.node:
        if node.op in {"SaveV2", "RestoreV2"}:
            for key in [key for key in node.attr if is_mark(key)]:
                del node.attr[key]


def _get(op: Any, name: str, default: Any) -> Any:
    try:
        return op.get_attr(name)
    except ValueError:
        return default


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
