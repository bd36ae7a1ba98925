"""Reusable saves: built once, run for every save."""

from __future__ import annotations

from typing import Any

from autodist.checkpoint.distributed.tasks import control_session


class ReusableSave:
    """The base of the ways of saving: keeps the control session from one save to the next."""

    _control: control_session.ControlSession
    # Set by each save that succeeds.
    _has_saved = False

    @property
    def is_usable(self) -> bool:
        """Whether it can save again: no task was lost since, and the user's session is open."""
        return not (self._control.broken or self._control.is_closed)

    @property
    def was_forgotten(self) -> bool:
        """Whether a server restarted since the last save: it failed, but all tasks answer."""
        return self._has_saved and self._control.broken and not self._control.lost

    def end_with(self, session: Any) -> None:
        """Closes the session when the user's session is closed."""
        self._control.end_with(session)

    def close(self) -> None:
        """Closes the session."""
        self._control.close()
