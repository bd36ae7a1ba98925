"""The evidence file beside a checkpoint, which TensorFlow ignores. It goes with its checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses

import tensorflow as tf

from autodist import _log, _native
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
    if not is_current(evidence, prefix):
        _LOGGER.warning("the evidence %r is not used: it is about other values", path)
        return None
    return evidence


def is_current(evidence: Evidence, prefix: str) -> bool:
    """Tells whether evidence is about the values that a checkpoint has now.

    Args:
        evidence: What was noted.
        prefix: The checkpoint's prefix.
    """
    if evidence.index is None:
        return True
    return evidence.is_of(values_file.digest_of_index(prefix), lambda: _checksums(prefix))


def _checksums(prefix: str) -> dict[str, list[int]]:
    stored: dict[str, list[int]] = {}
    with contextlib.suppress(OSError, _native.bundle().DataLossError):
        for entry in _native.bundle().list_entries(prefix):
            if not entry.slices:
                stored.setdefault(entry.name, []).append(entry.crc32c)
    return stored


def name_index(prefix: str, evidence: bytes, index: str | None, *, durable: bool) -> None:
    """Writes down which index evidence is about that names none, before other values are saved.

    Args:
        prefix: The checkpoint's prefix.
        evidence: The contents of its file.
        index: The digest of the checkpoint's index; `None` if that cannot be read.
        durable: Whether the file is synced.

    Raises:
        tf.errors.OpError: It cannot be written.
    """
    try:
        known = text.parse(evidence)
    except text.EvidenceError:
        return
    if known.index is None and index is not None:
        named = text.contents(dataclasses.replace(known, index=index))
        staged_files.write(prefix + SUFFIX, named, durable=durable)


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
