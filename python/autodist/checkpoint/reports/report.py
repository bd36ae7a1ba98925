"""What a save or a restore did, and its line in the log."""

from __future__ import annotations

import dataclasses

from autodist import _log, _native
from autodist.evidence.figures import Evidence

_LOGGER = _log.get_logger()


@dataclasses.dataclass(frozen=True)
class SaveReport:
    """What a save wrote.

    Attributes:
        prefix: The checkpoint's prefix; `None` if there was nothing to save.
        ops: What our ops in this process did; `None` if they did not write the bundle.
        evidence: What is known of the values, if the save was asked for it.
    """

    prefix: str | None
    ops: _native.OpReport | None = None
    evidence: Evidence | None = None

    @property
    def is_refused(self) -> bool:
        """Whether a rule did not hold: then the state file does not name the checkpoint."""
        return self.evidence is not None and self.evidence.is_refused

    def log(self) -> None:
        """Logs a line, if our op in this process wrote the bundle."""
        if self.ops is None:
            return
        _LOGGER.info(
            "saved %s: %s in %.3f s (%s); a variable was locked for at most %.3f s",
            self.prefix,
            _log.size(self.ops.byte_count),
            self.ops.seconds,
            _log.speed(self.ops.byte_count, self.ops.seconds),
            self.ops.max_lock_seconds,
        )
        if self.ops.instant_method:
            _LOGGER.info(
                "%s holds one instant of all variables, kept by %s%s",
                self.prefix,
                self.ops.instant_method,
                limits_of_instant(self.ops.refused_methods, self.ops.other_values),
            )


def limits_of_instant(refused: str, other_values: str) -> str:
    """Returns the end of a log line about an instant; empty if nothing limits it.

    Args:
        refused: Which methods were not possible, and why.
        other_values: The names of the values that are not of the instant.
    """
    return f"; not possible: {refused}" * bool(
        refused
    ) + f"; of other times: {other_values}" * bool(other_values)


def log_restore(prefix: str, ops: _native.OpReport | None) -> None:
    """Logs a line about a restore, unless stock TensorFlow made it.

    Args:
        prefix: The checkpoint's prefix.
        ops: What the ops in this process did.
    """
    if ops is None:
        return
    _LOGGER.info(
        "restored %s: %s read in %.3f s (%s), %s into %d shards and replicas",
        prefix,
        _log.size(ops.byte_count),
        ops.seconds,
        _log.speed(ops.byte_count, ops.seconds),
        _log.count(ops.variable_count, "variable"),
        ops.value_count,
    )
    if ops.refused_methods:
        _LOGGER.warning(
            "%s: verify='before' took the place of 'swap': %s", prefix, ops.refused_methods
        )
