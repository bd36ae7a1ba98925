"""What goes wrong in the demo."""

from __future__ import annotations

from autodist.errors import AutoDistError


class DemoError(AutoDistError, RuntimeError):
    """A step of the demo did not do what it must; the message says which and how."""
