"""Finds the devices of ops of the user's graph, by asking the user's session.

Only the session's own placer knows the device of an op: a device string may be partial, a task may
have accelerators, and soft placement may move an op. So the ops are run in the user's session,
which returns the graphs that it gave to the devices. Running a variable's op changes nothing, and
adds nothing to the graph.

The node that saves or restores cannot be run to learn where it lies. The constant of its tensor
names is run instead: TensorFlow's placer puts a node without inputs beside the one node that reads
it (2.21, `placer.cc`).
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist.checkpoint.distributed.tasks import task_names, user_runs
from autodist.checkpoint.distributed.variables import own_graph_handles

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.variables.restore_targets import PlacedRestore
    from autodist.checkpoint.distributed.variables.sources import PlacedSave

# By session: the devices of its ops, by name. A session never moves an op that it has placed.
_KNOWN: weakref.WeakKeyDictionary[Any, dict[str, str]] = weakref.WeakKeyDictionary()


def of_save(session: Any, node: PlacedSave, timeout_seconds: float) -> PlacedSave:
    """Returns a save with the devices that the session has given its node and variables.

    Args:
        session: The user's session.
        node: The node, as the graph has it.
        timeout_seconds: For how long a task may not answer.

    Raises:
        task_names.UnreachableStateError: The session does not tell all of them.
        tf.errors.UnavailableError: A task does not answer; names it.
    """
    held = [source.variable for source in node.sources if source.variable is not None]
    devices = _find(session, [*held, *_asked(node.names)], timeout_seconds)
    sources = tuple(
        source
        if source.variable is None
        else dataclasses.replace(source, variable=_placed(source.variable, devices))
        for source in node.sources
    )
    return dataclasses.replace(node, sources=sources, device=_device(node, devices))


def of_restore(session: Any, placed: PlacedRestore, timeout_seconds: float) -> PlacedRestore:
    """Returns a restore with the devices that the session has assigned; otherwise as `of_save`."""
    held = [restore_target.variable for restore_target in placed.targets]
    devices = _find(session, [*held, *_asked(placed.names)], timeout_seconds)
    targets = tuple(
        dataclasses.replace(restore_target, variable=_placed(restore_target.variable, devices))
        for restore_target in placed.targets
    )
    return dataclasses.replace(placed, targets=targets, device=_device(placed, devices))


def _placed(op: Any, devices: dict[str, str]) -> own_graph_handles.PlacedVariable:
    return own_graph_handles.PlacedVariable(op, devices[op.name])


def _device(node: PlacedSave | PlacedRestore, devices: dict[str, str]) -> str:
    return node.device if node.names is None else devices[node.names.name]


def _asked(names: Any) -> list[Any]:
    """Returns the constant that the session places beside its reader.

    Returns nothing for a node at the master.
    """
    if names is None:
        return []
    if len(names.outputs[0].consumers()) != 1:
        raise task_names.UnreachableStateError(
            f"the tensor names of the saver ({names.name}) have two readers"
        )
    return [names]


def _find(session: Any, ops: Iterable[Any], timeout_seconds: float) -> dict[str, str]:
    """Returns the devices of ops by name."""
    known = _KNOWN.setdefault(session, {})
    asked = {op.name: op for op in ops}
    unknown = {name: op for name, op in asked.items() if name not in known}
    if unknown:
        metadata = tf.compat.v1.RunMetadata()
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        hints = {op.device for op in unknown.values()}
        user_runs.run(
            session,
            list(unknown.values()),
            hints,
            timeout_seconds,
            options=options,
            metadata=metadata,
        )
        known.update(
            (node.name, node.device)
            for part in metadata.partition_graphs
            for node in part.node
            if node.name in unknown
        )
    missing = [name for name in asked if not _is_full(known.get(name, ""))]
    if missing:
        raise task_names.UnreachableStateError(
            f"the session does not tell the device of {missing[0]}"
        )
    return {name: known[name] for name in asked}


def _is_full(device: str) -> bool:
    spec = tf.DeviceSpec.from_string(device)
    return None not in (spec.job, spec.task, spec.device_type, spec.device_index)
