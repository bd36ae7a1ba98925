"""The logger `autodist`, and how its lines write sizes, speeds and counts.

A program that sets up no logging gets the lines of level INFO and above on stderr, with `autodist:`
in front. A program that configures `logging`, or runs under absl, gets them once, in its own
handlers. The level is that of the logger `autodist` if the program sets one, else that of the root
logger.
"""

from __future__ import annotations

import logging
from typing import TextIO

_NAME = "autodist"
# The level while the program sets none: INFO, but no level that a program would set itself.
_OWN_LEVEL = logging.INFO - 1


class _FallbackHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr as long as the program has not set up logging."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def printable(text: str) -> str:
    """A name or path from elsewhere as it may be printed: without what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def size(byte_count: float) -> str:
    """Returns a number of bytes in the largest unit of which there is at least one: `1.50 GiB`."""
    value, unit = float(byte_count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.2f} {unit}"


def speed(byte_count: float, seconds: float) -> str:
    """Returns bytes per second, as `3.23 GiB/s`."""
    return f"{byte_count / max(seconds, 1e-9) / 2**30:.2f} GiB/s"


def count(number: int, noun: str) -> str:
    """Returns a number with its noun, as `1 replica` or `2 replicas`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def names(items: list[str], most: int = 10) -> str:
    """Returns the first names, and how many more there are."""
    if len(items) <= most:
        return ", ".join(items)
    return f"{', '.join(items[:most])} and {len(items) - most} more"


def _escape_arguments(record: logging.LogRecord) -> bool:
    """Makes the texts that a record shows printable: names and paths may come from files."""
    if isinstance(record.args, tuple):
        record.args = tuple(printable(a) if isinstance(a, str) else a for a in record.args)
    return True


def _obey_the_program(record: logging.LogRecord) -> bool:
    """Drops records below the level that the program has set."""
    root = logging.getLogger()
    is_own = logging.getLogger(_NAME).level == _OWN_LEVEL
    return not (is_own and root.handlers) or record.levelno >= root.level


def is_shown(level: int) -> bool:
    """Tells whether lines of a level are shown."""
    record = logging.LogRecord(_NAME, level, "", 0, "", None, None)
    return get_logger().isEnabledFor(level) and _obey_the_program(record)


def terminal() -> TextIO | None:
    """Returns the terminal that the lines go to; `None` where they go anywhere else, too."""
    logger, root = get_logger(), logging.getLogger()
    handlers = [h for h in logger.handlers if not isinstance(h, _FallbackHandler)]
    if logger.propagate:
        handlers += root.handlers
    if not root.handlers:
        handlers += [h for h in logger.handlers if isinstance(h, _FallbackHandler)]
    # The handler of absl holds another.
    streams = [getattr(getattr(h, "python_handler", h), "stream", None) for h in handlers]
    return streams[0] if streams and all(map(_is_terminal, streams)) else None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # none of a file's, or closed
        return False


def _name_under_absl(record: logging.LogRecord) -> bool:
    """Puts the logger's name in front if absl's handler takes the record, which omits it."""
    handlers = logging.getLogger().handlers
    if any(type(handler).__module__.partition(".")[0] == "absl" for handler in handlers):
        record.msg = f"{record.name}: {record.msg}"
    return True


def get_logger() -> logging.Logger:
    """The logger; at level INFO unless the program set another."""
    logger = logging.getLogger(_NAME)
    if not any(isinstance(h, _FallbackHandler) for h in logger.handlers):
        handler = _FallbackHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logger.addHandler(handler)
        for rule in (_obey_the_program, _escape_arguments, _name_under_absl):
            logger.addFilter(rule)
        if logger.level == logging.NOTSET:
            logger.setLevel(_OWN_LEVEL)
    return logger
