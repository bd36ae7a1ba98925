"""The contents of the state file (`checkpoint`), as TensorFlow writes them."""

from typing import Any

import tensorflow as tf
from google.protobuf import text_format

from autodist import errors
from autodist.checkpoint.files import paths


def path_of(directory: str, latest_filename: str | None) -> str:
    """Returns the path of a directory's state file.

    Args:
        directory: The directory, empty for the current one.
        latest_filename: The file's name; `'checkpoint'` by default.
    """
    return paths.join(directory, "checkpoint" if latest_filename is None else latest_filename)


def contents(state_path: str, latest: str, kept: list[str], *, relative: bool) -> bytes:
    """Returns the text of a state file.

    Args:
        state_path: Where it will be written.
        latest: The prefix of the latest checkpoint.
        kept: The prefixes of all checkpoints kept, oldest first.
        relative: Whether to name them relative to the directory.

    Raises:
        GraphStateError: The checkpoint has the state file's name.
    """
    directory = paths.parent(state_path)
    if relative:
        latest = paths.relative(latest, directory)
        kept = [paths.relative(prefix, directory) for prefix in kept]
    state: Any = tf.compat.v1.train.generate_checkpoint_state_proto(
        directory, latest, all_model_checkpoint_paths=list(kept)
    )
    if state.model_checkpoint_path == state_path:
        raise errors.GraphStateError(
            f"Save path '{latest}' conflicts with path used for checkpoint state.  "
            "Please use a different save path."
        )
    text: str = text_format.MessageToString(state)
    return text.encode()
