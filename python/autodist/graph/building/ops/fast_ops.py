"""Makes identities, concatenations and splits faster than TensorFlow's Python API does.

The transformed graph has many of these ops. The API takes about a millisecond for each op. Most of
it goes to name scopes, device functions, conversion of arguments, and new constants for axes and
sizes. These functions make the same stock ops without that, and share constants, one per value and
device.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from autodist import _native
from autodist.graph.building.ops.builder import is_cpu
from autodist.layout import Grid
from autodist.private_apis import tf_graphs

# Those for which TensorFlow has a kernel of `SplitV` on every device that has one of `Slice`.
_CAN_SPLIT = frozenset(
    {tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128}
    | {tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.bool, tf.string}
)

# The op of ours that assigns a value to the shards of one copy of a variable.
ASSIGN_SHARDS = "AutodistAssignShards"

_constants: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def make(
    graph: Any,
    op_type: str,
    inputs: Sequence[Any],
    attributes: Mapping[str, Any],
    *,
    name: str,
    device: str,
) -> Any:
    """Adds an op that waits for nothing but its inputs.

    Args:
      graph: the graph.
      op_type: a registered type.
      inputs: tensors of `graph`, lists of them one after the other.
      attributes: dtypes and numbers by name, those that have no default.
      name: of the op; it is made unique.
      device: where it runs.

    Returns:
      The `tf.Operation`.
    """
    return _add(graph, _template(op_type, tuple(attributes.items())), inputs, name, device)


def identity(tensor: Any, name: str) -> Any:
    """`tf.identity` of a tensor, on its device."""
    attributes = {"T": tensor.dtype}
    made = make(tensor.graph, "Identity", [tensor], attributes, name=name, device=tensor.device)
    return made.outputs[0]


def concat(tensors: list[Any], axis: int, device: str) -> Any:
    """`tf.concat`.

    Args:
      tensors: at least two.
      axis: along which.
      device: where it runs.
    """
    first = tensors[0]
    inputs = [*tensors, _constant(first.graph, axis, device)]
    attributes = {"N": len(tensors), "T": first.dtype, "Tidx": tf.int32}
    name = f"{first.op.name}/joined"
    made = make(first.graph, "ConcatV2", inputs, attributes, name=name, device=device)
    return made.outputs[0]


def split(tensor: Any, sizes: Sequence[int], axis: int, device: str) -> list[Any]:
    """`tf.split` along one axis.

    Args:
      tensor: of known size along the axis, which is the sum of `sizes`.
      sizes: of the parts.
      axis: along which.
      device: where it runs.
    """
    graph, name, count = tensor.graph, f"{tensor.op.name}/split", len(sizes)
    along = _constant(graph, axis, device)
    if len(set(sizes)) == 1:
        attributes = {"T": tensor.dtype, "num_split": count}
        made = make(graph, "Split", [along, tensor], attributes, name=name, device=device)
    else:
        attributes = {"T": tensor.dtype, "Tlen": tf.int64, "num_split": count}
        inputs = [tensor, _constant(graph, tuple(sizes), device), along]
        made = make(graph, "SplitV", inputs, attributes, name=name, device=device)
    return list(made.outputs)


def can_split(tensor: Any) -> bool:
    """Whether `split` takes a tensor of this dtype."""
    return tensor.dtype in _CAN_SPLIT


def can_assign_shards(value: Any, device: str) -> bool:
    """Whether `assign_shards` takes a value of this dtype for variables on this device."""
    return value.dtype in _CAN_SPLIT - {tf.string} and is_cpu(device)


def assign_shards(
    handles: list[Any], value: Any, grid: Grid, controls: Sequence[Any], name: str
) -> Any:
    """Assigns to each shard of a copy its part of a value, by one op of ours.

    The op finds the shards by their names, so that a run of it needs no op for each handle.

    Args:
      handles: of the shards of `grid`, on one device, for which `can_assign_shards`.
      value: the whole value.
      grid: how the variable is cut.
      controls: the ops that the op waits for.
      name: of the op; it is made unique.

    Returns:
      The `tf.Operation`.
    """
    names = [handle.op.get_attr("shared_name") for handle in handles]
    attr = tf.compat.v1.AttrValue
    return _template_of_shards(grid, value.dtype).create(
        value.graph,
        value.graph.unique_name(name),
        device=handles[0].device,
        inputs=[value],
        control_inputs=controls,
        changed={
            "container": attr(s=handles[0].op.get_attr("container")),
            "shared_names": attr(list=attr.ListValue(s=names)),
        },
    )


def assigned_handles(op: Any) -> list[Any]:
    """The handles of the shards that an op made by `assign_shards` assigns to."""
    graph = op.graph
    # The variable of a shard is called like the op of its handle; see `Builder.variable`.
    return [
        graph.get_operation_by_name(name.decode()).outputs[0]
        for name in op.get_attr("shared_names")
    ]


@functools.lru_cache(maxsize=1024)
def _template_of_shards(grid: Grid, dtype: Any) -> Any:
    _native.load_ops()
    attr, boxes = tf.compat.v1.AttrValue, list(grid.boxes())
    starts = attr.ListValue(i=[first for box in boxes for first in box.start])
    shapes = attr.ListValue(shape=[tf.TensorShape(box.extent).as_proto() for box in boxes])
    values = {
        "T": attr(type=dtype.as_datatype_enum),
        "shape": attr(shape=tf.TensorShape(grid.shape).as_proto()),
        "starts": attr(list=starts),
        "shapes": attr(list=shapes),
    }
    return tf_graphs.OpTemplate.of_type(ASSIGN_SHARDS, values)


def _constant(graph: Any, value: int | tuple[int, ...], device: str) -> Any:
    """An axis, int32, or sizes, int64; one op for all that need it on a device."""
    of_graph = _constants.setdefault(graph, {})
    key = (value, device)
    if key not in of_graph:
        dtype = tf.int32 if isinstance(value, int) else tf.int64
        proto = tf.make_tensor_proto(value, dtype)
        template = tf_graphs.OpTemplate.of_type(
            "Const",
            {
                "dtype": tf.compat.v1.AttrValue(type=dtype.as_datatype_enum),
                "value": tf.compat.v1.AttrValue(tensor=proto),
            },
        )
        name = "split/axis" if isinstance(value, int) else "split/sizes"
        of_graph[key] = _add(graph, template, (), name, device).outputs[0]
    return of_graph[key]


def _add(graph: Any, template: Any, inputs: Sequence[Any], name: str, device: str) -> Any:
    return template.create(
        graph,
        graph.unique_name(name),
        device=device,
        inputs=inputs,
        control_inputs=(),
        changed={},
    )


@functools.lru_cache(maxsize=256)
def _template(op_type: str, attributes: tuple[tuple[str, Any], ...]) -> Any:
    values = {
        name: tf.compat.v1.AttrValue(i=value)
        if isinstance(value, int)
        else tf.compat.v1.AttrValue(type=value.as_datatype_enum)
        for name, value in attributes
    }
    return tf_graphs.OpTemplate.of_type(op_type, values)
