"""The settings of a cluster that come from the environment."""

from __future__ import annotations

import math
import os

from autodist.errors import ArgumentError

START_TIMEOUT = "AUTODIST_START_TIMEOUT"
SILENCE_TIMEOUT = "AUTODIST_SILENCE_TIMEOUT"

_DEFAULTS = {START_TIMEOUT: 120.0, SILENCE_TIMEOUT: 30.0}


def start_timeout_seconds() -> float:
    """How long a node may take to be there when a session is made.

    Raises:
      ArgumentError: if the environment variable is no positive number.
    """
    return _seconds(START_TIMEOUT)


def silence_timeout_seconds() -> float:
    """How long a server may leave a question unanswered while something runs.

    Raises:
      ArgumentError: if the environment variable is no positive number.
    """
    return _seconds(SILENCE_TIMEOUT)


def _seconds(name: str) -> float:
    text = os.environ.get(name)
    if text is None:
        return _DEFAULTS[name]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ArgumentError(f"{name}: expected a positive number of seconds, found {text!r}")
    return value
