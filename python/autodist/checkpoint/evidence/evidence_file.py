"""The evidence file beside a checkpoint, which TensorFlow ignores. It goes with its checkpoint."""

from __future__ import annotations

import tensorflow as tf

from autodist import _log
from autodist.checkpoint.files import staged_files, values_file
from autodist.evidence import text
from autodist.evidence.figures import Evidence

_LOGGER = _log.get_logger()

SUFFIX = text.SUFFIX
FILE = values_file.ValuesFile(SUFFIX, "evidence", "check, refuse and proof", text.is_ours)


def read(prefix: str) -> Evidence | None:
    """Returns what is known of a checkpoint; `None` if nothing is.

    A file that is somebody else's, damaged, or about other values counts as none: a warning tells
    so.

    Args:
        prefix: Its prefix.
    """
    path = prefix + SUFFIX
    try:
        found = values_file.read(path, text.MOST_BYTES + 1)
    except tf.errors.OpError as error:
        _LOGGER.warning("the evidence %r cannot be read, and is not used: %s", path, error.message)
        return None
    if not found:
        return None
    try:
        evidence = text.parse(found)
    except text.EvidenceError as error:
        _LOGGER.warning("the evidence %r is not used: %s", path, error)
        return None
    if evidence.index is not None and not evidence.is_of(values_file.digest_of_index(prefix)):
        _LOGGER.warning("the evidence %r is not used: it is about other values", path)
        return None
    return evidence


def why_not_latest(prefix: str) -> str | None:
    """Returns why no save has named a checkpoint in the state file, if evidence says so.

    Args:
        prefix: Its prefix.
    """
    evidence = read(prefix)
    return None if evidence is None else evidence.why_not_latest()


def mark_pending(prefix: str, step: int | None, *, durable: bool) -> None:
    """Writes down that a save has not decided about a checkpoint yet.

    Args:
        prefix: Its prefix.
        step: The step in its name.
        durable: Whether the file is synced.

    Raises:
        tf.errors.OpError: It cannot be written.
    """
    pending = Evidence({}, step=step, is_pending=True)
    staged_files.write(prefix + SUFFIX, text.contents(pending), durable=durable)
