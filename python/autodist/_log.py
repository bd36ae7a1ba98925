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


def get_logger() -> logging.Logger:
    """The logger; at level INFO unless the program set another."""
    logger = logging.getLogger("autodist")
    if not any(isinstance(h, _FallbackHandler) for h in logger.handlers):
        handler = _FallbackHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logger.addHandler(handler)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    return logger
