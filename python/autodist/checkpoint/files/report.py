"""One line in the log about each save and each restore."""

from autodist import _log, _native

_LOGGER = _log.get_logger()


def log_save(prefix: str, written: str) -> None:
    """Logs what the op library reports of the last save under a prefix.

    There is nothing to log where stock TensorFlow did the save: a sharded saver in the user's own
    graph, or a session on a server that has no library of ours.

    Args:
        prefix: The checkpoint's prefix.
        written: The prefix that it was written under.
    """
    # The only part of a sharded save on one device; it is merged under its final name afterwards.
    part = written + "_temp/part-00000-of-00001"
    report = _native.last_save(written) or _native.last_save(part)
    if report is None:
        return
    _LOGGER.info(
        "saved %s: %d bytes in %.3f s (%.2f GB/s); a variable was locked for at most %.3f s",
        prefix,
        report.written_bytes,
        report.seconds,
        report.written_bytes / max(report.seconds, 1e-9) / 1e9,
        report.max_lock_seconds,
    )


def log_restore(prefix: str) -> None:
    """Logs what the op library reports of the last restore from a prefix.

    There is nothing to log where stock TensorFlow did it.

    Args:
        prefix: The checkpoint's prefix.
    """
    report = _native.last_restore(prefix)
    if report is None:
        return
    _LOGGER.info(
        "restored %s: %d bytes read in %.3f s (%.2f GB/s), %d variables into %d shards and replicas",
        prefix,
        report.read_bytes,
        report.seconds,
        report.read_bytes / max(report.seconds, 1e-9) / 1e9,
        report.variable_count,
        report.target_count,
    )
