"""Adds to the error of a full disk how much is free, and which checkpoint is intact."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

import tensorflow as tf

from autodist.checkpoint.files import bundle, paths

# What TensorFlow adds to the error of an op, about its own graph and about memory.
_DECORATION = re.compile(
    r"^(Graph execution error:|\s*\[\[\{\{node .*|Hint: If you want to see a list of allocated tensors .*)$",
    re.MULTILINE,
)


# In the text of an error that is about space for files, not about memory or a limit of the saver's.
_NO_SPACE = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))


def is_cause(error: BaseException) -> bool:
    """Tells whether a save failed because its files had too little space."""
    return isinstance(error, tf.errors.ResourceExhaustedError) and any(
        text in error.message for text in _NO_SPACE
    )


def explained(error: Any, prefix: str, state_path: str | None) -> Exception:
    """Returns the error with the free space, and the checkpoint that can be restored.

    Args:
        error: The `tf.errors.ResourceExhaustedError` of a save that left nothing.
        prefix: The checkpoint's prefix.
        state_path: Where the state file is; `None` if it is not written.
    """
    problem = _DECORATION.sub("", error.message).strip()
    sentences = [f"Cannot save {prefix}: {problem}.", *_free(prefix)]
    former = _former(prefix, state_path)
    if former is None:
        sentences.append("Nothing of this save is left. Free space and save again.")
    else:
        sentences.append(
            f"Nothing of this save is left, and the checkpoint {former} is as it was. Free space "
            "and save again."
        )
    explained_error: Exception = tf.errors.ResourceExhaustedError(
        error.node_def, error.op, " ".join(sentences)
    )
    return explained_error


def _free(prefix: str) -> list[str]:
    directory = paths.parent(prefix) or "."
    if not paths.is_local(prefix):
        return []
    try:
        found = os.statvfs(directory)
    except OSError:
        return []
    return [f"{found.f_bavail * found.f_frsize} bytes are free in {directory!r} now."]


def _former(prefix: str, state_path: str | None) -> str | None:
    """Returns the prefix of the checkpoint that a restore finds now."""
    if bundle.exists(prefix):
        return prefix
    if state_path is None:
        return None
    state = tf.train.get_checkpoint_state(paths.parent(state_path), paths.name(state_path))
    if state is None or not bundle.exists(state.model_checkpoint_path):
        return None
    return str(state.model_checkpoint_path)
