"""Finds the newest sound checkpoint of a directory, also if its state file is wrong or missing."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import tensorflow as tf
from google.protobuf import text_format

from autodist import _log, _native
from autodist.checkpoint.evidence import evidence_file
from autodist.checkpoint.files import bundle, paths, state_file
from autodist.private_apis import tf_variables

_LOGGER = _log.get_logger()

_STEP = re.compile(r".*-(\d+)", re.DOTALL)
_DATA_FILE = re.compile(r".*\.data-(\d{5})-of-\d{5}", re.DOTALL)


def latest(
    directory: Any, *, verify: bool = True, latest_filename: str | None = None
) -> str | None:
    """Returns the prefix of the newest sound checkpoint of a directory.

    What the state file names comes first, then what it lists, then other checkpoints of the
    directory. What was skipped is told in a warning.

    Args:
        directory: Its path.
        verify: Whether all checksums are computed, so that the whole checkpoint is read. Otherwise
            its files must be there and long enough.
        latest_filename: Name of the state file; `'checkpoint'` by default.

    Returns:
        The prefix; `None` if the directory has neither a state file nor a checkpoint.

    Raises:
        tf.errors.DataLossError: There are checkpoints, or a state file, but no sound checkpoint.
        OSError: The directory cannot be listed; on another file system than a local one a
            `tf.errors.OpError`.
    """
    directory = paths.text(directory)
    listed, problem = _read_state(state_file.path_of(directory, latest_filename))
    skipped: list[str] = []
    for prefix in dict.fromkeys([*listed, *_found(directory)]):
        reason = evidence_file.why_not_latest(prefix) or why_unsound(prefix, verify=verify)
        if reason is None:
            _warn(directory, prefix, problem, skipped)
            return prefix
        skipped.append(f"{prefix}: {reason}")
    if not skipped and (problem is None or problem == _NO_STATE):
        return None
    raise tf.errors.DataLossError(
        None,
        None,
        f"{directory} has no sound checkpoint. {_describe(problem, skipped)}\nPut the files back "
        "from a copy. To begin from scratch, remove them or choose another directory",
    )


_NO_STATE = "there is no state file"


def _warn(directory: str, prefix: str, problem: str | None, skipped: list[str]) -> None:
    if problem is not None or skipped:
        _LOGGER.warning(
            "%s: the newest sound checkpoint is %s. %s",
            directory,
            prefix,
            _describe(problem, skipped),
        )


def _describe(problem: str | None, skipped: list[str]) -> str:
    lines = [] if problem is None else [f"State file: {problem}."]
    lines += [f"Skipped {reason}." for reason in skipped]
    return "\n  ".join(lines)


def why_unsound(prefix: str, *, verify: bool) -> str | None:
    """Returns what is wrong with a checkpoint; `None` if nothing is.

    Args:
        prefix: Its prefix.
        verify: As in `latest`.
    """
    try:
        if not bundle.exists(prefix):
            return _why_no_v1(prefix)
        if verify:
            _native.bundle().verify(prefix)
            return None
        return _why_incomplete(prefix)
    except (OSError, ValueError, _native.bundle().DataLossError, tf.errors.OpError) as error:
        return str(error)


def _why_no_v1(prefix: str) -> str | None:
    if not tf.io.gfile.glob(_literal(prefix)) and "?" not in prefix:
        return f"there is no {prefix}.index"
    try:
        tf.compat.v1.train.NewCheckpointReader(prefix)
    except (tf.errors.OpError, ValueError, RuntimeError):
        return f"there is no {prefix}.index, and it is no checkpoint of the V1 format"
    return None


def _literal(prefix: str) -> str:
    return re.sub(r"([*?\[\\])", r"[\1]", prefix)


def _why_incomplete(prefix: str) -> str | None:
    """Returns which data file is missing or too short; `None` if none is."""
    needed: dict[int, int] = {}
    for entry in _native.bundle().list_entries(prefix):
        if not entry.slices:
            end = entry.offset + entry.size
            needed[entry.shard_id] = max(end, needed.get(entry.shard_id, 0))
    sizes: dict[int, int] = {}
    for path in bundle.data_files(prefix):
        match = _DATA_FILE.fullmatch(path)
        if match is not None:
            size = tf.io.gfile.stat(path).length
            sizes[int(match[1])] = max(size, sizes.get(int(match[1]), 0))
    for number, end in sorted(needed.items()):
        if number not in sizes and end > 0:
            return f"its data file {number} is missing"
        if sizes.get(number, 0) < end:
            return f"its data file {number} has {sizes[number]} bytes; the index needs {end}"
    return None


def _read_state(path: str) -> tuple[list[str], str | None]:
    """Returns the prefixes that a state file names and lists, newest first; and what is wrong."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            text = file.read()
    except tf.errors.NotFoundError:
        return [], _NO_STATE
    except tf.errors.OpError as error:
        return [], f"{path} cannot be read: {error.message}"
    state = tf_variables.CheckpointState()
    try:
        text_format.Parse(text, state)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        return [], f"{path} is unreadable: {error}"
    if not state.model_checkpoint_path:
        return [], f"{path} names no checkpoint"
    listed = [state.model_checkpoint_path, *reversed(state.all_model_checkpoint_paths)]
    return [paths.join(paths.parent(path), prefix) for prefix in listed], None


def _found(directory: str) -> list[str]:
    """Returns the prefixes of a directory that have an index, the newest first."""
    try:
        names = bundle.names_in(directory)
    except (FileNotFoundError, tf.errors.NotFoundError):
        return []
    found = []
    for name in names:
        if name.endswith(".index") and paths.is_utf8(name):
            path = paths.join(directory, name)
            match = _STEP.fullmatch(name.removesuffix(".index"))
            with contextlib.suppress(tf.errors.NotFoundError):  # Removed meanwhile.
                written = tf.io.gfile.stat(path).mtime_nsec
                found.append((written, -1 if match is None else int(match[1]), path))
    return [path.removesuffix(".index") for _, _, path in sorted(found, reverse=True)]
