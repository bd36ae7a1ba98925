"""Marks the stock `SaveV2` and `RestoreV2` nodes of a graph so that our ops run in their place.

A graph of the user's never holds an op of ours. A stock node carries private attributes
instead, which stock TensorFlow imports and ignores; where our op library is loaded, its graph pass
replaces the node in the runtime's own copy of the graph. `docs/design/architecture.md` lists the
attributes; this module is the only one that writes them or takes them away.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from autodist import _log, errors, layout
from autodist.checkpoint import options as save_options
from autodist.private_apis.tf_internals import PartitionedVariable, set_attribute

_LOGGER = _log.get_logger()

PREFIX = "_autodist"
_SAVE = "_autodist_save"
_LAYOUT = "_autodist_layout"
_LOCK = "_autodist_lock"
_THREADS = "_autodist_threads"
_DURABLE = "_autodist_durable"
_AGGREGATIONS = "_autodist_aggregations"
_RESTORE = "_autodist_restore"
_VERIFY = "_autodist_verify"

# Dtypes that stock `RestoreV2` can cut into other slices than those it finds (tensor_slice_reader,
# TF 2.21); the op's layout 'restorable' has the same list.
_RESTORABLE_INTO_SLICES = frozenset(
    {
        "float32",
        "float64",
        "bfloat16",
        "bool",
        "complex64",
        "complex128",
        *("int4", "int8", "int16", "int32", "int64", "uint4", "uint8"),
        *("qint8", "qint32", "quint8"),
    }
)

# Inputs of `SaveV2` before the values: prefix, tensor_names, shape_and_slices.
_FIRST_VALUE = 3


@dataclasses.dataclass(frozen=True)
class Entry:
    """One value that a `SaveV2` node writes.

    Attributes:
        name: The name in the checkpoint.
        slice_spec: TensorFlow's text form of a slice; empty for a whole tensor.
        tensor: The `tf.Tensor` that is written.
    """

    name: str
    slice_spec: str
    tensor: Any


def find_saves(graph: Any, saver_def: Any) -> list[Any]:
    """Returns the `SaveV2` operations that write to the file name of a `SaverDef`.

    The node is found by its edges: it takes its prefix from the tensor that the saver feeds. A
    sharded saver's nodes take theirs from a `ShardedFilename` of each device, and those of the V1
    format are not `SaveV2`; neither is found.

    Args:
        graph: The `tf.Graph`; `None` has no nodes.
        saver_def: The `SaverDef`; its nodes may be missing from the graph.
    """
    if graph is None:
        return []
    try:
        filename = graph.get_tensor_by_name(saver_def.filename_tensor_name)
    except (KeyError, ValueError):
        return []
    return [op for op in filename.consumers() if op.type == "SaveV2" and op.inputs[0] is filename]


def find_restores(graph: Any, saver_def: Any) -> list[Any]:
    """Returns the `RestoreV2` operations that read from the file name of a `SaverDef`.

    Args:
        graph: The `tf.Graph`.
        saver_def: The `SaverDef`; its nodes may be missing from the graph.
    """
    try:
        filename = graph.get_tensor_by_name(saver_def.filename_tensor_name)
    except (KeyError, ValueError):
        return []
    return [op for op in filename.consumers() if op.type == "RestoreV2"]


def tag_all(graph: Any, saver_def: Any, options: save_options.SaveOptions) -> None:
    """Marks the `SaveV2` and `RestoreV2` nodes of a saver.

    Args:
        graph: Their graph.
        saver_def: The saver's `SaverDef`.
        options: The options of the saver.
    """
    for restore_op in find_restores(graph, saver_def):
        tag_restore(restore_op, options)
    for save_op in find_saves(graph, saver_def):
        sliced = sliced_variables(save_op)
        gaps = names_with_gaps(sliced) if options.leaves_gaps_to_stock else []
        if gaps:
            _LOGGER.info(
                "slices of %s are missing: TensorFlow saves those there are", ", ".join(gaps)
            )
            continue
        tag(save_op, options)
        dtypes = dtypes_kept_as_slices(sliced) if options.layout is None else []
        if dtypes:
            _LOGGER.info(
                "partitioned variables of %s are saved as slices: stock TensorFlow cannot "
                "restore whole ones into slices. Saver(layout='original') saves them whole",
                ", ".join(dtypes),
            )


def tag_restore(restore_op: Any, options: save_options.SaveOptions) -> None:
    """Marks a `RestoreV2` operation to be replaced; one that is marked keeps its marks.

    Args:
        restore_op: The `tf.Operation`.
        options: What the marks say.
    """
    if options == save_options.SaveOptions() and _RESTORE in restore_op.node_def.attr:
        return
    set_attribute(restore_op, _RESTORE, tf.compat.v1.AttrValue(b=True))
    set_attribute(restore_op, _VERIFY, _text(options.verify))
    set_attribute(restore_op, _THREADS, tf.compat.v1.AttrValue(i=options.threads))


@dataclasses.dataclass(frozen=True)
class RestoreEntry:
    """One value that a `RestoreV2` node reads.

    Attributes:
        name: The name in the checkpoint.
        full_shape: Of the variable that it is a slice of, or is assigned to as a whole; `None` if
            that is not known.
        dtype: The `tf.DType` that is read.
    """

    name: str
    full_shape: tuple[int, ...] | None
    dtype: Any


def read_restore_entries(restore_op: Any) -> list[RestoreEntry]:
    """Returns what a `RestoreV2` operation reads, in its order; nothing if that is computed.

    Args:
        restore_op: The `tf.Operation`.
    """
    names = tf.get_static_value(restore_op.inputs[1])
    slices = tf.get_static_value(restore_op.inputs[2])
    if names is None or slices is None:
        return []
    return [
        RestoreEntry(
            tf.compat.as_str(name),
            _full_shape(tf.compat.as_str(spec), output),
            output.dtype.base_dtype,
        )
        for name, spec, output in zip(
            names.ravel(), slices.ravel(), restore_op.outputs, strict=True
        )
    ]


def _full_shape(slice_spec: str, output: Any) -> tuple[int, ...] | None:
    """Returns the shape that is asked for, or that of the variable a restored tensor goes to."""
    if slice_spec:
        return tuple(int(dimension) for dimension in slice_spec.split()[:-1])
    for taker in output.consumers():
        if taker.type == "Identity":
            return _full_shape("", taker.outputs[0])
        if taker.type == "AssignVariableOp" and taker.inputs[0].op.type == "VarHandleOp":
            shape = tf.TensorShape(taker.inputs[0].op.get_attr("shape"))
        elif taker.type == "Assign":
            shape = taker.inputs[0].shape
        else:
            continue
        return tuple(shape.as_list()) if shape.is_fully_defined() else None
    return None


def read_entries(save_op: Any) -> list[Entry]:
    """Returns what a `SaveV2` operation writes, in its order.

    Args:
        save_op: The `tf.Operation`.

    Raises:
        UnsupportedGraphError: Its names or slices are not constants.
    """
    names, slices = (_constant(tensor) for tensor in save_op.inputs[1:_FIRST_VALUE])
    if names is None or slices is None:
        raise errors.UnsupportedGraphError(
            f"{save_op.name}: the tensor names and slices of a SaveV2 node must be constants, "
            "but they are computed"
        )
    values = save_op.inputs[_FIRST_VALUE:]
    return [
        Entry(tf.compat.as_str(name), tf.compat.as_str(slice_spec), value)
        for name, slice_spec, value in zip(names.ravel(), slices.ravel(), values, strict=True)
    ]


def tag(save_op: Any, options: save_options.SaveOptions) -> None:
    """Marks a `SaveV2` operation to be replaced.

    A node that another `Saver` marked keeps its marks unless something else is asked for: a saver
    made from a `SaverDef` shares the nodes of the one it came from.

    Args:
        save_op: The `tf.Operation`.
        options: What the marks say.

    Raises:
        ArgumentError: The aggregation names a variable that the node does not write, or two for one
            name.
    """
    if options == save_options.SaveOptions() and is_tagged(save_op):
        return
    set_attribute(save_op, _SAVE, tf.compat.v1.AttrValue(b=True))
    set_attribute(save_op, _LAYOUT, _text(options.layout or save_options.DEFAULT_LAYOUT))
    set_attribute(save_op, _LOCK, _text(options.lock))
    set_attribute(save_op, _THREADS, tf.compat.v1.AttrValue(i=options.threads))
    set_attribute(save_op, _DURABLE, tf.compat.v1.AttrValue(b=options.durable))
    if options.aggregation is not None:
        names = _aggregations(read_entries(save_op), options.aggregation)
        value = tf.compat.v1.AttrValue()
        value.list.s.extend(name.encode() for name in names)
        set_attribute(save_op, _AGGREGATIONS, value)


def is_tagged(save_op: Any) -> bool:
    """Tells whether an operation is marked to be replaced."""
    return _SAVE in save_op.node_def.attr


def strip_tags(graph_def: Any) -> None:
    """Takes our marks out of a `GraphDef`, in place.

    Args:
        graph_def: The `GraphDef`, as TensorFlow exports it.
    """
    for node in graph_def.node:
        if node.op in {"SaveV2", "RestoreV2"}:
            for key in [key for key in node.attr if key.startswith(PREFIX)]:
                del node.attr[key]


def sliced_variables(save_op: Any) -> dict[str, list[Entry]]:
    """Returns what a `SaveV2` operation writes as slices, by name in the checkpoint.

    Args:
        save_op: The `tf.Operation`; of one whose names are computed, nothing is known beforehand.
    """
    try:
        entries = read_entries(save_op)
    except errors.UnsupportedGraphError:
        return {}
    variables: dict[str, list[Entry]] = collections.defaultdict(list)
    for entry in entries:
        if entry.slice_spec:
            variables[entry.name].append(entry)
    return variables


def is_restorable_into_slices(dtype: Any) -> bool:
    """Tells whether stock TensorFlow can restore slices of a dtype as a whole, and a whole into slices.

    Args:
        dtype: The `tf.DType`.
    """
    return dtype.name in _RESTORABLE_INTO_SLICES


def dtypes_kept_as_slices(variables: Mapping[str, list[Entry]]) -> list[str]:
    """Returns the dtypes that the default layout writes as slices, sorted by name.

    Args:
        variables: As `sliced_variables` has them.
    """
    several = [
        entries
        for entries in variables.values()
        if len({entry.slice_spec for entry in entries}) > 1
    ]
    dtypes = {entry.tensor.dtype.base_dtype.name for entries in several for entry in entries}
    return sorted(dtypes - _RESTORABLE_INTO_SLICES)


def names_with_gaps(variables: Mapping[str, list[Entry]]) -> list[str]:
    """Returns the names of the variables whose slices leave a part of them out, sorted.

    Args:
        variables: As `sliced_variables` has them.
    """
    return sorted(name for name, entries in variables.items() if _has_gaps(entries))


def _has_gaps(entries: list[Entry]) -> bool:
    try:
        parsed = [layout.Box.parse(spec) for spec in {entry.slice_spec for entry in entries}]
    except ValueError:
        # A saveable object of a user's that no save will accept; that is for the op to say.
        return False
    shape = parsed[0][0]
    return sum(box.element_count for _, box in parsed) < math.prod(shape)


def _aggregations(entries: list[Entry], aggregation: Any) -> list[str]:
    """Returns the aggregation of each entry."""
    if not isinstance(aggregation, Mapping):
        return [save_options.aggregation_name(aggregation)] * len(entries)
    names = {entry.name for entry in entries}
    names_by_source = {_source(entry.tensor): entry.name for entry in entries}
    chosen: dict[str, str] = {}
    for key, value in aggregation.items():
        asked = save_options.aggregation_name(value)
        for name in _names_of(key, names, names_by_source):
            if chosen.setdefault(name, asked) != asked:
                raise errors.ArgumentError(
                    f"aggregation: '{name}' is to be both {chosen[name]} and {asked}; it needs one"
                )
    return [chosen.get(entry.name, "MEAN") for entry in entries]


def _names_of(key: Any, names: set[str], names_by_source: dict[Any, str]) -> Iterator[str]:
    """Yields the names in the checkpoint that a key of the aggregation stands for."""
    if isinstance(key, str):
        if key not in names:
            raise errors.ArgumentError(
                f"aggregation: no variable is saved as '{key}'; "
                f"the names are {', '.join(sorted(names))}"
            )
        yield key
        return
    variable = key.deref() if hasattr(key, "deref") else key
    for part in variable if isinstance(variable, PartitionedVariable) else [variable]:
        name = names_by_source.get(getattr(part, "op", None))
        if name is None:
            raise errors.ArgumentError(f"aggregation: this Saver does not save {part!r}")
        yield name


def _source(tensor: Any) -> Any:
    """Returns the operation of the variable that a value is read from, or what makes the value."""
    op = tensor.op
    while op.type in ("Identity", "ReadVariableOp"):
        op = op.inputs[0].op
    return op


def _constant(tensor: Any) -> Any:
    """Returns the value of a constant, else `None`.

    `tf.get_static_value` would do, but it forbids to feed the tensor from then on (TF 2.21).
    """
    return tf.make_ndarray(tensor.op.get_attr("value")) if tensor.op.type == "Const" else None


def _text(value: str) -> Any:
    return tf.compat.v1.AttrValue(s=value.encode())
