"""Checks and reads the arguments of a save before it begins."""

import contextlib
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.checkpoint.files import paths


def inside_graph(sess: Any) -> Any:
    """Returns a context that enters the session's graph, unless a graph was entered."""
    graph = getattr(sess, "graph", None)
    if graph is None or not tf.executing_eagerly():
        return contextlib.nullcontext()
    return graph.as_default()


def prefix_of(save_path: str, step: int | None, *, is_padded: bool) -> str:
    """Returns the prefix that the base class gives a checkpoint.

    Args:
        save_path: The path that the saver was given.
        step: The step; `None` if it has none.
        is_padded: Whether the step has at least eight digits.
    """
    if step is None:
        return save_path
    return f"{save_path}-{step:08d}" if is_padded else f"{save_path}-{step:d}"


def can_stage_early(sess: Any, save_path: str, latest_filename: str | None) -> bool:
    """Tells whether the base class will accept the arguments of a save."""
    latest_filename = "checkpoint" if latest_filename is None else latest_filename
    return (
        hasattr(sess, "graph")
        and latest_filename == paths.name(latest_filename) != ""
        and paths.name(save_path) != latest_filename
    )


def check_parent(save_path: str) -> None:
    """Raises, as the base class does, if this process lacks the directory of the state file.

    Args:
        save_path: The path that the saver was given; empty: nothing is checked.

    Raises:
        ArgumentError: The tasks of the session have the directory, and this process does not.
    """
    parent = paths.parent(save_path)
    if parent and paths.is_local(parent) and not tf.io.gfile.isdir(parent):
        raise errors.ArgumentError(f"Parent directory of {save_path} doesn't exist, can't save.")


def can_stage_bundle(sess: Any, prefix: str) -> bool:
    """Tells whether a bundle that TensorFlow writes can be written beside its prefix first.

    Its directory must be one of this machine that is there, and the session one of this process: a
    server may have another file system.
    """
    parent = paths.parent(prefix)
    return (
        getattr(sess, "sess_str", None) == b""
        and paths.is_local(prefix)
        and tf.io.gfile.isdir(parent or ".")
    )
