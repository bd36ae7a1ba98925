"""Adds hints to the error of a restore: what the checkpoint has instead, and what to do."""

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.checkpoint.files import bundle, paths
from autodist.private_apis import tf_variables
from autodist.tf_nodes import restore_nodes

# How many names of each kind a hint lists; the error itself lists all that are missing.
_MOST_LISTED = 10
_MOST_MATCHES = 3


_WITHOUT_THEM = "RestoreOptions(missing='keep') or 'initialize' restores the others; name_map=... reads other names"

# How many names are compared with a name that resembles none.
_MOST_COMPARED = 2000

# `m.index`, `m.data-00000-of-00001`, `m.meta` are files of the checkpoint `m`.
_FILE_OF_CHECKPOINT = re.compile(r"(?P<prefix>.+)\.(index|meta|data-\d{5}-of-\d{5})", re.DOTALL)

_Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor of a checkpoint, by name."""


def check_prefix(prefix: str) -> None:
    """Raises if a path is not the prefix of a checkpoint, and names prefixes that are near.

    Args:
        prefix: What is to be restored.

    Raises:
        ArgumentError: There is no checkpoint under the prefix.
    """
    if bundle.exists(prefix):
        return
    match = _FILE_OF_CHECKPOINT.fullmatch(prefix)
    if match is not None:
        problem = "it is a file of a checkpoint, not its prefix"
        meant = [match["prefix"]] if bundle.exists(match["prefix"]) else []
    elif tf.io.gfile.isdir(prefix):
        latest = tf.train.latest_checkpoint(prefix)
        problem = "it is a directory, not the prefix of a checkpoint"
        meant = [latest] if latest else _prefixes_in(prefix, "")
    elif tf.io.gfile.glob(prefix):
        return  # A checkpoint of the V1 format, which has no index.
    else:
        problem = f"there is no {prefix}.index"
        meant = _prefixes_in(paths.parent(prefix), paths.name(prefix))
        if not meant:
            return  # The base class raises the same error.
    hint = f". Did you mean {' or '.join(meant)}?" if meant else ""
    raise errors.ArgumentError(
        f"The passed save_path is not a valid checkpoint: {prefix}: {problem}{hint}"
    )


def _prefixes_in(directory: str, name: str) -> list[str]:
    """Returns the prefixes in a directory whose names are like one, the nearest first."""
    try:
        files = tf.io.gfile.listdir(directory or ".")
    except (tf.errors.OpError, UnicodeDecodeError):
        return []
    names = [file.removesuffix(".index") for file in files if file.endswith(".index")]
    stem = name.rpartition("-")[0] or name
    near = [other for other in names if other.startswith(stem)]
    near = difflib.get_close_matches(name, near, n=_MOST_MATCHES, cutoff=0)
    return [paths.join(directory, other) for other in near]


@contextlib.contextmanager
def in_errors(graph: Any, saver_def: Any, prefix: Any) -> Iterator[None]:
    """Adds hints to errors that a restore raises because the checkpoint does not fit the graph.

    Args:
        graph: The `tf.Graph` of the saver's nodes; `None` if it is not known.
        saver_def: The saver's `SaverDef`.
        prefix: The checkpoint's prefix.
    """
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        prefix = tf.compat.as_str(prefix)
        hints = "" if graph is None else describe(graph, saver_def, prefix)
        if not hints and f"{paths.name(prefix)}.data-" in error.message:
            hints = _what_to_do(prefix)
        if not hints:
            raise
        message = f"{error.message}\n\n{hints}"
        raise type(error)(error.node_def, error.op, message) from error
    except tf.errors.DataLossError as error:
        message = f"{error.message}\n\n{_what_to_do(tf.compat.as_str(prefix))}"
        raise type(error)(error.node_def, error.op, message) from error


def _what_to_do(prefix: str) -> str:
    """Returns the advice for a checkpoint that is damaged or not all there."""
    state = tf.train.get_checkpoint_state(paths.parent(prefix) or ".")
    listed = reversed(state.all_model_checkpoint_paths) if state is not None else ()
    others = [other for other in listed if other != prefix and bundle.exists(other)]
    advice = f"The files of {prefix} are damaged or incomplete. Restore another checkpoint"
    if others:
        advice += f", such as {others[0]}"
    return f"{advice}, or put the files back from a copy and restore again."


def describe(graph: Any, saver_def: Any, prefix: str) -> str:
    """Returns hints on what differs between a saver's graph and a checkpoint.

    Args:
        graph: The `tf.Graph` of the saver's nodes.
        saver_def: The saver's `SaverDef`.
        prefix: The checkpoint's prefix.

    Returns:
        Lines of text; empty if nothing is wrong that can be told, or the checkpoint cannot be read.
    """
    try:
        # Not `tf.train.load_checkpoint`, which takes a directory of that name first.
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    except (tf.errors.OpError, ValueError, RuntimeError):
        return ""
    if reader.has_tensor(tf_variables.OBJECT_GRAPH_KEY):
        return ""  # Its names are keys of objects; the error itself lists names of variables.
    stored = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    wanted = [
        entry
        for restore_op in restore_nodes.find(graph, saver_def)
        for entry in restore_nodes.read_entries(restore_op)
    ]
    missing = sorted({entry.name for entry in wanted if entry.name not in stored})
    lines = [
        *about_names(missing, stored),
        *([_WITHOUT_THEM] if missing else []),
        *_about_shapes(wanted, stored),
        *_about_dtypes(wanted, reader.get_variable_to_dtype_map()),
    ]
    return "\n".join(lines)


def about_names(missing: list[str], stored: _Shapes) -> list[str]:
    """Returns hints on names that a checkpoint lacks.

    Args:
        missing: The names.
        stored: The shape of each tensor of the checkpoint.
    """
    if not missing:
        return []
    lines = [f"{len(missing)} names are missing. The checkpoint has {len(stored)} names."]
    for name in missing[:_MOST_LISTED]:
        near = _nearest(name, stored)
        parts = [other for other in stored if other.startswith(name + "/part_")]
        if parts:
            lines.append(
                f"  {name!r}: the checkpoint has {len(parts)} variables in its place, "
                f"{name}/part_0 and so on; restore each under its name"
            )
        else:
            lines.append(f"  {name!r}: nearest are {', '.join(map(repr, near))}")
    if len(missing) > _MOST_LISTED:
        lines.append(f"  and {len(missing) - _MOST_LISTED} more")
    lines += _about_renaming(missing, stored)
    return lines


def _nearest(name: str, stored: _Shapes) -> list[str]:
    """Returns the names that are most similar to one; if none is similar, the nearest."""
    near = difflib.get_close_matches(name, stored, n=_MOST_MATCHES)
    if near:
        return near
    last = name.rpartition("/")[2]
    candidates = [other for other in stored if other.rpartition("/")[2] == last] or list(stored)
    return difflib.get_close_matches(name, candidates[:_MOST_COMPARED], n=1, cutoff=0)


def _about_renaming(missing: list[str], stored: _Shapes) -> list[str]:
    """Returns a hint if one change of prefix would find all missing names."""
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


def _about_shapes(wanted: Iterable[restore_nodes.Entry], stored: _Shapes) -> list[str]:
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
            if shape[0] > found[0]:
                line += f": RestoreOptions(grow={{{name!r}: 0}}) restores it"
        lines.append(line)
    return lines[:_MOST_LISTED]


def _about_dtypes(
    wanted: Iterable[restore_nodes.Entry], stored: Mapping[str, tf.DType]
) -> list[str]:
    lines = [
        f"  {name!r}: the graph has dtype {dtype.name}, the checkpoint {stored[name].name}; "
        + (
            "RestoreOptions(cast=True) restores it"
            if dtype.is_floating and stored[name].is_floating
            else "read it with tf.train.load_checkpoint and assign what tf.cast makes of it"
        )
        for name, dtype in dict.fromkeys((e.name, e.dtype) for e in wanted)
        if name in stored and stored[name] != dtype
    ]
    return lines[:_MOST_LISTED]


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for dimension in shape:
        size *= dimension
    return size
