"""What would make a checkpoint fit a graph that it does not fit: text for the error."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from autodist.checkpoint import tagging

# Names listed of each kind; the error itself lists all that are missing.
_MOST_LISTED = 10
_MOST_MATCHES = 3


_Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor of a checkpoint, by name."""


@contextlib.contextmanager
def in_errors(graph: Any, saver_def: Any, prefix: Any) -> Iterator[None]:
    """Adds what would fit to the errors that a restore raises because the checkpoint does not.

    Args:
        graph: The `tf.Graph` of the saver's nodes; `None` if it is not known.
        saver_def: The saver's `SaverDef`.
        prefix: The checkpoint's prefix.
    """
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        hints = "" if graph is None else describe(graph, saver_def, tf.compat.as_str(prefix))
        if not hints:
            raise
        message = f"{error.message}\n\n{hints}"
        raise type(error)(error.node_def, error.op, message) from error


def describe(graph: Any, saver_def: Any, prefix: str) -> str:
    """Returns what is wrong between a saver's graph and a checkpoint, and what would fit.

    Args:
        graph: The `tf.Graph` of the saver's nodes.
        saver_def: The saver's `SaverDef`.
        prefix: The checkpoint's prefix.

    Returns:
        Lines of text; empty if nothing is wrong that can be told, or the checkpoint cannot be read.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, ValueError, RuntimeError):
        return ""
    stored = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    wanted = [
        entry
        for restore_op in tagging.find_restores(graph, saver_def)
        for entry in tagging.read_restore_entries(restore_op)
    ]
    lines = [
        *_about_names(sorted({e.name for e in wanted if e.name not in stored}), stored),
        *_about_shapes(wanted, stored),
    ]
    return "\n".join(lines)


def _about_names(missing: list[str], stored: _Shapes) -> list[str]:
    if not missing:
        return []
    lines = [f"{len(missing)} names are not among the {len(stored)} of the checkpoint."]
    for name in missing[:_MOST_LISTED]:
        near = difflib.get_close_matches(name, stored, n=_MOST_MATCHES)
        parts = [other for other in stored if other.startswith(name + "/part_")]
        if parts:
            lines.append(
                f"  {name!r}: the checkpoint has it in {len(parts)} variables of their own, "
                f"{name}/part_0 and so on; restore those, each under its name"
            )
        elif near:
            lines.append(f"  {name!r}: nearest are {', '.join(map(repr, near))}")
        else:
            lines.append(f"  {name!r}: none is near")
    if len(missing) > _MOST_LISTED:
        lines.append(f"  and {len(missing) - _MOST_LISTED} more")
    lines += _about_renaming(missing, stored)
    return lines


def _about_renaming(missing: list[str], stored: _Shapes) -> list[str]:
    """Says which one change of prefix would find all that is missing."""
    first = missing[0]
    added = {name[: -len(first)] for name in stored if name.endswith("/" + first)}
    for scope in sorted(added):
        if all(scope + name in stored for name in missing):
            names = f"{scope!r} + v.op.name"
            return [
                f"All are there with {scope!r} in front: Saver({{{names}: v for v in variables}})"
            ]
    parts = first.split("/")
    for count in range(1, len(parts)):
        scope = "/".join(parts[:count]) + "/"
        if all(name.startswith(scope) and name[len(scope) :] in stored for name in missing):
            names = f"v.op.name[{len(scope)}:]"
            return [f"All are there without {scope!r}: Saver({{{names}: v for v in variables}})"]
    return []


def _about_shapes(wanted: Iterable[tagging.RestoreEntry], stored: _Shapes) -> list[str]:
    lines = []
    for name, shape in dict.fromkeys((e.name, e.full_shape) for e in wanted):
        if shape is None or name not in stored or stored[name] == shape:
            continue
        found = stored[name]
        line = f"  {name!r}: the graph has shape {list(shape)}, the checkpoint {list(found)}"
        if _size(shape) == _size(found):
            line += "; they hold as many elements: Saver(reshape=True) restores it"
        elif len(shape) == len(found) and shape[1:] == found[1:]:
            line += f"; the graph has {shape[0]} rows, the checkpoint {found[0]}"
        lines.append(line)
    return lines[:_MOST_LISTED]


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for dimension in shape:
        size *= dimension
    return size
