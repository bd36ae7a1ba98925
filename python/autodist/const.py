"""The environment variables that programs written for AutoDist ask for."""

from __future__ import annotations

import enum
import os


class ENV(enum.Enum):
    """An environment variable; `ENV.NAME.val` is its value."""

    AUTODIST_WORKER = "AUTODIST_WORKER"
    """The address of this node where it is not the chief.

    The program runs on the chief only, where it is empty.
    """

    @property
    def val(self) -> str:
        """Its value; empty where it is not set."""
        return os.environ.get(self.value, "")
