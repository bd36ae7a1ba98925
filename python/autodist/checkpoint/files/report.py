"""Reports of the op library about a save or a restore, and their lines in the log."""

from __future__ import annotations

import dataclasses

from autodist import _log, _native

_LOGGER = _log.get_logger()


@dataclasses.dataclass(frozen=True)
class SaveReport:
    """What a save wrote.

    Attributes:
        prefix: The checkpoint's prefix; `None` if there was nothing to save.
        written_bytes: Bytes of the bundle; `None` if it was not our op in this process that wrote
            it.
        seconds: How long that took.
        max_lock_seconds: How long a variable was locked at most.
    """

    prefix: str | None
    written_bytes: int | None = None
    seconds: float = 0.0
    max_lock_seconds: float = 0.0

    def log(self) -> None:
        """Logs a line, if our op in this process wrote the bundle."""
        if self.written_bytes is None:
            return
        _LOGGER.info(
            "saved %s: %s in %.3f s (%s); a variable was locked for at most %.3f s",
            self.prefix,
            _log.size(self.written_bytes),
            self.seconds,
            _log.speed(self.written_bytes, self.seconds),
            self.max_lock_seconds,
        )


def of_save(prefix: str, written: str) -> SaveReport:
    """Returns the report of the save that this process has just made.

    It has no figures if stock TensorFlow did the save. That is so for a sharded saver in the user's
    own graph, and for a session on a server without our ops.

    Args:
        prefix: The checkpoint's prefix.
        written: The prefix that it was written under.
    """
    # A sharded save on one device writes one part, which is then merged under the final name.
    part = written + "_temp/part-00000-of-00001"
    found = _native.last_save(written) or _native.last_save(part)
    if found is None:
        return SaveReport(prefix)
    return SaveReport(prefix, found.written_bytes, found.seconds, found.max_lock_seconds)


def log_restore(prefix: str) -> None:
    """Logs a line about the last restore from a prefix, unless stock TensorFlow made it.

    Args:
        prefix: The checkpoint's prefix.
    """
    report = _native.last_restore(prefix)
    if report is None:
        return
    _LOGGER.info(
        "restored %s: %s read in %.3f s (%s), %s into %d shards and replicas",
        prefix,
        _log.size(report.read_bytes),
        report.seconds,
        _log.speed(report.read_bytes, report.seconds),
        _log.count(report.variable_count, "variable"),
        report.target_count,
    )
