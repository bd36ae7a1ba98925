"""The logger `autodist`: like TensorFlow's own logger it writes to stderr where nothing else was set up.

A program that configures Python's logging gets our records there, once, and may set the level of the logger
`autodist` as of any other.
"""

from __future__ import annotations

import logging


class _FallbackHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr as long as the program has not set up logging."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def printable(text: str) -> str:
    """A name or path from elsewhere as it may be printed: without what a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _escape_arguments(record: logging.LogRecord) -> bool:
    """Makes the texts that a record shows printable: names and paths may come from files."""
    if isinstance(record.args, tuple):
        record.args = tuple(printable(a) if isinstance(a, str) else a for a in record.args)
    return True


def get_logger() -> logging.Logger:
    """The logger; at level INFO unless the program set another."""
    logger = logging.getLogger("autodist")
    if not any(isinstance(h, _FallbackHandler) for h in logger.handlers):
        handler = _FallbackHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.addFilter(_escape_arguments)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    return logger
